"""Where in the map a view was taken from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from alike_ros.geometry import Array, inverse, transform
from alike_ros.matching import similarities
from alike_ros.odometry.fastest import fastest
from alike_ros.odometry.local_map import Keyframe, LocalMap, Rows
from alike_ros.odometry.noise import match_noise
from alike_ros.odometry.pose import PoseResult, pose_from_points
from alike_ros.odometry.reprojection import Sightings
from alike_ros.odometry.sensor import Sensor
from alike_ros.odometry.view import View

#: A prediction is believed when it finds this share of the last frame's inliers, and when this
#: share of its matches agree: where a fast turn stops short, the prediction overshoots, and what
#: lies near it by chance gives poses that get worse from frame to frame.
_BELIEVED = 0.5
#: Where it is not, landmarks are looked for in a circle larger by this factor.
_WIDER = 4.0
#: Landmarks outside the image by this share of its size may come into view.
_MARGIN = 1.3


class Matcher(Protocol):
    """Descriptors (N, D) and (M, D), lowest similarity -> index pairs (K, 2)."""

    def __call__(
        self, descriptors0: NDArray[np.float32], descriptors1: NDArray[np.float32], floor: float, /
    ) -> NDArray[np.int64]:
        """See `match_mutual`."""
        ...


@dataclass(frozen=True)
class Located:
    """A view in the map: its pose, and what agrees with it: rows (K,) at keypoints (K,)."""

    pose: PoseResult
    num_matches: int
    rows: Rows
    keypoints: Rows

    def __len__(self) -> int:
        """How many landmarks agree."""
        return len(self.rows)

    @cached_property
    def world_from_cam(self) -> Array:
        """The pose."""
        return inverse(self.pose.cam_from_world)


def locate(
    view: View,
    local_map: LocalMap,
    predicted: Array,
    keyframes: Iterable[Keyframe],
    expected: int,
    sensor: Sensor,
    match: Matcher,
) -> Located | None:
    """The pose of a view: near the predicted one, else farther from it, else by keyframes.

    predicted is world_from_cam; each is tried as long as far fewer landmarks agree than expected,
    or than match. None where too few do.
    """
    guess, radius = inverse(predicted), sensor.search_radius
    best: Located | None = None
    for circle in (radius, _WIDER * radius):
        best = _better(best, _near(view, local_map, guess, circle, sensor))
        if best is not None and len(best) >= _BELIEVED * max(expected, best.num_matches):
            return best
    for keyframe in keyframes:
        best = _better(best, _by_keyframe(view, local_map, keyframe, sensor, match))
    return best


def _near(
    view: View, local_map: LocalMap, cam_from_world: Array, radius: float, sensor: Sensor
) -> Located | None:
    """The pose by landmarks that a guessed pose puts within a radius of keypoints."""
    rows = local_map.in_view(cam_from_world, _MARGIN * sensor.half_size)
    points = transform(cam_from_world, local_map.positions[rows])
    matches = fastest().match_near(
        points[:, :2] / points[:, 2:],
        view.bearings,
        radius,
        local_map.descriptors[rows],
        view.descriptors,
        sensor.config.matching.min_similarity,
    )
    return _pose(view, local_map, rows[matches[:, 0]], matches[:, 1], sensor)


def _by_keyframe(
    view: View, local_map: LocalMap, keyframe: Keyframe, sensor: Sensor, match: Matcher
) -> Located | None:
    """The pose by the landmarks that one keyframe sees, and then by all that are near."""
    seen = np.nonzero(keyframe.landmarks >= 0)[0]
    floor = sensor.config.matching.min_similarity
    matches = match(keyframe.view.descriptors[seen], view.descriptors, floor)
    rows = keyframe.landmarks[seen[matches[:, 0]]]
    found = _pose(view, local_map, rows, matches[:, 1], sensor)
    if found is None:
        return None
    guess = found.pose.cam_from_world
    return _better(_near(view, local_map, guess, sensor.search_radius, sensor), found)


def _pose(
    view: View, local_map: LocalMap, rows: Rows, keypoints: Rows, sensor: Sensor
) -> Located | None:
    """The pose by matched landmarks, where enough of them agree."""
    tracking = sensor.config.tracking
    similarity = similarities(local_map.descriptors, rows, view.descriptors, keypoints)
    sightings = Sightings(
        local_map.positions[rows],
        local_map.spread[rows],
        view.bearings[keypoints],
        match_noise(similarity) * view.noise[keypoints],
        view.rows[keypoints],
    )
    pose = pose_from_points(sightings, sensor.max_error, tracking.ransac_iterations, view.bent)
    if pose is None or pose.num_inliers < tracking.min_inliers:
        return None
    return Located(pose, len(rows), rows[pose.inliers], keypoints[pose.inliers])


def _better(located0: Located | None, located1: Located | None) -> Located | None:
    """The one with more inliers, the first where they are equal."""
    if located0 is None or located1 is None:
        return located0 or located1
    return located1 if len(located1) > len(located0) else located0
