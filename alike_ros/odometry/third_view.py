"""Which of several poses that explain two views a third one tells to be right.

A plane seen twice allows two poses. With each goes another plane, which a view from a third place
fits or does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from alike_ros.geometry import Array, triangulate
from alike_ros.odometry.local_map import Rows
from alike_ros.odometry.noise import median
from alike_ros.odometry.pose import pose_from_points
from alike_ros.odometry.reprojection import Sightings, see
from alike_ros.odometry.shutter import STRAIGHT
from alike_ros.odometry.two_views import WORSE, RelativePose, differ

#: Matches that three views need: fewer medians of residuals differ by chance.
_ENOUGH = 30
_ITERATIONS = 100


@dataclass(frozen=True)
class Passed:
    """A later view's matches with the first one.

    rows (K,) of the first view's keypoints; bearings0, bearings (K, 2) in the first view and in
    this one.
    """

    rows: Rows
    bearings0: Array
    bearings: Array

    @property
    def moved(self) -> float:
        """How far a keypoint has moved since the first view, the median, at z = 1."""
        return float(np.median(np.linalg.norm(self.bearings - self.bearings0, axis=1)))


def told_apart(
    found: RelativePose, second: Passed, between: Sequence[Passed], max_error: float
) -> RelativePose:
    """Of a pose of the second view and its rivals, the one that a view between agrees with.

    That view is the one half-way; as found where it does not tell.
    max_error: largest reprojection error of an inlier, at z = 1.
    """
    if found.is_unique or not between:
        return found
    half = second.moved / 2
    third = min(between, key=lambda passed: abs(passed.moved - half))
    poses = (found, *found.rivals)
    common = [_common(pose, second, third) for pose in poses]
    if min(len(in_third) for _, in_third in common) < _ENOUGH:
        return found
    misfits = [
        _misfit(pose, second, third, rows, max_error)
        for pose, rows in zip(poses, common, strict=True)
    ]
    least = min(misfits)
    best = poses[misfits.index(least)]
    fitting = [
        pose for pose, misfit in zip(poses, misfits, strict=True) if misfit <= WORSE * least
    ]
    rivals = tuple(replace(pose, rivals=()) for pose in fitting if differ(pose, best))
    return replace(best, rivals=rivals)


def _common(pose: RelativePose, second: Passed, third: Passed) -> tuple[Rows, Rows]:
    """Matches of the second view that agree with its pose, and the third one's of the same."""
    agreeing = np.nonzero(pose.inliers)[0]
    _, in_agreeing, in_third = np.intersect1d(
        second.rows[agreeing], third.rows, assume_unique=True, return_indices=True
    )
    return agreeing[in_agreeing], in_third


def _misfit(
    pose: RelativePose, second: Passed, third: Passed, common: tuple[Rows, Rows], max_error: float
) -> float:
    """How far off a third view sees the points that a pose of the second gives, the median."""
    in_second, in_third = common
    count = len(in_third)
    sightings = Sightings(
        triangulate(second.bearings0[in_second], second.bearings[in_second], pose.cam1_from_cam0),
        np.zeros((count, 3)),
        third.bearings[in_third],
        np.ones(count),
        np.zeros(count),
    )
    located = pose_from_points(sightings, max_error, _ITERATIONS)
    if located is None:
        return np.inf
    seen = see(located.cam_from_world, STRAIGHT.mean, sightings.in_columns())
    return median(np.linalg.norm(seen.residuals, axis=0))
