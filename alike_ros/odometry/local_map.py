"""What the odometry remembers: keyframes, and the landmarks that they see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from alike_ros.geometry import Array, inverse, transform
from alike_ros.odometry.noise import Noise
from alike_ros.odometry.prior import Prior, of_sightings
from alike_ros.odometry.shutter import Exposure
from alike_ros.odometry.view import View

Rows = NDArray[np.int64]
#: Readout times this close bend an image alike, to a tenth of a pixel.
_SAME_S = 1e-4


@dataclass(eq=False)
class Keyframe:
    """A view with a known pose, one of those that hold the map together.

    bent is its view as it was taken; landmarks (N,): the row of each keypoint's landmark in the
    map, -1 where it has none; covariance (6, 6) of world_from_cam, as in Estimate, but for what
    `stretch` (6, 5) says of a wrong calibration, see `inheritance`.
    """

    bent: View
    world_from_cam: Array
    covariance: Array
    exposure: Exposure | None = None  # None: how the camera turned is not known yet
    stretch: Array = field(default_factory=lambda: np.zeros((6, 5)))
    landmarks: Rows = field(init=False)
    last_used: int = 0  # the number of the frame that was last tracked by it
    most_inliers: int = 1  # that any frame shared with it
    depth_noise: float | None = None  # of 1 / depth, 1/m, if landmarks that were there told it

    def __post_init__(self) -> None:
        self.landmarks = np.full(len(self.bent.bearings), -1, np.int64)

    @cached_property
    def view(self) -> View:
        """Its view as a global shutter would have taken it."""
        return self.bent if self.exposure is None else self.bent.straightened(self.exposure.bend)

    def straighten(self, readout_s: float) -> None:
        """The view as a global shutter would have taken it, if its rows took this long to read."""
        exposure = self.exposure
        if exposure is not None and abs(exposure.readout_s - readout_s) > _SAME_S:
            self.exposure = replace(exposure, readout_s=readout_s)
            self.__dict__.pop("view", None)  # another one from now on

    def depth_residuals(self, positions: Array) -> Array:
        """1 / depth, measured minus expected, of the landmarks that it sees; NaN where unknown.

        positions (L, 3) of all landmarks, in the world.
        """
        seen = np.nonzero(self.landmarks >= 0)[0]
        points = transform(self.cam_from_world, positions[self.landmarks[seen]])
        return np.asarray(1 / self.view.depths[seen] - 1 / points[:, 2])

    @property
    def rows(self) -> Rows:
        """Rows of the landmarks that it sees."""
        return self.landmarks[self.landmarks >= 0]

    @property
    def cam_from_world(self) -> Array:
        """The inverse."""
        return inverse(self.world_from_cam)


class LocalMap:
    """Landmarks as arrays, one row each, and the keyframes that see them. Bounded in size.

    positions (L, 3) in the world; spread (L, 3): one standard deviation of each, along the line
    on which it is least certain; prior: what keyframes saw of them that are here no more;
    descriptors (L, D): the normalised mean over the keyframes; visible and found (L,): how often a
    landmark was in view, and was matched.
    """

    def __init__(self, descriptor_size: int) -> None:
        self.keyframes: list[Keyframe] = []
        self.positions = np.empty((0, 3))
        self.spread = np.empty((0, 3))
        self.prior = Prior.none(0)
        self.descriptors = np.empty((0, descriptor_size), np.float32)
        self.visible = np.empty(0)
        self.found = np.empty(0)

    def __len__(self) -> int:
        return len(self.positions)

    def observers(self, keyframes: Sequence[Keyframe] | None = None) -> Rows:
        """How many of the keyframes (default: all) see each landmark, (L,)."""
        seen = [keyframe.rows for keyframe in (self.keyframes if keyframes is None else keyframes)]
        return np.bincount(np.concatenate([*seen, np.empty(0, np.int64)]), minlength=len(self))

    def shared(self, rows: Rows) -> Rows:
        """How many of these landmarks each keyframe sees."""
        wanted = np.zeros(len(self) + 1, bool)  # the last is that of keypoints without a landmark
        wanted[rows] = True
        found = [wanted.take(keyframe.landmarks, mode="wrap") for keyframe in self.keyframes]
        return np.array([np.count_nonzero(seen) for seen in found], np.int64)

    def covisible(self, keyframe: Keyframe) -> list[Keyframe]:
        """The other keyframes that see the same landmarks, those with most in common first."""
        shared = self.shared(keyframe.rows)
        order = np.argsort(-shared, kind="stable")
        others = [self.keyframes[i] for i in order if shared[i]]
        return [other for other in others if other is not keyframe]

    def in_view(self, cam_from_world: Array, half_size: Array) -> Rows:
        """Rows of the landmarks in the image of a camera; half_size (2,) of it at z = 1."""
        R, t = cam_from_world[:3, :3], cam_from_world[:3, 3]
        x, y, z = R @ self.positions.T + t[:, None]  # each in one piece, unlike columns
        inside = (z > 0) & (abs(x) < half_size[0] * z) & (abs(y) < half_size[1] * z)
        return np.nonzero(inside)[0]

    def distance(self, world_from_cam: Array) -> float:
        """Median distance of the landmarks from a camera; 0 where there are none."""
        away = np.linalg.norm(self.positions - world_from_cam[:3, 3], axis=1)
        return float(np.median(away)) if len(away) else 0.0

    def add(self, keyframe: Keyframe, keypoints: Rows, positions: Array, spread: Array) -> Rows:
        """New landmarks (n, 3) at keypoints (n,) of a keyframe; returns their rows."""
        rows = np.arange(len(self), len(self) + len(keypoints))
        self.positions = np.concatenate([self.positions, positions])
        self.spread = np.concatenate([self.spread, spread])
        self.prior = self.prior.extended(len(keypoints))
        found = keyframe.view.descriptors[keypoints]
        self.descriptors = np.concatenate([self.descriptors, found])
        self.visible = np.concatenate([self.visible, np.ones(len(rows))])
        self.found = np.concatenate([self.found, np.ones(len(rows))])
        keyframe.landmarks[keypoints] = rows
        return rows

    def observe(self, keyframe: Keyframe, rows: Rows, keypoints: Rows) -> None:
        """The keyframe sees known landmarks (n,) at keypoints (n,); each is seen once."""
        count = self.observers()[rows][:, None]
        keyframe.landmarks[keypoints] = rows
        mean = self.descriptors[rows] * count + keyframe.view.descriptors[keypoints]
        self.descriptors[rows] = mean / np.linalg.norm(mean, axis=1, keepdims=True)

    def move(self, rows: Rows, motion: Array) -> None:
        """Moves landmarks, and what is known of them, by (4, 4)."""
        self.positions[rows] = transform(motion, self.positions[rows])
        self.prior = self.prior.replaced(rows, self.prior[rows].moved(motion))

    def straighten(self, keyframes: Sequence[Keyframe], readout_s: float) -> None:
        """Straightens what keyframes see as if rows took this long, and what one alone sees.

        Keyframes that have left the map are passed over: it no longer counts their landmarks.
        """
        alone = self.observers() == 1
        for keyframe in self.keyframes:
            if keyframe not in keyframes:
                continue
            before = keyframe.view
            keyframe.straighten(readout_s)
            if keyframe.view is before:
                continue
            (seen,) = np.nonzero((keyframe.landmarks >= 0) & np.isfinite(before.depths))
            seen = seen[alone[keyframe.landmarks[seen]]]
            moved = (keyframe.view.points_in_cam - before.points_in_cam)[seen]
            self.positions[keyframe.landmarks[seen]] += moved @ keyframe.world_from_cam[:3, :3].T

    def forget_misfits(self, keyframe: Keyframe, max_error: float) -> None:
        """Drops what a keyframe sees further than this, at z = 1, from where it should."""
        seen = np.nonzero(keyframe.landmarks >= 0)[0]
        points = transform(keyframe.cam_from_world, self.positions[keyframe.landmarks[seen]])
        with np.errstate(divide="ignore", invalid="ignore"):
            offset = points[:, :2] / points[:, 2:] - keyframe.view.bearings[seen]
        fits = (points[:, 2] > 0) & (np.linalg.norm(offset, axis=1) <= max_error)
        keyframe.landmarks[seen[~fits]] = -1

    def count_sightings(self, visible: Rows, found: Rows) -> None:
        """Keeps the statistics by which weak landmarks are told."""
        self.visible[visible] += 1
        self.found[found] += 1

    def cull(self, kept: int, min_found: float, redundancy: float, noise: Noise) -> None:
        """Drops redundant keyframes, the least used beyond `kept`, and weak landmarks.

        What these keyframes saw of landmarks that stay becomes a prior. A keyframe is redundant
        where a share of at least `redundancy` of its landmarks is seen by three others; a landmark
        is weak where the newest two keyframes do not see it and it was found in less than
        `min_found` of the frames it should have been in.
        """
        *older, newest = self.keyframes
        for keyframe in older[1:-1]:
            others = self.observers()[keyframe.rows] - 1
            if len(others) and (others >= 3).mean() >= redundancy:
                self._marginalise(keyframe, noise)
        while len(self.keyframes) > kept:
            candidates = [keyframe for keyframe in self.keyframes if keyframe is not newest]
            self._marginalise(min(candidates, key=lambda keyframe: keyframe.last_used), noise)
        fresh = self.observers(self.keyframes[-2:]) > 0
        strong = self.found >= min_found * self.visible
        self._keep((self.observers() > 0) & (fresh | strong))

    def _marginalise(self, keyframe: Keyframe, noise: Noise) -> None:
        seen = np.nonzero(keyframe.landmarks >= 0)[0]
        rows, view = keyframe.landmarks[seen], keyframe.view
        sights = of_sightings(
            keyframe.cam_from_world,
            self.positions[rows],
            view.bearings[seen],
            view.depths[seen],
            noise,
        )
        self.prior = self.prior.replaced(rows, self.prior[rows] + sights)
        self.keyframes.remove(keyframe)

    def _keep(self, mask: NDArray[np.bool_]) -> None:
        """Drops the landmarks that are not in the mask (L,)."""
        new_rows = np.append(np.where(mask, np.cumsum(mask) - 1, -1), -1)  # -1 stays -1
        for keyframe in self.keyframes:
            keyframe.landmarks = new_rows[keyframe.landmarks]
        self.positions, self.spread = self.positions[mask], self.spread[mask]
        self.prior = self.prior[mask]
        self.descriptors = self.descriptors[mask]
        self.visible, self.found = self.visible[mask], self.found[mask]
