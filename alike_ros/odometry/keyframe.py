"""A view that later ones are compared with, and the landmarks it knows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alike_ros.geometry import Array, inverse, parallax_deg, transform, triangulate
from alike_ros.odometry.pose import consistent
from alike_ros.odometry.view import View

#: A landmark is triangulated anew when it is seen under this much more parallax.
_PARALLAX_GAIN = 1.5
#: Two measurements of a landmark further apart than this many standard deviations disagree.
_GATE = 3.0


@dataclass
class Keyframe:
    """A view with a known pose.

    landmarks (N, 3) in the world, one per keypoint, NaN where unknown; spread (N, 3): one standard
    deviation of each, along the ray that it was seen on; parallax (N,), degrees, under which each
    was triangulated, infinite where its depth was measured.
    """

    view: View
    world_from_cam: Array
    covariance: Array  # of world_from_cam, as in Estimate
    most_inliers: int = 0  # of any later frame so far
    landmarks: Array = field(init=False)
    spread: Array = field(init=False)
    parallax: Array = field(init=False)

    def __post_init__(self) -> None:
        rotation = self.world_from_cam[:3, :3]
        self.landmarks = transform(self.world_from_cam, self.view.points_in_cam)
        self.spread = self.view.rays @ rotation.T * self.view.depth_sigmas[:, None]
        self.parallax = np.where(np.isfinite(self.view.depths), np.inf, 0.0)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Mask (N,) of the keypoints whose landmark is known."""
        return np.asarray(np.isfinite(self.landmarks[:, 0]))

    def inherit(self, parent: Keyframe, matches: NDArray[np.int64]) -> None:
        """Takes over the landmarks of matched keypoints (K, 2), parent's index first.

        They keep their place in the world, so that its scale and origin do not drift with every
        new keyframe. Where this view measured the depth too, both are averaged by their variance,
        unless they disagree: then the new one counts.
        """
        i, j = matches[parent.known[matches[:, 0]]].T
        old, new = parent.landmarks[i], self.landmarks[j]
        old_variance = (parent.spread[i] ** 2).sum(1)
        new_variance = (self.spread[j] ** 2).sum(1)
        measured = self.known[j]
        distance2 = ((old - new) ** 2).sum(1)
        replaced = measured & (distance2 > _GATE**2 * (old_variance + new_variance))
        share = np.where(measured, old_variance / (old_variance + new_variance), 0.0)  # of new
        mean = old + share[:, None] * np.where(measured[:, None], new - old, 0.0)
        spread = parent.spread[i] * np.sqrt(1 - share)[:, None]
        keep = ~replaced
        self.landmarks[j[keep]], self.spread[j[keep]] = mean[keep], spread[keep]
        self.parallax[j[keep]] = parent.parallax[i[keep]]

    def triangulate(
        self,
        view: View,
        world_from_view: Array,
        matches: NDArray[np.int64],
        min_parallax_deg: float,
        max_error: float,
    ) -> None:
        """Adds and improves landmarks that a view with a known pose sees from another side.

        max_error: largest reprojection error, at z = 1; a third of it is taken as one standard
        deviation.
        """
        i, j = matches.T
        view_from_self = inverse(world_from_view) @ self.world_from_cam
        bearings0, bearings1 = self.view.bearings[i], view.bearings[j]
        points = triangulate(bearings0, bearings1, view_from_self)
        good = consistent(points, bearings0, bearings1, view_from_self, max_error)
        with np.errstate(invalid="ignore", divide="ignore"):
            centre = inverse(view_from_self)[:3, 3]
            parallax = parallax_deg(points, np.zeros(3), centre)
            sigma = points * (max_error / 3 / np.radians(parallax))[:, None]
        good &= (parallax >= min_parallax_deg) & (parallax > _PARALLAX_GAIN * self.parallax[i])
        i = i[good]
        self.landmarks[i] = transform(self.world_from_cam, points[good])
        self.spread[i] = sigma[good] @ self.world_from_cam[:3, :3].T
        self.parallax[i] = parallax[good]
