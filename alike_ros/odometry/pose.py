"""The pose of a camera that sees known points: PnP, refined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from alike_ros.geometry import Array, from_Rt, rotation_exp
from alike_ros.odometry.fastest import fastest
from alike_ros.odometry.noise import excess
from alike_ros.odometry.reprojection import Sightings, see
from alike_ros.odometry.shutter import STRAIGHT, Bend

_ITERATIONS = 10
#: A bend that is known to this many radians, a hundredth of a pixel, needs no estimate.
_STRAIGHT = 1e-5
#: RANSAC takes so many of the first sightings: more add time, but hardly any certainty.
_SAMPLED = 400
#: Gates of the refinement after RANSAC, in multiples of the largest error; in each, a step of less
#: than so many standard deviations is the last. The next gate goes on from there; after the last
#: one, further steps would be far smaller.
_GATES = ((4, 1.0), (2, 1.0), (1, 0.1))


@dataclass(frozen=True)
class PoseResult:
    """A pose, the matches that agree with it, and how sure it is.

    cam_from_world (4, 4), at the middle row; inliers (N,) bool; covariance (6, 6) of
    (translation, rotation) in the camera's frame: cam_from_world_true = exp(error) @
    cam_from_world; bend: how the camera turned while the image was read.
    """

    cam_from_world: Array
    inliers: NDArray[np.bool_]
    covariance: Array
    bend: Bend = STRAIGHT

    @property
    def num_inliers(self) -> int:
        """How many matches agree."""
        return int(self.inliers.sum())


def pose_from_points(
    sightings: Sightings, max_error: float, iterations: int, bent: Bend = STRAIGHT
) -> PoseResult | None:
    """Pose of a camera that sees known points: P3P in RANSAC, refined.

    sightings: those come first that are the most likely to be right; max_error: largest
    reprojection error of an inlier, at z = 1 (pixels over focal length); bent: what is known of a
    rolling shutter (View).
    Refinement begins with a wider gate: a rolling shutter or blur bends the image, and RANSAC may
    pick the points of one part of it, which fit together and give a bad pose. It does what the
    local optimisation of a modern RANSAC is for: OpenCV's USAC, with MAGSAC's scores and inner
    optimisation, took 4.4 : 0.6 ms on 127 images of a camera in the hand. None where no pose is
    found.
    """
    if len(sightings.points) < 6:
        return None
    found, rotvec, t, _ = cv2.solvePnPRansac(
        sightings.points[:_SAMPLED, None],
        sightings.bearings[:_SAMPLED, None],
        np.eye(3),
        None,
        iterationsCount=iterations,
        reprojectionError=max_error,
        confidence=0.9999,
        flags=cv2.SOLVEPNP_AP3P,
    )
    if not found or not np.isfinite(rotvec).all() or not np.isfinite(t).all():
        return None
    cam_from_world = from_Rt(rotation_exp(np.asarray(rotvec, np.float64)[:, 0]), t)
    columns, known = sightings.in_columns(), _Known.of(bent)
    fits: list[_Fit] = []
    start = bent.mean
    for factor, settled in _GATES:
        fit = _fit(cam_from_world, columns, factor * max_error, known, start, settled)
        if fit is None:
            return None
        cam_from_world, start = fit.cam_from_world, fit.bend.mean
        fits.append(fit)
    # the widest gate tells the noise: narrow ones leave out what it does to the picture
    covariance = fits[0].scaled_covariance(columns)
    inliers = see(cam_from_world, start, columns).within(max_error)
    return PoseResult(cam_from_world, inliers, covariance, fits[-1].bend)


class _Known(NamedTuple):
    """A bend before it is seen; is_open: whether it needs an estimate; information (3, 3)."""

    bend: Bend
    is_open: bool
    information: Array

    @classmethod
    def of(cls, bend: Bend) -> _Known:
        """Of what is known of it."""
        is_open = bool(np.trace(bend.covariance) > _STRAIGHT**2)
        information = np.linalg.inv(bend.covariance) if is_open else np.zeros((3, 3))
        return cls(bend, is_open, np.asarray(information))


@dataclass(frozen=True)
class _Fit:
    """A pose and a bend that fit; inliers (n,) and their residuals (2, n), standard deviations.

    covariance (6, 6), if residuals were as large as assumed, and independent.
    """

    cam_from_world: Array
    bend: Bend
    covariance: Array
    inliers: NDArray[np.int64]
    residuals: Array

    def scaled_covariance(self, columns: Sightings) -> Array:
        """As residuals tell it."""
        return excess(self.residuals.T, columns.bearings[:, self.inliers].T) * self.covariance


def _fit(
    cam_from_world: Array,
    columns: Sightings,
    max_error: float,
    known: _Known,
    bend: Array,
    settled: float,
) -> _Fit | None:
    """Gauss-Newton on the reprojection error; None where it is singular.

    Weights are Cauchy's; the common factor of the keypoints' noise is estimated (`reproject`).
    With the pose, beginning at `bend`, goes the bend, as far as its covariance leaves it open. A
    step of less than `settled` standard deviations is the last.
    """
    for _ in range(_ITERATIONS):
        seen = fastest().reproject(cam_from_world, bend, columns, max_error, known.is_open)
        if len(seen.inliers) < 6:
            return None
        products = seen.system @ seen.system.T
        H, gradient = products[:-1, :-1], products[:-1, -1]
        if known.is_open:
            H[6:, 6:] += known.information
            gradient[6:] += known.information @ (known.bend.mean - bend)
        try:
            covariance = np.linalg.inv(H)
        except np.linalg.LinAlgError:
            return None
        step = covariance @ gradient
        cam_from_world = from_Rt(rotation_exp(step[3:6]), step[:3]) @ cam_from_world
        if known.is_open:
            bend = bend + step[6:]
        if gradient @ step < settled**2:
            break
    found = Bend(bend, covariance[6:, 6:]) if known.is_open else known.bend
    return _Fit(cam_from_world, found, covariance[:6, :6], seen.inliers, seen.residuals)
