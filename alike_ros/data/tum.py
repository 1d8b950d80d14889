"""TUM RGB-D: https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from alike_ros.camera import Camera
from alike_ros.data.calibration import find_camera
from alike_ros.data.files import FileSequence, FrameFiles, check_mode, nearest, read_lines
from alike_ros.errors import DataError
from alike_ros.trajectory import Trajectory, seconds_to_ns

#: fx, fy, cx, cy and plumb_bob coefficients of the colour cameras, as TUM publishes them.
PUBLISHED = {
    "1": ((517.3, 516.5, 318.6, 255.3), (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)),
    "2": ((520.9, 521.0, 325.1, 249.7), (0.2312, -0.7849, -0.0033, -0.0001, 0.9172)),
    "3": ((535.4, 539.2, 320.1, 247.6), ()),
}

#: Largest difference of the stamps of a colour image and its depth image.
MAX_DEPTH_DELTA_NS = 20_000_000

#: Depth images hold 5000 per metre.
DEPTH_UNIT_M = 1 / 5000


class TumSequence(FileSequence):
    """A folder with rgb.txt and, if they exist, depth.txt and groundtruth.txt."""

    def __init__(
        self, folder: str | Path, mode: str = "mono", camera_file: str | Path | None = None
    ) -> None:
        folder = Path(folder)
        frames = _associate(_listed(folder / "rgb.txt"), _listed(folder / "depth.txt"))
        check_mode(str(folder), mode, frames)
        # a link may say what the folder does not, and the other way round
        published = published_camera(folder.name) or published_camera(folder.resolve().name)
        camera = find_camera(folder, camera_file, published)
        truth = folder / "groundtruth.txt"
        super().__init__(
            folder.resolve().name,
            mode,
            frames,
            camera,
            Trajectory.read_tum(truth) if truth.is_file() else None,
            DEPTH_UNIT_M,
        )


def published_camera(name: str) -> Camera | None:
    """The colour camera of a sequence such as fr1_desk or rgbd_dataset_freiburg2_xyz."""
    found = re.search(r"(?:fr|freiburg)([123])(?!\d)", name.lower())
    if found is None:
        return None
    (fx, fy, cx, cy), distortion = PUBLISHED[found[1]]
    return Camera(640, 480, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), distortion)


def _listed(path: Path) -> list[tuple[int, Path]]:
    """(stamp_ns, file) of each line; a sequence without depth lacks depth.txt."""
    if path.name == "depth.txt" and not path.is_file():
        return []
    try:
        return [(seconds_to_ns(line[0]), path.parent / line[1]) for line in read_lines(path)]
    except (IndexError, ValueError) as error:
        raise DataError(f"{path} has a line that is not `seconds file`: {error}") from error


def _associate(images: list[tuple[int, Path]], depths: list[tuple[int, Path]]) -> list[FrameFiles]:
    depths = sorted(depths)
    stamps_ns = np.array([stamp_ns for stamp_ns, _ in depths], np.int64)
    frames = []
    for stamp_ns, image in images:
        index = nearest(stamps_ns, stamp_ns, MAX_DEPTH_DELTA_NS)
        frames.append(FrameFiles(stamp_ns, image, None if index is None else depths[index][1]))
    return frames
