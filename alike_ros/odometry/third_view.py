"""What a third view tells of the pose of two.

A plane seen twice allows two poses. With each goes another plane, which a view from a third place
fits or does not. And what two views tell of points says where a third one was taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from alike_ros.geometry import Array, from_Rt, triangulate
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
    this one; found: what they tell, once it is known.
    """

    rows: Rows
    bearings0: Array
    bearings: Array
    found: RelativePose | None = None

    @property
    def moved(self) -> float:
        """How far a keypoint has moved since the first view, the median, at z = 1."""
        return float(np.median(np.linalg.norm(self.bearings - self.bearings0, axis=1)))


def followed(last: Passed, view: Passed, max_error: float) -> list[Array]:
    """Poses (4, 4) of a view that come after those of the last one, |translation| = 1.

    By the points that the first and the last view see. max_error: as in told_apart.
    """
    if last.found is None:
        return []
    poses = []
    for pose in (last.found, *last.found.rivals):
        sightings = _sightings(pose, last, view)
        located = pose_from_points(sightings, max_error, _ITERATIONS)
        if located is not None:
            R, t = located.cam_from_world[:3, :3], located.cam_from_world[:3, 3]
            length = np.linalg.norm(t)
            if length > 1e-9:
                poses.append(from_Rt(R, t / length))
    return poses


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
    seen = [_sightings(pose, second, third) for pose in poses]
    if min(len(sightings.points) for sightings in seen) < _ENOUGH:
        return found
    misfits = [_misfit(sightings, max_error) for sightings in seen]
    least = min(misfits)
    best = poses[misfits.index(least)]
    fitting = [
        pose for pose, misfit in zip(poses, misfits, strict=True) if misfit <= WORSE * least
    ]
    rivals = tuple(replace(pose, rivals=()) for pose in fitting if differ(pose, best))
    return replace(best, rivals=rivals)


def _sightings(pose: RelativePose, second: Passed, third: Passed) -> Sightings:
    """What a third view sees of the points that a pose of the second gives."""
    agreeing = np.nonzero(pose.inliers)[0]
    _, common, in_third = np.intersect1d(
        second.rows[agreeing], third.rows, assume_unique=True, return_indices=True
    )
    in_second, count = agreeing[common], len(common)
    return Sightings(
        triangulate(second.bearings0[in_second], second.bearings[in_second], pose.cam1_from_cam0),
        np.zeros((count, 3)),
        third.bearings[in_third],
        np.ones(count),
        np.zeros(count),
    )


def _misfit(sightings: Sightings, max_error: float) -> float:
    """How far off they are from where the points should be seen, the median."""
    located = pose_from_points(sightings, max_error, _ITERATIONS)
    if located is None:
        return np.inf
    seen = see(located.cam_from_world, STRAIGHT.mean, sightings.in_columns())
    return median(np.linalg.norm(seen.residuals, axis=0))
