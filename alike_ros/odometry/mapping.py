"""New keyframes into the map: landmarks from depth and from other keyframes, then adjustment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from alike_ros.config import Config
from alike_ros.geometry import inverse, parallax_deg, transform, triangulate
from alike_ros.matching import match_pairs, pairs_near
from alike_ros.odometry import bundle_adjustment
from alike_ros.odometry.bundle_adjustment import Adjusted, Noise
from alike_ros.odometry.local_map import Keyframe, LocalMap
from alike_ros.odometry.pose import consistent

#: Keyframes with which a new one triangulates landmarks.
_NEIGHBOURS = 3
#: A measured depth makes a landmark up to this relative error; beyond, only bearings count.
_MAX_DEPTH_ERROR = 0.2
#: A landmark that is found in less than this share of the frames that it should be in is weak.
_MIN_FOUND = 0.25
#: Keyframes whose landmarks others see to this share are redundant.
_REDUNDANT = 0.9

Match = Callable[..., NDArray[np.int64]]


class Mapper:
    """Grows and mends a map, keyframe by keyframe."""

    def __init__(
        self,
        local_map: LocalMap,
        config: Config,
        noise: Noise,
        max_error: float,
        match: Match,
        background: bool,
    ) -> None:
        """max_error: largest reprojection error, at z = 1; background: adjusts in a thread."""
        self._map = local_map
        self._config = config
        self._noise = noise
        self._max_error = max_error
        self._match = match
        self._thread = ThreadPoolExecutor(1) if background else None
        self._pending: Future[Adjusted | None] | None = None

    def collect(self) -> None:
        """Applies what the thread has finished."""
        if self._pending is not None and self._pending.done():
            self._finish()

    def insert(self, keyframe: Keyframe, adjust: bool = True) -> None:
        """Adds a keyframe, whose known landmarks are set, with the landmarks that are new.

        Waits for an adjustment that is going on: it relies on the rows of the landmarks. When it
        drops some of them, those of the new keyframe are renumbered with the others.
        """
        self._map.keyframes.append(keyframe)
        self._finish()
        if len(self._map.keyframes) > 1:
            self._recognise(keyframe)
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
        rows = np.setdiff1d(np.arange(len(self._map)), keyframe.rows)
        points = transform(keyframe.cam_from_world, self._map.positions[rows])
        rows, points = rows[points[:, 2] > 0], points[points[:, 2] > 0]
        free = np.nonzero(keyframe.landmarks < 0)[0]
        i, j = match_pairs(
            self._map.descriptors[rows],
            keyframe.view.descriptors[free],
            self._config.matching.min_similarity,
            pairs_near(
                points[:, :2] / points[:, 2:], keyframe.view.bearings[free], self._max_error
            ),
        ).T
        self._map.observe(keyframe, rows[i], free[j])

    def _add_measured(self, keyframe: Keyframe) -> None:
        """Landmarks where the depth is known well enough and no landmark is yet."""
        view = keyframe.view
        with np.errstate(invalid="ignore"):
            sure = view.depth_sigmas < _MAX_DEPTH_ERROR * view.depths
        new = np.nonzero(sure & (keyframe.landmarks < 0))[0]
        positions = transform(keyframe.world_from_cam, view.points_in_cam[new])
        along = view.rays[new] @ keyframe.world_from_cam[:3, :3].T
        self._map.add(keyframe, new, positions, along * view.depth_sigmas[new, None])

    def _triangulate(self, first: Keyframe, second: Keyframe) -> None:
        """Landmarks of keypoints that have none in either of two keyframes."""
        free0, free1 = (np.nonzero(keyframe.landmarks < 0)[0] for keyframe in (first, second))
        matches = self._match(first.view.descriptors[free0], second.view.descriptors[free1])
        matches = np.stack([free0[matches[:, 0]], free1[matches[:, 1]]], axis=1)
        self._add_triangulated(first, second, matches, self._config.keyframe.min_parallax_deg)

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
        good = consistent(points, bearings0, bearings1, second_from_first, self._max_error)
        with np.errstate(invalid="ignore", divide="ignore"):
            centre = inverse(second_from_first)[:3, 3]
            parallax = parallax_deg(points, np.zeros(3), centre)
            good &= parallax >= min_parallax_deg
            sigma = points * (2**0.5 * self._noise.keypoint / np.radians(parallax))[:, None]
        positions = transform(first.world_from_cam, points[good])
        spread = sigma[good] @ first.world_from_cam[:3, :3].T
        rows = self._map.add(first, i[good], positions, spread)
        self._map.observe(second, rows, j[good])

    def _adjust(self) -> None:
        """Begins to adjust what the newest keyframe sees, and waits for it unless in a thread."""
        self._pending = Future()
        metric = self._config.mode != "mono"
        bundle, noise = self._config.bundle, self._noise
        window = None
        if bundle.enabled and bundle_adjustment.is_available():
            window = bundle_adjustment.select(self._map, bundle.window, metric, noise)
        if window is None:
            self._pending.set_result(None)
        elif self._thread is not None:
            self._pending = self._thread.submit(bundle_adjustment.adjust, window, noise)
            return
        else:
            self._pending.set_result(bundle_adjustment.adjust(window, noise))
        self._finish()

    def _finish(self) -> None:
        """Waits for an adjustment, if there is one, and brings the map up to date."""
        if self._pending is None:
            return
        adjusted, self._pending = self._pending.result(), None
        if adjusted is not None:
            bundle_adjustment.write_back(adjusted, self._map, self._max_error)
        self._map.cull(self._config.keyframe.kept, _MIN_FOUND, _REDUNDANT)
