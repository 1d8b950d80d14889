"""One image as the odometry sees it: keypoints, their rays and depths."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alike_ros.camera import Camera, StereoCamera
from alike_ros.config import DepthConfig
from alike_ros.errors import DataError
from alike_ros.features import Features
from alike_ros.geometry import Array, turned
from alike_ros.matching import match_pairs, pairs_between
from alike_ros.odometry.shutter import STRAIGHT, Bend

#: A measured depth makes a landmark up to this relative error; beyond, only bearings count.
_MAX_DEPTH_ERROR = 0.2


@dataclass(frozen=True)
class View:
    """Features of one image, undistorted.

    bearings (N, 2): rays, (x, y) at z = 1; rows (N,) of the keypoints, from -0.5, the first of
    the image, to 0.5; descriptors (N, D); noise (N,) of the keypoints, relative (`score_noise`);
    depths (N,) metres along z and their standard deviations depth_sigmas (N,), NaN where unknown;
    bent: how a rolling shutter may still bend all this.
    """

    stamp_ns: int
    bearings: Array
    rows: Array
    descriptors: NDArray[np.float32]
    noise: Array
    depths: Array
    depth_sigmas: Array
    bent: Bend = STRAIGHT

    @property
    def rays(self) -> Array:
        """(N, 3): bearings with z = 1."""
        return np.column_stack([self.bearings, np.ones(len(self.bearings))])

    @property
    def points_in_cam(self) -> Array:
        """(N, 3), NaN where the depth is unknown."""
        return self.rays * self.depths[:, None]

    @property
    def is_sure(self) -> NDArray[np.bool_]:
        """Mask (N,) of the depths that are known well enough to make landmarks."""
        with np.errstate(invalid="ignore"):
            return self.depth_sigmas < _MAX_DEPTH_ERROR * self.depths

    def straightened(self, bend: Bend) -> View:
        """As a global shutter would have taken it when the middle row was read.

        bend: what these bearings and depths have, of which its uncertainty is left.
        """
        rays = np.ones((3, len(self.rows)))
        rays[:2] = self.bearings.T
        x, y, z = turned(rays, bend.mean, self.rows)
        return replace(
            self,
            bearings=np.stack([x / z, y / z], axis=1),
            depths=self.depths * z,
            depth_sigmas=self.depth_sigmas * z,
            bent=Bend(np.zeros(3), bend.covariance),
        )


def sampled_depth(depth: NDArray[Any], keypoints: NDArray[Any], config: DepthConfig) -> Array:
    """Depth image (H, W), metres, at keypoints (N, 2) -> (N,), NaN where it cannot be trusted.

    Not trusted are depths out of range, and edges, where a neighbouring pixel is on another
    surface or unknown.
    """
    height, width = depth.shape
    x, y = np.round(keypoints).astype(np.int64).T
    inside = (x >= 1) & (x < width - 1) & (y >= 1) & (y < height - 1)
    pixel = np.where(inside, y * width + x, width + 1)
    steps = np.arange(-1, 2)
    around = (steps[:, None] * width + steps).reshape(9, 1)
    window = depth.ravel().take(pixel + around, mode="wrap")  # (9, N)
    near, far = window.min(axis=0), window.max(axis=0)  # NaN if any pixel is
    flat = far - near <= config.max_relative_step * near
    trusted = inside & flat & (near >= config.min_m) & (far <= config.max_m)
    return np.where(trusted, window[4], np.nan).astype(np.float64)


def stereo_depth(
    stereo: StereoCamera,
    left: Features,
    right: Features,
    config: DepthConfig,
    min_similarity: float,
) -> Array:
    """Depths (N,) of the left keypoints, NaN where no right keypoint matches along the row.

    Nor are depths known that are nearer than is used.
    """
    rectified_left, rectified_right = stereo.rectify(left.keypoints, right.keypoints)
    (x_left, y_left), (x_right, y_right) = rectified_left.T, rectified_right.T
    error = config.max_row_error_px
    pairs = pairs_between(y_left - error, y_left + error, y_right)
    disparity = x_left[pairs[:, 0]] - x_right[pairs[:, 1]]
    pairs = pairs[disparity >= config.min_disparity_px]
    i, j = match_pairs(left.descriptors, right.descriptors, min_similarity, pairs).T
    depths = np.full(len(left), np.nan)
    depths[i] = stereo.depth(rectified_left[i], x_left[i] - x_right[j])
    return np.where(depths >= config.min_m, depths, np.nan)


def check_size(depth: NDArray[Any], camera: Camera) -> None:
    """Raises DataError unless the depth image is registered to the camera's image."""
    if depth.shape != (camera.height, camera.width):
        raise DataError(
            f"depth image has shape {depth.shape}, expected ({camera.height}, {camera.width}): "
            "register it to the colour image"
        )
