"""A video file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2

from alike_ros.camera import StereoCamera
from alike_ros.data.calibration import find_camera
from alike_ros.data.files import check_size, offer_mode
from alike_ros.data.sequence import CameraFrame
from alike_ros.errors import DataError
from alike_ros.images import rgb_or_grey
from alike_ros.trajectory import Trajectory

SUFFIXES = {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mjpeg", ".ts"}
_USUAL_HZ = 30  # of a video that does not say


class VideoFile:
    """Frames and stamps of a video; it carries no intrinsics.

    They come from --camera FILE, NAME.yaml beside NAME.mp4, or camera.yaml in its folder. Truth is
    NAME.tum, if there is one. A frame whose stamp goes back, as in streams that were joined,
    follows at the frame rate.
    """

    def __init__(
        self, path: str | Path, mode: str = "mono", camera_file: str | Path | None = None
    ) -> None:
        self._path = Path(path)
        offer_mode(str(path), mode, ["mono"])
        beside = self._path.with_suffix(".yaml")
        if not camera_file and beside.is_file():
            camera_file = beside
        self.name = self._path.stem
        self.camera = find_camera(self._path.parent, camera_file, None)
        self.stereo: StereoCamera | None = None
        truth = self._path.with_suffix(".tum")
        self.truth = Trajectory.read_tum(truth) if truth.is_file() else None
        self.skipped: Counter[str] = Counter()
        capture = self._opened()
        self._length = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        capture.release()

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[CameraFrame]:
        capture = self._opened()
        period_ns = round(1e9 / (capture.get(cv2.CAP_PROP_FPS) or _USUAL_HZ))
        last_ns = -1
        try:
            while True:
                good, image = capture.read()
                if not good:
                    return
                stamp_ns = round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
                if stamp_ns <= last_ns:
                    stamp_ns = last_ns + period_ns
                last_ns = stamp_ns
                yield CameraFrame(stamp_ns, rgb_or_grey(image))
        finally:
            capture.release()

    def _opened(self) -> cv2.VideoCapture:
        """The video at its start; its first frame is readable and of the right size."""
        capture = cv2.VideoCapture(str(self._path))
        good, image = capture.read()
        capture.release()
        if not good:
            raise DataError(f"{self._path} is not a video that OpenCV can read")
        check_size(self._path, image.shape, self.camera)
        return cv2.VideoCapture(str(self._path))
