"""The pose of a camera that sees known points: PnP, refined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from alike_ros.geometry import Array, from_Rt, rotation_exp, turned
from alike_ros.odometry.noise import excess, median
from alike_ros.odometry.shutter import STRAIGHT, Bend

_ITERATIONS = 10
#: A pose that moves by less than this many of its standard deviations has converged: the next
#: step would be far smaller.
_SETTLED = 0.1
#: Residuals beyond this many standard deviations weigh less (Huber 1964).
_HUBER = 1.345
#: A bend that is known to this many radians, a hundredth of a pixel, needs no estimate.
_STRAIGHT = 1e-5
#: RANSAC takes so many of the first sightings: more add time, but hardly any certainty.
_SAMPLED = 400
#: Gates of the refinement after RANSAC, in multiples of the largest error, and in how many
#: standard deviations the pose settles in each: the next one goes on from there.
_GATES = ((4, 1.0), (2, 1.0), (1, _SETTLED))


class Sightings(NamedTuple):
    """Points (N, 3) that a camera sees along bearings (N, 2), rays at z = 1.

    spread (N, 3): one standard deviation of each point, along the ray that it was measured on;
    noise (N,) of the bearings, up to a common factor; rows (N,) of the keypoints (View).
    """

    points: Array
    spread: Array
    bearings: Array
    noise: Array
    rows: Array


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
    columns, known = _in_columns(sightings), _Known.of(bent)
    fits: list[_Fit] = []
    start = bent.mean
    for factor, settled in _GATES:
        fit = _fit(cam_from_world, columns, factor * max_error, known, start, settled)
        if fit is None:
            return None
        cam_from_world, start = fit.cam_from_world, fit.bend.mean
        fits.append(fit)
    # the widest gate tells the noise: narrow ones leave out what it does to the picture
    return _result(fits[-1], columns, max_error, fits[0].scaled_covariance(columns))


def refine(
    cam_from_world: Array, sightings: Sightings, max_error: float, bent: Bend = STRAIGHT
) -> PoseResult | None:
    """A pose made better, from those within max_error of where it sees them; None as in PnP."""
    columns = _in_columns(sightings)
    fit = _fit(cam_from_world, columns, max_error, _Known.of(bent), bent.mean)
    if fit is None:
        return None
    return _result(fit, columns, max_error, fit.scaled_covariance(columns))


def _in_columns(sightings: Sightings) -> Sightings:
    """Points (3, N), spread (3, N) and bearings (2, N), each coordinate in one piece."""
    points, spread, bearings = (np.ascontiguousarray(x.T) for x in sightings[:3])
    return Sightings(points, spread, bearings, sightings.noise, sightings.rows)


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


def _result(fit: _Fit, columns: Sightings, max_error: float, covariance: Array) -> PoseResult:
    seen = _seen(fit.cam_from_world, columns, fit.bend.mean)
    return PoseResult(fit.cam_from_world, seen.within(max_error), covariance, fit.bend)


def _fit(
    cam_from_world: Array,
    columns: Sightings,
    max_error: float,
    known: _Known,
    bend: Array,
    settled: float = _SETTLED,
) -> _Fit | None:
    """Gauss-Newton on the reprojection error; None where it is singular.

    A residual's covariance is that of the keypoint plus that of the point, which matters along
    one line of the image only. Weights are Huber's; the common factor of the keypoints' noise is
    estimated. With the pose, beginning at `bend`, goes the bend, as far as its covariance leaves
    it open. A step of less than `settled` standard deviations is the last.
    """
    for _ in range(_ITERATIONS):
        seen = _seen(cam_from_world, columns, bend)
        inliers = np.nonzero(seen.within(max_error))[0]
        if len(inliers) < 6:
            return None
        # "clip" spares a check of each index: four times as fast
        xyz, residuals, along = (
            x.take(inliers, axis=1, mode="clip")
            for x in (seen.points_in_cam, seen.residuals, columns.spread)
        )
        noise, rows = (x.take(inliers, mode="clip") for x in (columns.noise, columns.rows))
        along = _projected(cam_from_world[:3, :3] @ along, xyz)
        J = np.zeros((9 if known.is_open else 6, 2, len(inliers)))
        _fill_jacobian(J, xyz)
        weighted, sigma = _weigh(J[:6], residuals, along, noise)
        if known.is_open:  # a bend turns what each row sees by its share
            np.multiply(J[3:6], -rows, out=J[6:])
        flat = J.reshape(len(J), -1)
        H, gradient = flat @ flat.T, flat @ weighted.ravel()
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
    own = residuals / (sigma * noise)
    return _Fit(cam_from_world, found, covariance[:6, :6], inliers, own)


class _Seen(NamedTuple):
    """Points in the camera's frame (3, N); measured minus projected, at z = 1 (2, N)."""

    points_in_cam: Array
    residuals: Array

    def within(self, max_error: float) -> NDArray[np.bool_]:
        """Whether a point (N,) is in front and where it was measured."""
        x, y = self.residuals
        near = x * x + y * y <= max_error**2
        return np.asarray((self.points_in_cam[2] > 0) & near)


def _seen(cam_from_world: Array, columns: Sightings, bend: Array) -> _Seen:
    """Points where the camera has them when their rows are read."""
    points, bearings, rows = columns.points, columns.bearings, columns.rows
    points_in_cam = cam_from_world[:3, :3] @ points + cam_from_world[:3, 3, None]
    if bend.any():
        points_in_cam = turned(points_in_cam, -bend, rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _Seen(points_in_cam, bearings - points_in_cam[:2] / points_in_cam[2])


def _weigh(J: Array, residuals: Array, along: Array, noise: Array) -> tuple[Array, float]:
    """Residuals (2, n) of unit covariance, but for Huber's weights; J (6, 2, n) becomes such, too.

    The covariance of a residual is (sigma noise)^2 I + along along^T: the keypoint's, of relative
    noise (n,) and with sigma estimated, and that of the point, one standard deviation of which the
    camera sees as `along` (2, n). Sigma comes second.
    """
    residuals, along = residuals / noise, along / noise
    squared = _dot(along, along)
    sigma = _noise(residuals, along, np.sqrt(squared))
    # (sigma^2 I + a a^T)^(-1/2) = (I - shrink a a^T) / sigma
    shrink = (1 - sigma / np.sqrt(sigma**2 + squared)) / np.maximum(squared, 1e-24)
    residuals = (residuals - shrink * _dot(along, residuals) * along) / sigma
    distance = np.sqrt(_dot(residuals, residuals))
    weight = np.sqrt(np.minimum(1, _HUBER / np.maximum(distance, 1e-12)))
    J -= (along[0] * J[:, 0] + along[1] * J[:, 1])[:, None] * (shrink * along)
    J *= weight / (sigma * noise)
    return weight * residuals, sigma


def _dot(a: Array, b: Array) -> Array:
    """Products (n,) of vectors (2, n): in half the time of a sum over an axis."""
    return np.asarray(a[0] * b[0] + a[1] * b[1])


def _noise(residuals: Array, along: Array, length: Array) -> float:
    """Standard deviation of the keypoints, from residuals (2, n) across lines of uncertainty."""
    across = along[0] * residuals[1] - along[1] * residuals[0]
    # where the point is certain, any line will do
    error = np.where(length > 1e-12, across / np.maximum(length, 1e-12), residuals[0])
    return max(median(np.abs(error)) / 0.6745, 1e-6)  # 0.6745: the median of |N(0, 1)|


def _projected(motions: Array, points_in_cam: Array) -> Array:
    """How motions (3, n) of points (3, n) look at z = 1: (2, n)."""
    x, y, z = points_in_cam
    return np.asarray([motions[0] - x / z * motions[2], motions[1] - y / z * motions[2]] / z)


def _fill_jacobian(J: Array, points_in_cam: Array) -> None:
    """Writes that of the projection of points (3, n) at z = 1, by (translation, rotation) left.

    J (6 or more, 2, n) comes full of zeros.
    """
    x, y, z = points_in_cam
    u, v = x / z, y / z
    J[0, 0] = J[1, 1] = 1 / z
    J[2] = -u / z, -v / z
    J[3] = -u * v, -1 - v * v
    J[4] = 1 + u * u, u * v
    J[5] = -v, u
