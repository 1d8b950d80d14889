"""OpenCV's own RGB-D odometry with the same results as ours, to compare with."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from alike_ros.camera import Camera
from alike_ros.config import DepthConfig
from alike_ros.data import CameraFrame
from alike_ros.errors import ConfigError, DataError
from alike_ros.geometry import Array, inverse
from alike_ros.odometry import Estimate, Status

_OPENCV: Any = cv2  # not every version has cv2.Odometry, and no version's type stubs know it


def is_available() -> bool:
    """Whether this OpenCV has it: 5.0 has."""
    return hasattr(_OPENCV, "OdometrySettings")


class OpencvRgbdOdometry:
    """Aligns whole images (photometric and point to plane) frame to frame; finds no features.

    A frame that cannot be aligned is lost, and the next one is aligned with the last that could.
    The first one that has any depth is where it starts.
    """

    def __init__(self, camera: Camera, config: DepthConfig) -> None:
        if not is_available():
            raise ConfigError(f"OpenCV {cv2.__version__} has no RGB-D odometry: it needs 5.0")
        settings = _OPENCV.OdometrySettings()
        settings.setCameraMatrix(camera.K.astype(np.float32))
        settings.setMinDepth(config.min_m)
        settings.setMaxDepth(config.max_m)
        self._odometry = _OPENCV.Odometry(
            _OPENCV.OdometryType_RGB_DEPTH, settings, _OPENCV.OdometryAlgoType_COMMON
        )
        self._camera = camera
        self._world_from_cam: Array = np.eye(4)
        self._last: tuple[NDArray[Any], NDArray[Any]] | None = None

    def track(self, frame: CameraFrame) -> Estimate:
        """The pose at one frame, without a covariance."""
        if frame.depth is None:
            raise DataError("RGB-D odometry needs a depth image with every frame")
        grey = self._undistorted(_grey(frame.image), cv2.INTER_LINEAR, 0)
        depth = self._undistorted(frame.depth, cv2.INTER_NEAREST, np.nan)  # edges stay edges
        if self._last is None and not np.isfinite(depth).any():
            return Estimate(frame.stamp_ns, Status.INITIALISING, metric_scale=True)
        if self._last is not None:
            found, cam_from_last = self._odometry.compute(*self._last, depth, grey)
            if not found or not np.isfinite(cam_from_last).all():
                return Estimate(frame.stamp_ns, Status.LOST, metric_scale=True)
            self._world_from_cam = self._world_from_cam @ inverse(cam_from_last)
        self._last = depth, grey
        return Estimate(frame.stamp_ns, Status.TRACKING, self._world_from_cam, metric_scale=True)

    def _undistorted(self, image: NDArray[Any], how: int, outside: float) -> NDArray[Any]:
        """The image of an ideal pinhole camera with the same K, `outside` where none is known."""
        if not any(self._camera.distortion):
            return image
        border = cv2.BORDER_CONSTANT
        return np.asarray(_OPENCV.remap(image, self._pixels, None, how, None, border, outside))

    @cached_property
    def _pixels(self) -> NDArray[np.float32]:
        """(H, W, 2): the pixel of the distorted image for each one of the ideal camera."""
        width, height = self._camera.width, self._camera.height
        x, y = np.meshgrid(np.arange(width), np.arange(height))
        rays = (
            np.stack([x.ravel(), y.ravel(), np.ones(x.size)], 1) @ np.linalg.inv(self._camera.K).T
        )
        return self._camera.project(rays).reshape(height, width, 2).astype(np.float32)


def _grey(image: NDArray[np.uint8]) -> NDArray[Any]:
    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
