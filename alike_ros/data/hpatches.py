"""Image sets in the layout of HPatches: scenes of which every image is a homography of the first.

A scene is a folder with 1.ppm (or .png, .jpg), 2.ppm, ... and the homographies H_1_2, H_1_3, ...
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alike_ros.data.files import read_lines
from alike_ros.data.folder import SUFFIXES
from alike_ros.errors import DataError

#: Scenes with images above 1600x1200, which published results leave out: 108 of 116 are left.
LARGE = (
    "i_contruction",  # as it is spelt there
    "i_crownnight",
    "i_dc",
    "i_pencils",
    "i_whitebuilding",
    "v_artisans",
    "v_astronautis",
    "v_talent",
)


@dataclass(frozen=True)
class View:
    """An image, and the homography (3, 3) that takes pixels of the first image to its pixels."""

    number: int
    image: Path
    view_from_first: NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """The first image and the others, in the order of their numbers."""

    name: str
    first: Path
    views: tuple[View, ...]


def read_scenes(folder: str | Path) -> list[Scene]:
    """The scenes of a folder by name, or the one that the folder is. Raises DataError."""
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"no folder {folder}")
    folders = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    scenes = [_read_scene(path) for path in folders if any(path.glob("H_1_*"))]
    if not scenes:
        raise DataError(
            f"{folder} has no scenes: expected folders with 1.ppm (or .png), 2.ppm, ... and "
            "H_1_2, ... as in HPatches' hpatches-sequences-release"
        )
    return scenes


def _read_scene(folder: Path) -> Scene:
    paths = {int(p.name[4:]): p for p in folder.glob("H_1_*") if p.name[4:].isdigit()}
    if not paths:
        found = next(folder.glob("H_1_*")).name
        raise DataError(f"{folder} has no homography H_1_2, H_1_3, ...: {found} is no such name")
    views = [
        View(number, _image(folder, number), _read_homography(path))
        for number, path in sorted(paths.items())
    ]
    return Scene(folder.resolve().name, _image(folder, 1), tuple(views))


def _image(folder: Path, number: int) -> Path:
    for path in sorted(folder.glob(f"{number}.*")):
        if path.suffix.lower() in SUFFIXES:
            return path
    raise DataError(f"{folder} has no image {number}.ppm or {number}.png")


def _read_homography(path: Path) -> NDArray[np.float64]:
    try:
        matrix: NDArray[Any] = np.array(read_lines(path), np.float64)
    except ValueError as error:
        raise DataError(f"{path} is not a matrix of numbers: {error}") from error
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or not np.linalg.det(matrix):
        raise DataError(f"{path} holds no homography: expected three rows of three numbers")
    matrix *= np.copysign(1, matrix[2, 2])  # what is in front has a positive scale
    return matrix
