"""Sequences whose images are files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from alike_ros.camera import Camera, StereoCamera
from alike_ros.config import MODES
from alike_ros.data.sequence import CameraFrame
from alike_ros.errors import DataError
from alike_ros.images import decode, metres, rgb_or_grey
from alike_ros.trajectory import Trajectory

T = TypeVar("T")


@dataclass(frozen=True)
class FrameFiles:
    """The files of one frame."""

    stamp_ns: int
    image: Path
    depth: Path | None = None
    right: Path | None = None

    def lacks(self, mode: str) -> str:
        """What keeps the frame from being used in this mode; empty if nothing."""
        if mode == "rgbd" and self.depth is None:
            return "no depth image"
        if mode == "stereo" and self.right is None:
            return "no right image"
        return ""


class FileSequence:
    """Listed files, decoded when their turn comes.

    In mode rgbd frames without depth are left out, in mode stereo those without a right image.
    """

    def __init__(
        self,
        name: str,
        mode: str,
        frames: list[FrameFiles],
        cameras: Camera | StereoCamera,
        truth: Trajectory | None,
        depth_unit_m: float = 0.001,
    ) -> None:
        self.name = name
        self.stereo = cameras if isinstance(cameras, StereoCamera) else None
        self.camera = cameras.left if isinstance(cameras, StereoCamera) else cameras
        self.truth = truth
        self.skipped: Counter[str] = Counter()
        self._mode, self._frames, self._depth_unit_m = mode, frames, depth_unit_m
        check_size(name, image_size([f.image for f in frames]), self.camera)
        if mode == "rgbd":
            check_size(f"depth of {name}", image_size([f.depth for f in frames]), self.camera)
        if self.stereo is not None:
            size = image_size([f.right for f in frames])
            check_size(f"right of {name}", size, self.stereo.right)

    def __len__(self) -> int:
        return sum(not files.lacks(self._mode) for files in self._frames)

    def __iter__(self) -> Iterator[CameraFrame]:
        self.skipped.clear()
        last_ns: int | None = None
        for files in self._frames:
            reason = files.lacks(self._mode)
            if not reason and last_ns is not None and files.stamp_ns <= last_ns:
                reason = "stamp not after the last one"
            frame = None if reason else self._read(files)
            if frame is None:
                self.skipped[reason or "image missing, damaged or of another size"] += 1
            else:
                last_ns = frame.stamp_ns
                yield frame

    def _read(self, files: FrameFiles) -> CameraFrame | None:
        depth = right = None
        try:
            image = read_image(files.image)
            check_size(files.image, image.shape, self.camera)
            if self._mode == "rgbd" and files.depth:
                depth = read_depth(files.depth, self._depth_unit_m)
                check_size(files.depth, depth.shape, self.camera)
            if self.stereo and files.right:
                right = read_image(files.right)
                check_size(files.right, right.shape, self.stereo.right)
        except DataError:
            return None
        return CameraFrame(files.stamp_ns, image, depth, right)


def check_mode(name: str, mode: str, frames: list[FrameFiles]) -> None:
    """Raises DataError unless some frame has what the mode needs."""
    offer_mode(name, mode, [m for m in MODES if any(not files.lacks(m) for files in frames)])


def offer_mode(name: str, mode: str, offered: list[str]) -> None:
    """Raises DataError unless the mode is among those that the sequence offers."""
    if not offered:
        raise DataError(f"{name} has no images")
    if mode not in offered:
        raise DataError(f"{name} cannot be used in mode {mode!r}, it offers {', '.join(offered)}")


def check_size(source: object, shape: tuple[int, ...], camera: Camera) -> None:
    """Raises DataError unless an image of this shape is as large as the camera's."""
    if shape[:2] != (camera.height, camera.width):
        raise DataError(
            f"{source} has images of {shape[1]}x{shape[0]} pixels, the intrinsics are of "
            f"{camera.width}x{camera.height}: they belong to another camera or resolution"
        )


def image_size(paths: Sequence[Path | None]) -> tuple[int, int]:
    """(height, width) of the first image that is readable; frames without one have None."""
    error = DataError("the sequence has no images")
    for path in filter(None, paths):
        try:
            height, width = _read(path, decode).shape[:2]
            return height, width
        except DataError as unreadable:
            error = unreadable
    raise error


def nearest(stamps_ns: NDArray[np.int64], stamp_ns: int, max_ns: int) -> int | None:
    """Index of the stamp that differs least, by at most max_ns; stamps_ns (N,) ascend."""
    after = int(np.searchsorted(stamps_ns, stamp_ns))
    around = [i for i in (after - 1, after) if 0 <= i < len(stamps_ns)]
    best = min(around, key=lambda i: abs(int(stamps_ns[i]) - stamp_ns), default=None)
    return best if best is not None and abs(int(stamps_ns[best]) - stamp_ns) <= max_ns else None


def read_image(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) RGB or (H, W) grey. Raises DataError, also for truncated files."""
    return _read(path, lambda data: rgb_or_grey(decode(data)))


def read_depth(path: Path, depth_unit_m: float) -> NDArray[np.float32]:
    """(H, W) metres of a 16-bit image in units of depth_unit_m, NaN for 0."""
    depth: NDArray[Any] = _read(path, decode)
    if depth.ndim != 2 or depth.dtype != np.uint16:
        raise DataError(f"{path} is {depth.dtype} {depth.shape}, expected uint16 (H, W)")
    return metres(depth, depth_unit_m)


def read_lines(path: Path) -> list[list[str]]:
    """The words of each line, split at blanks and commas; # starts a comment line."""
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path} is not a text file: {error}") from error
    words = [line.replace(",", " ").split() for line in lines if not line.startswith("#")]
    return [line for line in words if line]


def _read(path: Path, convert: Callable[[bytes], T]) -> T:
    try:
        return convert(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
