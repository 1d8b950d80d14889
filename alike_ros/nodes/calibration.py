"""Cameras from camera_info. No ROS here."""

from __future__ import annotations

from typing import Any

from alike_ros.camera import Camera, StereoCamera
from alike_ros.errors import DataError
from alike_ros.images import camera_from_info, stereo_from_infos


class Calibration:
    """The newest calibration of one camera or of a pair.

    `camera` is None until every topic has brought a usable message; `problem` says which has not.
    A message that says the same as the last one costs nothing and leaves the same object.
    """

    def __init__(self, topics: list[str], rectified: bool) -> None:
        self.camera: Camera | StereoCamera | None = None
        self._topics = topics
        self._rectified = rectified
        self._infos: list[Any] = [None] * len(topics)
        self._problem = ""

    @property
    def problem(self) -> str:
        """Why there is no camera."""
        missing = [t for t, info in zip(self._topics, self._infos, strict=True) if info is None]
        if missing:
            return f"no message on {' and '.join(missing)} yet: images wait for a calibration"
        return self._problem

    def add(self, index: int, info: Any) -> None:
        """Takes the sensor_msgs/CameraInfo of topic `index`."""
        known = self._infos[index]
        self._infos[index] = info
        if known is not None and _content(known) == _content(info):
            return
        if any(item is None for item in self._infos):
            return
        try:
            self.camera = (
                camera_from_info(info, self._rectified)
                if len(self._infos) == 1
                else stereo_from_infos(self._infos[0], self._infos[1], self._rectified)
            )
        except DataError as error:
            self.camera = None
            self._problem = f"{self._topics[index]}: {error}"


def _content(info: Any) -> tuple[Any, ...]:
    """All but the header."""
    roi = info.roi
    return (
        *(info.width, info.height, info.distortion_model, info.binning_x, info.binning_y),
        *(roi.x_offset, roi.y_offset, roi.width, roi.height),
        *(bytes(memoryview(values)) for values in (info.k, info.r, info.p)),
        tuple(info.d),
    )
