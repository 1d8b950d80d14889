"""KITTI odometry: https://www.cvlibs.net/datasets/kitti/eval_odometry.php."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from alike_ros.camera import Camera, StereoCamera
from alike_ros.data.calibration import find_camera, find_stereo
from alike_ros.data.files import FileSequence, FrameFiles, check_mode, image_size, read_lines
from alike_ros.errors import DataError
from alike_ros.geometry import Array, from_Rt, inverse
from alike_ros.trajectory import Trajectory, seconds_to_ns


class KittiSequence(FileSequence):
    """A folder with calib.txt, times.txt and image_0, image_1 (grey) or image_2, image_3 (colour).

    The images are rectified. Poses are read from poses.txt in the folder, or from
    ../../poses/NN.txt as in the official layout; they are of camera 0, and `truth` is of the
    camera that is used.
    """

    def __init__(
        self, folder: str | Path, mode: str = "mono", camera_file: str | Path | None = None
    ) -> None:
        folder = Path(folder)
        left = 0 if (folder / "image_0").is_dir() else 2
        stamps_ns = [_stamp_ns(folder, line) for line in read_lines(folder / "times.txt")]
        frames = [_files(folder, left, i, stamp_ns) for i, stamp_ns in enumerate(stamps_ns)]
        check_mode(str(folder), mode, frames)
        size = image_size([f.image for f in frames])
        calib = _calib(folder)
        carried = _camera(calib[left], size) if left in calib else None
        cameras: Camera | StereoCamera
        if mode == "stereo":
            pair = _stereo(calib[left], calib[left + 1], size) if left + 1 in calib else None
            cameras = find_stereo(folder, camera_file, pair)
        else:
            cameras = find_camera(folder, camera_file, carried)
        truth = _truth(folder, stamps_ns, calib.get(left) if left else None)
        super().__init__(folder.resolve().name, mode, frames, cameras, truth)


def _stamp_ns(folder: Path, line: list[str]) -> int:
    try:
        return seconds_to_ns(line[0])
    except ValueError as error:
        raise DataError(f"{folder / 'times.txt'} has a line that is not seconds") from error


def _files(folder: Path, left: int, index: int, stamp_ns: int) -> FrameFiles:
    image, right = (folder / f"image_{i}" / f"{index:06d}.png" for i in (left, left + 1))
    return FrameFiles(stamp_ns, image, right=right if right.is_file() else None)


def _calib(folder: Path) -> dict[int, Array]:
    """Projection matrices (3, 4) of the rectified cameras by number; empty without calib.txt."""
    path = folder / "calib.txt"
    if not path.is_file():
        return {}
    try:
        return {
            int(name[1]): np.array(values, np.float64).reshape(3, 4)
            for name, *values in read_lines(path)
            if name in {"P0:", "P1:", "P2:", "P3:"}
        }
    except ValueError as error:
        raise DataError(f"{path} has a line that is not `PN: 12 numbers`: {error}") from error


def _camera(P: Array, size: tuple[int, int]) -> Camera:
    return Camera(size[1], size[0], P[:, :3])


def _stereo(P_left: Array, P_right: Array, size: tuple[int, int]) -> StereoCamera:
    left, right = _camera(P_left, size), _camera(P_right, size)
    right_from_left = _cam_from_cam0(P_right) @ inverse(_cam_from_cam0(P_left))
    return StereoCamera(left, right, right_from_left)


def _cam_from_cam0(P: Array) -> Array:
    """P = K [I | t]."""
    return from_Rt(np.eye(3), np.linalg.solve(P[:, :3], P[:, 3]))


def _truth(folder: Path, stamps_ns: list[int], P: Array | None) -> Trajectory | None:
    """Lines of 12 numbers, world_from_cam0 row by row; P of the camera, None for camera 0."""
    official = folder.resolve().parent.parent / "poses" / f"{folder.resolve().name}.txt"
    path = next((p for p in (folder / "poses.txt", official) if p.is_file()), None)
    if path is None:
        return None
    try:
        rows = np.array(read_lines(path), np.float64).reshape(-1, 3, 4)
    except ValueError as error:
        raise DataError(f"{path} has a line that is not 12 numbers: {error}") from error
    if len(rows) != len(stamps_ns):
        raise DataError(f"{path} has {len(rows)} poses, times.txt has {len(stamps_ns)} stamps")
    cam0_from_cam = np.eye(4) if P is None else inverse(_cam_from_cam0(P))
    poses = [from_Rt(row[:, :3], row[:, 3]) @ cam0_from_cam for row in rows]
    return Trajectory.from_poses(stamps_ns, poses)
