"""A camera of this computer."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2

from alike_ros.camera import Camera, StereoCamera
from alike_ros.data.files import check_size, offer_mode
from alike_ros.data.sequence import CameraFrame
from alike_ros.errors import DataError
from alike_ros.images import rgb_or_grey
from alike_ros.trajectory import Trajectory


class Webcam:
    """Frames as they come, with the computer's time; ends when the camera stops."""

    def __init__(
        self,
        index: str | int = 0,
        mode: str = "mono",
        camera_file: str | Path | None = None,
    ) -> None:
        self.name = f"webcam:{index}"
        offer_mode(self.name, mode, ["mono"])
        try:
            self._index = int(index or 0)
        except ValueError as error:
            raise DataError(f"{self.name}: expected a number, as in webcam:0") from error
        if not camera_file:
            raise DataError(
                f"{self.name} does not say what its camera is: give --camera FILE in ROS "
                "camera_calibration format (camera_calibration makes one from a chessboard)"
            )
        self.camera = Camera.from_yaml(camera_file)
        self.stereo: StereoCamera | None = None
        self.truth: Trajectory | None = None
        self.skipped: Counter[str] = Counter()

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[CameraFrame]:
        self.skipped.clear()
        capture = cv2.VideoCapture(self._index)
        last_ns = -1
        try:
            if not capture.isOpened():
                raise DataError(f"{self.name} cannot be opened: is it connected and unused?")
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, self.camera.width)
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self.camera.height)
            while capture.grab():
                stamp_ns = time.time_ns()
                good, image = capture.retrieve()
                if not good or stamp_ns <= last_ns:
                    self.skipped["no image" if not good else "stamp not after the last one"] += 1
                    continue
                check_size(self.name, image.shape, self.camera)
                last_ns = stamp_ns
                yield CameraFrame(stamp_ns, rgb_or_grey(image))
        finally:
            capture.release()
