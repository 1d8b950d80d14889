"""New keyframes into the map: landmarks from depth and from other keyframes, then adjustment."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from numpy.linalg import det
from numpy.typing import NDArray

from alike_ros.geometry import inverse, parallax_deg, transform, triangulate
from alike_ros.odometry.adjuster import Adjuster
from alike_ros.odometry.bundle_adjustment import Adjusted, is_available
from alike_ros.odometry.fastest import fastest
from alike_ros.odometry.local_map import Keyframe, LocalMap, Rows
from alike_ros.odometry.localisation import Matcher
from alike_ros.odometry.sensor import Sensor
from alike_ros.odometry.two_views import consistent
from alike_ros.odometry.window import select

#: Keyframes with which a new one triangulates landmarks.
_NEIGHBOURS = 3
#: A landmark that is found in less than this share of the frames that it should be in is weak.
_MIN_FOUND = 0.25
#: Keyframes whose landmarks others see to this share are redundant.
_REDUNDANT = 0.9


@dataclass(frozen=True)
class _Adjustment:
    """What is being adjusted: the keyframes of a window, the newest first, and the result to come.

    landmarks: how many the map had when it began.
    """

    keyframes: Sequence[Keyframe]
    rows: Rows
    landmarks: int
    result: Future[Adjusted | None]


class Mapper:
    """Grows and mends a map, keyframe by keyframe.

    Nothing waits for an adjustment in the background: rows of landmarks are added, but none goes
    before its result has been written back; what is new by then moves along.
    """

    def __init__(
        self,
        local_map: LocalMap,
        sensor: Sensor,
        match: Matcher,
        adjuster: Adjuster,
    ) -> None:
        self.sensor = sensor
        self._map = local_map
        self._match = match
        self._adjuster = adjuster
        self._noise = sensor.noise  # as the last adjustment found it
        self._adjustment: _Adjustment | None = None
        self._is_outdated = False  # a keyframe has come since the adjustment began

    def collect(self) -> None:
        """Brings the map up to date with what has been adjusted. Rows of landmarks change."""
        if self._adjustment is None or not self._adjustment.result.done():
            return
        self._finish(self._adjustment)
        if self._is_outdated:
            self._adjust()

    def insert(self, keyframe: Keyframe, adjust: bool = True) -> None:
        """Adds a keyframe, whose known landmarks are set, with the landmarks that are new."""
        self._map.keyframes.append(keyframe)
        if len(self._map.keyframes) > 1:
            self._recognise(keyframe)
            residuals = keyframe.depth_residuals(self._map.positions)
            keyframe.depth_noise = self.sensor.noise.with_depths(residuals).inverse_depth
        self._add_measured(keyframe)
        for other in self._map.covisible(keyframe)[:_NEIGHBOURS]:
            self._triangulate(other, keyframe)
        if adjust:
            self._adjust()

    def insert_pair(self, second: Keyframe, matches: NDArray[np.int64]) -> None:
        """Mono: the second keyframe, and landmarks at matches (K, 2) with the first."""
        first = self._map.keyframes[0]
        self._map.keyframes.append(second)
        self._add_triangulated(first, second, matches, 0.0)
        self._adjust()

    def _recognise(self, keyframe: Keyframe) -> None:
        """Known landmarks at keypoints that have none: the pose is known, the gate is narrow."""
        in_view = self._map.in_view(keyframe.cam_from_world, self.sensor.half_size)
        rows = np.setdiff1d(in_view, keyframe.rows)
        points = transform(keyframe.cam_from_world, self._map.positions[rows])
        free = np.nonzero(keyframe.landmarks < 0)[0]
        matches = fastest().match_near(
            points[:, :2] / points[:, 2:],
            keyframe.view.bearings[free],
            self.sensor.max_error,
            self._map.descriptors[rows],
            keyframe.view.descriptors[free],
            self.sensor.config.matching.min_similarity,
        )
        self._map.observe(keyframe, rows[matches[:, 0]], free[matches[:, 1]])

    def _add_measured(self, keyframe: Keyframe) -> None:
        """Landmarks where the depth is known well enough and no landmark is yet."""
        view = keyframe.view
        new = np.nonzero(view.is_sure & (keyframe.landmarks < 0))[0]
        positions = transform(keyframe.world_from_cam, view.points_in_cam[new])
        along = view.rays[new] @ keyframe.world_from_cam[:3, :3].T
        # depth_sigmas are what settings expect
        worse = max(self._noise.inverse_depth / self.sensor.noise.inverse_depth, 1.0)
        self._map.add(keyframe, new, positions, along * worse * view.depth_sigmas[new, None])

    def _triangulate(self, first: Keyframe, second: Keyframe) -> None:
        """Landmarks of keypoints that have none in either of two keyframes."""
        free0, free1 = (np.nonzero(keyframe.landmarks < 0)[0] for keyframe in (first, second))
        floor = self.sensor.config.matching.min_similarity
        matches = self._match(first.view.descriptors[free0], second.view.descriptors[free1], floor)
        matches = np.stack([free0[matches[:, 0]], free1[matches[:, 1]]], axis=1)
        self._add_triangulated(
            first, second, matches, self.sensor.config.keyframe.min_parallax_deg
        )

    def _add_triangulated(
        self,
        first: Keyframe,
        second: Keyframe,
        matches: NDArray[np.int64],
        min_parallax_deg: float,
    ) -> None:
        """Landmarks at matches (K, 2) of keypoints, where both views agree on them."""
        i, j = matches.T
        second_from_first = second.cam_from_world @ first.world_from_cam
        bearings0, bearings1 = first.view.bearings[i], second.view.bearings[j]
        points = triangulate(bearings0, bearings1, second_from_first)
        good = consistent(points, bearings0, bearings1, second_from_first, self.sensor.max_error)
        with np.errstate(invalid="ignore", divide="ignore"):
            centre = inverse(second_from_first)[:3, 3]
            parallax = parallax_deg(points, np.zeros(3), centre)
            good &= parallax >= min_parallax_deg
            sigma = points * (2**0.5 * self.sensor.noise.keypoint / np.radians(parallax))[:, None]
        positions = transform(first.world_from_cam, points[good])
        spread = sigma[good] @ first.world_from_cam[:3, :3].T
        rows = self._map.add(first, i[good], positions, spread)
        self._map.observe(second, rows, j[good])

    def _adjust(self) -> None:
        """Begins to adjust what the newest keyframe sees, now or after what is going on."""
        self._is_outdated = self._adjustment is not None
        if self._is_outdated:
            return
        bundle = self.sensor.config.bundle
        metric = self.sensor.is_metric
        selected = None
        if bundle.enabled and is_available():
            selected = select(self._map, bundle.window, metric, self.sensor.noise)
        if selected is None:
            self._cull()
            return
        keyframes, window = selected
        result = self._adjuster(window)
        self._adjustment = _Adjustment(keyframes, window.rows, len(self._map), result)
        if result.done():
            self._finish(self._adjustment)

    def _finish(self, adjustment: _Adjustment) -> None:
        self._adjustment = None
        adjusted = adjustment.result.result()
        if adjusted is not None:
            self._write_back(adjustment, adjusted)
        self._cull()

    def _write_back(self, adjustment: _Adjustment, adjusted: Adjusted) -> None:
        """Moves keyframes and landmarks; drops observations that do not fit."""
        keyframes, local_map = adjustment.keyframes, self._map
        newest = keyframes[0]
        moved = adjusted.poses[0] @ newest.cam_from_world
        began = local_map.keyframes.index(newest)
        for later in local_map.keyframes[began + 1 :]:
            later.world_from_cam = moved @ later.world_from_cam
        local_map.move(np.arange(adjustment.landmarks, len(local_map)), moved)
        once = local_map.observers()[: adjustment.landmarks] == 1
        once[adjustment.rows] = False
        for keyframe, pose, covariance in zip(
            keyframes, adjusted.poses, adjusted.covariances, strict=False
        ):
            rows = keyframe.rows[keyframe.rows < adjustment.landmarks]
            rows = rows[once[rows]]  # not in the window: they stay where the keyframe sees them
            local_map.move(rows, pose @ keyframe.cam_from_world)
            keyframe.world_from_cam = pose
            # more measurements do not make an older one less certain: adding up what the held
            # ones are off by, as if they had not got it from it, would
            if keyframe is newest or det(covariance) < det(keyframe.covariance):
                keyframe.covariance = covariance
        self._noise = adjusted.noise
        local_map.positions[adjustment.rows] = adjusted.positions
        local_map.spread[adjustment.rows] = adjusted.spread
        for keyframe in keyframes:
            local_map.forget_misfits(keyframe, self.sensor.max_error)

    def _cull(self) -> None:
        kept = self.sensor.config.keyframe.kept
        self._map.cull(kept, _MIN_FOUND, _REDUNDANT, self._noise)
