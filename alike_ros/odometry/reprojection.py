"""Known points against where a camera sees them: residuals, weighed, and their derivatives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alike_ros.geometry import Array, turned
from alike_ros.odometry.noise import CAUCHY, MEDIAN, median

#: Points whose uncertainty looks smaller than this, over their keypoint's noise, are certain.
CERTAIN = 1e-12
#: The noise of keypoints is not taken to be less.
LEAST_NOISE = 1e-6


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

    def in_columns(self) -> Sightings:
        """Points (3, N), spread (3, N) and bearings (2, N), each coordinate in one piece."""
        return Sightings(*(np.ascontiguousarray(x.T, np.float64) for x in self))


class Reprojection(NamedTuple):
    """What is near where the camera sees it: inliers (n,) of the points, and how far off it is.

    system (C + 1, 2 n): for each residual of u, then of v, its derivative by the C numbers that
    are looked for, and the residual itself, of unit variance but for Cauchy's weights: products
    of its rows are normal equations. residuals (2, n): in standard deviations of the keypoint.
    """

    inliers: NDArray[np.int64]
    system: Array
    residuals: Array


def reproject(
    cam_from_world: Array, bend: Array, sightings: Sightings, max_error: float, with_bend: bool
) -> Reprojection:
    """Of points in columns that are in front and within max_error, at z = 1.

    bend (3,): how the camera turned while the image was read (Bend). Derivatives are by
    (translation, rotation) of the pose, from the left, and, with_bend, by the bend.
    A residual's covariance is (sigma noise)^2 I + along along^T: that of the keypoint, of a
    relative noise and with sigma estimated, and that of the point, one standard deviation of which
    the camera sees as `along`.
    """
    seen = see(cam_from_world, bend, sightings)
    inliers = np.nonzero(seen.within(max_error))[0]
    # "clip" spares a check of each index: four times as fast
    xyz, residuals, along = (
        x.take(inliers, axis=1, mode="clip")
        for x in (seen.points_in_cam, seen.residuals, sightings.spread)
    )
    noise, rows = (x.take(inliers, mode="clip") for x in (sightings.noise, sightings.rows))
    along = _projected(cam_from_world[:3, :3] @ along, xyz) / noise
    residuals = residuals / noise
    system = np.zeros((10 if with_bend else 7, 2, len(inliers)))
    sigma = 1.0
    if len(inliers):
        _fill_jacobian(system, xyz)
        sigma = _weigh(system[:6], system[-1], residuals, along, noise)
    if with_bend:  # a bend turns what each row sees by its share
        np.multiply(system[3:6], -rows, out=system[6:9])
    return Reprojection(inliers, system.reshape(len(system), -1), residuals / sigma)


class Seen(NamedTuple):
    """Points in the camera's frame (3, N); measured minus projected, at z = 1 (2, N)."""

    points_in_cam: Array
    residuals: Array

    def within(self, max_error: float) -> NDArray[np.bool_]:
        """Whether a point (N,) is in front and where it was measured."""
        x, y = self.residuals
        near = x * x + y * y <= max_error**2
        return np.asarray((self.points_in_cam[2] > 0) & near)


def see(cam_from_world: Array, bend: Array, sightings: Sightings) -> Seen:
    """Points, in columns, where the camera has them when their rows are read."""
    points_in_cam = cam_from_world[:3, :3] @ sightings.points + cam_from_world[:3, 3, None]
    if bend.any():
        points_in_cam = turned(points_in_cam, -bend, sightings.rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        return Seen(points_in_cam, sightings.bearings - points_in_cam[:2] / points_in_cam[2])


def _weigh(J: Array, weighted: Array, residuals: Array, along: Array, noise: Array) -> float:
    """Fills `weighted` (2, n), and weighs J (6, 2, n); the keypoints' noise.

    residuals and along (2, n) come over noise (n,).
    """
    squared = _dot(along, along)
    sigma = _noise(residuals, along, np.sqrt(squared))
    # (sigma^2 I + a a^T)^(-1/2) = (I - shrink a a^T) / sigma
    shrink = (1 - sigma / np.sqrt(sigma**2 + squared)) / np.maximum(squared, CERTAIN**2)
    residuals = (residuals - shrink * _dot(along, residuals) * along) / sigma
    weight = 1 / np.sqrt(1 + _dot(residuals, residuals) / CAUCHY**2)
    J -= (along[0] * J[:, 0] + along[1] * J[:, 1])[:, None] * (shrink * along)
    J *= weight / (sigma * noise)
    np.multiply(weight, residuals, out=weighted)
    return sigma


def _dot(a: Array, b: Array) -> Array:
    """Products (n,) of vectors (2, n): in half the time of a sum over an axis."""
    return np.asarray(a[0] * b[0] + a[1] * b[1])


def _noise(residuals: Array, along: Array, length: Array) -> float:
    """Standard deviation of the keypoints, from residuals (2, n) across lines of uncertainty."""
    across = along[0] * residuals[1] - along[1] * residuals[0]
    # where the point is certain, any line will do
    error = np.where(length > CERTAIN, across / np.maximum(length, CERTAIN), residuals[0])
    return max(median(np.abs(error)) / MEDIAN, LEAST_NOISE)


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
