"""Cameras from camera_info and, for raw pairs, from TF. No ROS here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from alike_ros.camera import Camera, StereoCamera
from alike_ros.errors import DataError
from alike_ros.geometry import Array
from alike_ros.images import camera_from_info, stereo_from_infos

#: (target frame, source frame) -> target_from_source (4, 4); None while it is unknown.
LookUp = Callable[[str, str], Array | None]


class Rig:
    """One camera, or left and right, as camera_info describes them.

    infos: by the topics that they came from. Raises DataError, which names one.
    """

    def __init__(self, infos: Mapping[str, Any], rectified: bool) -> None:
        self.cameras = []
        for topic, info in infos.items():
            try:
                self.cameras.append(camera_from_info(info, rectified))
            except DataError as error:
                raise DataError(f"{topic}: {error}") from error
        self._infos = list(infos.values())
        self._rectified = rectified
        self._pair: StereoCamera | None = None
        self._is_final = False  # TF brings nothing better than _pair

    def calibrated(self, look_up: LookUp) -> Camera | StereoCamera:
        """The camera, or the pair; the same object at every call, as long as nothing changes.

        A raw pair's extrinsics are those of TF between the optical frames; while TF does not know
        them, and where both cameras are in one frame, R and P of camera_info give them. Raises
        DataError where those do not describe a pair.
        """
        if len(self.cameras) == 1:
            return self.cameras[0]
        if not self._is_final:
            left, right = (info.header.frame_id for info in self._infos)
            from_tf = not self._rectified and left != right
            right_from_left = look_up(right, left) if from_tf else None
            self._is_final = right_from_left is not None or not from_tf
            if right_from_left is not None:
                self._pair = StereoCamera(self.cameras[0], self.cameras[1], right_from_left)
        if self._pair is None:
            self._pair = self._described_pair()
        return self._pair

    def _described_pair(self) -> StereoCamera:
        try:
            return stereo_from_infos(self._infos[0], self._infos[1], self._rectified)
        except DataError as error:
            if self._rectified:
                raise
            left, right = (info.header.frame_id for info in self._infos)
            raise DataError(f"{error}; or publish {right!r} <- {left!r} on /tf_static") from error


class Calibration:
    """The newest calibration of one camera or of a pair.

    `rig` is None until every topic has brought a usable message; `problem` says which has not. A
    message that says the same as the last one costs nothing and leaves the same rig.
    """

    def __init__(self, topics: list[str], rectified: bool) -> None:
        self.rig: Rig | None = None
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
            self.rig = Rig(dict(zip(self._topics, self._infos, strict=True)), self._rectified)
        except DataError as error:
            self.rig = None
            self._problem = str(error)


def _content(info: Any) -> tuple[Any, ...]:
    """All but the header."""
    roi = info.roi
    return (
        *(info.width, info.height, info.distortion_model, info.binning_x, info.binning_y),
        *(roi.x_offset, roi.y_offset, roi.width, roi.height),
        *(bytes(memoryview(values)) for values in (info.k, info.r, info.p)),
        tuple(info.d),
    )
