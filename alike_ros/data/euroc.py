"""EuRoC MAV, ASL format: https://projects.asl.ethz.ch/datasets/doku.php?id=kmavvisualinertialdatasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from alike_ros.camera import Camera, StereoCamera
from alike_ros.data.calibration import find_camera, find_stereo
from alike_ros.data.files import FileSequence, FrameFiles, check_mode, nearest, read_lines
from alike_ros.errors import DataError
from alike_ros.geometry import Array, from_Rt, inverse, rotation_from_quat_xyzw
from alike_ros.trajectory import Trajectory

#: The format's names of distortion models -> ROS'.
DISTORTION_MODELS = {
    "radial-tangential": "plumb_bob",
    "radtan": "plumb_bob",
    "equidistant": "equidistant",
    "none": "plumb_bob",
}

#: Both cameras have one trigger: their stamps are equal, rounding aside.
MAX_STEREO_DELTA_NS = 1_000_000


class EurocSequence(FileSequence):
    """A folder with mav0/cam0, mav0/cam1 (raw images) and mav0/state_groundtruth_estimate0.

    The published truth is of the body; `truth` is of the left camera, cam0.
    """

    def __init__(
        self, folder: str | Path, mode: str = "mono", camera_file: str | Path | None = None
    ) -> None:
        folder = Path(folder)
        mav = folder / "mav0" if (folder / "mav0").is_dir() else folder
        frames = _pair(_listed(mav / "cam0"), _listed(mav / "cam1"))
        check_mode(str(folder), mode, frames)
        sensors = [_sensor(mav / f"cam{i}") for i in (0, 1)]
        cameras: Camera | StereoCamera
        if mode == "stereo":
            cameras = find_stereo(folder, camera_file, _stereo(*sensors))
        else:
            cameras = find_camera(folder, camera_file, sensors[0][0] if sensors[0] else None)
        name = (folder if mav != folder else folder.parent).resolve().name
        truth = _truth(mav, sensors[0][1]) if sensors[0] else None
        super().__init__(name, mode, frames, cameras, truth)


def _listed(cam: Path) -> list[tuple[int, Path]]:
    """(stamp_ns, file) of each image; a sequence of one camera lacks cam1."""
    if cam.name == "cam1" and not cam.is_dir():
        return []
    try:
        return [(int(line[0]), cam / "data" / line[1]) for line in read_lines(cam / "data.csv")]
    except (IndexError, ValueError) as error:
        raise DataError(f"{cam / 'data.csv'} has a line that is not `ns,file`: {error}") from error


def _pair(lefts: list[tuple[int, Path]], rights: list[tuple[int, Path]]) -> list[FrameFiles]:
    rights = sorted(rights)
    stamps_ns = np.array([stamp_ns for stamp_ns, _ in rights], np.int64)
    frames = []
    for stamp_ns, image in lefts:
        index = nearest(stamps_ns, stamp_ns, MAX_STEREO_DELTA_NS)
        right = None if index is None else rights[index][1]
        frames.append(FrameFiles(stamp_ns, image, right=right))
    return frames


def _sensor(cam: Path) -> tuple[Camera, Array] | None:
    """The camera and body_from_cam of its sensor.yaml, if there is one."""
    path = cam / "sensor.yaml"
    if not path.is_file():
        return None
    try:
        # `%YAML:1.0` is OpenCV's dialect, which YAML parsers refuse
        lines = path.read_text().splitlines()
        text = "\n".join(line for line in lines if not line.startswith("%YAML"))
        content = yaml.safe_load(text)
        body_from_cam = np.array(content["T_BS"]["data"], np.float64).reshape(4, 4)
        return _camera(content), body_from_cam
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not a camera of the ASL format: {error!r}") from error


def _camera(content: dict[str, Any]) -> Camera:
    width, height = content["resolution"]
    fx, fy, cx, cy = content["intrinsics"]
    model = content["distortion_model"]
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)
    distortion = tuple(map(float, content["distortion_coefficients"]))
    return Camera(width, height, K, distortion, DISTORTION_MODELS.get(model, model))


def _stereo(
    left: tuple[Camera, Array] | None, right: tuple[Camera, Array] | None
) -> StereoCamera | None:
    if left is None or right is None:
        return None
    return StereoCamera(left[0], right[0], inverse(right[1]) @ left[1])


def _truth(mav: Path, body_from_cam: Array) -> Trajectory | None:
    """Lines of ns, position (3), quaternion (w, x, y, z) and what is not used here."""
    path = mav / "state_groundtruth_estimate0" / "data.csv"
    if not path.is_file():
        return None
    stamps_ns, poses = [], []
    try:
        for line in read_lines(path):
            x, y, z, qw, qx, qy, qz = map(float, line[1:8])
            R = rotation_from_quat_xyzw(np.array([qx, qy, qz, qw]))
            stamps_ns.append(int(line[0]))
            poses.append(from_Rt(R, np.array([x, y, z])) @ body_from_cam)
    except ValueError as error:
        raise DataError(f"{path} has a line that is not a pose: {error}") from error
    return Trajectory.from_poses(stamps_ns, poses)
