"""Mono: the first landmarks, from two views with enough parallax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from alike_ros.geometry import Array, inverse, parallax_deg, rotation_log, triangulate
from alike_ros.odometry.inheritance import carried, stretch
from alike_ros.odometry.local_map import Keyframe
from alike_ros.odometry.localisation import Matcher
from alike_ros.odometry.sensor import Sensor
from alike_ros.odometry.shutter import Exposure
from alike_ros.odometry.third_view import Passed, followed, told_apart
from alike_ros.odometry.two_views import RelativePose, relative_covariance, relative_pose
from alike_ros.odometry.view import View

#: Where two poses explain the first two views, and no view between tells which is right, these
#: times the parallax is waited for. A wrong one gets implausible meanwhile, but before a plane
#: that goes on for ever, none does.
_AMBIGUOUS = 3
#: A map starts with a pose on which this share of the matches agrees. Fewer agree on a wrong one:
#: by chance, where two views have little in common, or as cars that pass a camera at rest do.
_AGREEING = 0.4


@dataclass(frozen=True)
class Start:
    """The second keyframe, whose distance from the first is the unit of length.

    own_covariance (6, 6) of the second, given the first; pairs (K, 2) of their keypoints that
    agree, of num_matches.
    """

    second: Keyframe
    own_covariance: Array
    pairs: NDArray[np.int64]
    num_matches: int


@dataclass(frozen=True)
class NotYet:
    """No start; passed: the view that made none, with what it tells of its pose.

    out_of_sight: no later view can be hoped to make one with the first view.
    """

    out_of_sight: bool
    passed: Passed

    @property
    def num_matches(self) -> int:
        """With the first view."""
        return len(self.passed.rows)


def start(
    first: Keyframe, between: Sequence[Passed], view: View, sensor: Sensor, match: Matcher
) -> Start | NotYet:
    """From the first view, and a later one; between: views that made no start, in their order."""
    floor = sensor.config.matching.min_similarity
    matches = match(first.view.descriptors, view.descriptors, floor)
    bearings0, bearings1 = first.view.bearings[matches[:, 0]], view.bearings[matches[:, 1]]
    passed = Passed(matches[:, 0], bearings0, bearings1)
    guesses = followed(between[-1], passed, sensor.max_error) if between else []
    result = relative_pose(bearings0, bearings1, sensor.max_error, guesses)
    if result is None or result.num_inliers < sensor.config.tracking.min_inliers:
        return NotYet(True, passed)
    passed = replace(passed, found=result)
    if result.num_inliers < _AGREEING * len(matches):
        # of views that hardly differ, a later one tells the pose
        return NotYet(passed.moved >= sensor.max_error, passed)
    result = told_apart(result, passed, between, sensor.max_error)
    agreeing0, agreeing1 = bearings0[result.inliers], bearings1[result.inliers]
    enough = sensor.config.keyframe.start_parallax_deg * (1 if result.is_unique else _AMBIGUOUS)
    if _parallax_deg(result, agreeing0, agreeing1) < enough:
        return NotYet(False, passed)
    own = relative_covariance(result.cam1_from_cam0, agreeing0, agreeing1)
    second = _second(first, view, inverse(result.cam1_from_cam0), own)
    return Start(second, own, matches[result.inliers], len(matches))


def _parallax_deg(result: RelativePose, bearings0: Array, bearings1: Array) -> float:
    """Under which the points are seen, the median, degrees."""
    points = triangulate(bearings0, bearings1, result.cam1_from_cam0)
    centre1 = inverse(result.cam1_from_cam0)[:3, 3]
    return float(np.median(parallax_deg(points, np.zeros(3), centre1)))


def _second(first: Keyframe, view: View, first_from_cam: Array, own: Array) -> Keyframe:
    """The second keyframe; both are taken to turn at the same rate."""
    gap_s = (view.stamp_ns - first.view.stamp_ns) * 1e-9
    exposure = Exposure(rotation_log(first_from_cam[:3, :3]) / gap_s, np.zeros(3), 0.0)
    pose = first.world_from_cam @ first_from_cam
    return Keyframe(view, pose, own + carried(first, pose), exposure, stretch(first, pose))
