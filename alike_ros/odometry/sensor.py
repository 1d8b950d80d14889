"""What a camera measures, in the three modes: views, and how precise they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from alike_ros.camera import Camera, StereoCamera
from alike_ros.config import Config
from alike_ros.errors import ConfigError, DataError
from alike_ros.features import Features
from alike_ros.geometry import Array
from alike_ros.odometry.noise import Noise, score_noise
from alike_ros.odometry.view import View, check_size, sampled_depth, stereo_depth


class Sensor:
    """A camera, a pair of cameras, or a camera with depth.

    `camera` is the one whose pose is estimated; half_size (2,) is that of its image at z = 1.
    """

    def __init__(self, camera: Camera | StereoCamera, config: Config) -> None:
        self.config = config
        self._stereo: StereoCamera | None = None
        if config.mode == "stereo":
            if not isinstance(camera, StereoCamera):
                raise ConfigError(
                    "mode stereo needs a StereoCamera: two calibrations and a baseline"
                )
            self._stereo = camera
        self.camera = camera.left if isinstance(camera, StereoCamera) else camera
        self.half_size = np.abs(self.camera.bearings(self.camera.border())).max(axis=0)

    @property
    def is_metric(self) -> bool:
        """Whether lengths are metres: mono has a unit of its own."""
        return self.config.mode != "mono"

    @property
    def max_error(self) -> float:
        """Largest reprojection error of an inlier, at z = 1."""
        return self.config.tracking.max_reprojection_px / self.camera.fx

    @property
    def search_radius(self) -> float:
        """Landmarks are this near to where they are predicted, at z = 1."""
        return self.config.tracking.search_radius_px / self.camera.fx

    @property
    def noise(self) -> Noise:
        """Of the measurements.

        Both a disparity's and a structured-light camera's error is the same at any inverse depth.
        """
        depth = self.config.depth
        keypoint = self.config.tracking.keypoint_noise_px / self.camera.fx
        if self._stereo is not None:
            pixels = self.camera.fx * self._stereo.baseline
            return Noise(keypoint, depth.disparity_noise_px / pixels)
        return Noise(keypoint, depth.noise)

    def view(
        self, stamp_ns: int, features: Features, depth: NDArray[Any] | None, right: Features | None
    ) -> View:
        """The view of one frame, of what has rays; raises DataError for what the mode lacks."""
        features = features.where(self.camera.has_ray(features.keypoints))
        depths = self._depths(features, depth, right)
        return View(
            stamp_ns,
            self.camera.bearings(features.keypoints),
            features.keypoints[:, 1] / self.camera.height - 0.5,
            features.descriptors,
            score_noise(features.scores),
            depths,
            self.noise.inverse_depth * depths**2,
        )

    def _depths(
        self, features: Features, depth: NDArray[Any] | None, right: Features | None
    ) -> Array:
        """Measured depths (N,), NaN where unknown: everywhere in mono."""
        config = self.config
        if config.mode == "rgbd":
            if depth is None:
                raise DataError("mode rgbd needs a depth image with every frame")
            check_size(depth, self.camera)
            return sampled_depth(depth, features.keypoints, config.depth)
        if self._stereo is not None:
            if right is None:
                raise DataError("mode stereo needs the right image's features with every frame")
            right = right.where(self._stereo.right.has_ray(right.keypoints))
            floor = config.matching.min_similarity
            return stereo_depth(self._stereo, features, right, config.depth, floor)
        return np.full(len(features), np.nan)
