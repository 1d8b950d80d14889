"""The pose of a camera that sees known points: PnP, refined."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from alike_ros.geometry import Array, from_Rt, rotation_exp, turned
from alike_ros.odometry.noise import excess
from alike_ros.odometry.shutter import STRAIGHT, Bend

_ITERATIONS = 10
#: A pose that moves by less than this many of its standard deviations has converged.
_SETTLED = 0.03
#: Residuals beyond this many standard deviations weigh less (Huber 1964).
_HUBER = 1.345
#: A bend that is known to this many radians, a hundredth of a pixel, needs no estimate.
_STRAIGHT = 1e-5
#: Gates of the refinement after RANSAC, in multiples of the largest error, and in how many
#: standard deviations the pose settles in each: the next one goes on from there.
_GATES = ((4, 0.3), (2, 0.3), (1, _SETTLED))


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

    max_error: largest reprojection error of an inlier, at z = 1 (pixels over focal length);
    bent: what is known of a rolling shutter (View).
    Refinement begins with a wider gate: a rolling shutter or blur bends the image, and RANSAC may
    pick the points of one part of it, which fit together and give a bad pose. It does what the
    local optimisation of a modern RANSAC is for: OpenCV's USAC, with MAGSAC's scores and inner
    optimisation, took 4.4 : 0.6 ms on 127 images of a camera in the hand. None where no pose is
    found.
    """
    if len(sightings.points) < 6:
        return None
    found, rotvec, t, _ = cv2.solvePnPRansac(
        sightings.points[:, None],
        sightings.bearings[:, None],
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
    results: list[PoseResult] = []
    start = bent.mean
    for factor, settled in _GATES:
        gate = factor * max_error
        result = refine(cam_from_world, sightings, gate, bent, start, settled)
        if result is None:
            return None
        cam_from_world, start = result.cam_from_world, result.bend.mean
        results.append(result)
    # the widest gate tells the noise: narrow ones leave out what it does to the picture
    return replace(results[-1], covariance=results[0].covariance)


def refine(
    cam_from_world: Array,
    sightings: Sightings,
    max_error: float,
    bent: Bend = STRAIGHT,
    bend: Array = STRAIGHT.mean,
    settled: float = _SETTLED,
) -> PoseResult | None:
    """Gauss-Newton on the reprojection error; None where it is singular.

    A residual's covariance is that of the keypoint plus that of the point, which matters along
    one line of the image only. Weights are Huber's; the common factor of the keypoints' noise is
    estimated. With the pose, beginning at `bend`, goes the bend, as far as its covariance leaves
    it open. A step of less than `settled` standard deviations is the last.
    """
    # in columns: NumPy is faster on coordinates that lie in one piece each
    points, spread, bearings = (np.ascontiguousarray(x.T) for x in sightings[:3])
    noise, rows = sightings.noise, sightings.rows
    is_bent = np.trace(bent.covariance) > _STRAIGHT**2
    prior = np.linalg.inv(bent.covariance) if is_bent else np.zeros((3, 3))
    for _ in range(_ITERATIONS):
        seen = _seen(cam_from_world, points, bearings, rows, bend)
        inliers = np.nonzero(seen.within(max_error))[0]
        if len(inliers) < 6:
            return None
        xyz, residuals, along = (
            x.take(
                inliers, axis=1, mode="clip"
            )  # without a check of each index: four times as fast
            for x in (seen.points_in_cam, seen.residuals, spread)
        )
        along = _projected(cam_from_world[:3, :3] @ along, xyz)
        own_noise = noise.take(inliers, mode="clip")
        J, weighted, sigma = _weighted(_jacobian(xyz), residuals, along, own_noise)
        if is_bent:  # a bend turns what each row sees by its share
            J = np.concatenate([J, -rows.take(inliers, mode="clip") * J[3:]])
        J, weighted = J.reshape(len(J), -1), weighted.ravel()
        H, gradient = J @ J.T, J @ weighted
        if is_bent:
            H[6:, 6:] += prior
            gradient[6:] += prior @ (bent.mean - bend)
        try:
            covariance = np.linalg.inv(H)
        except np.linalg.LinAlgError:
            return None
        step = covariance @ gradient
        cam_from_world = from_Rt(rotation_exp(step[3:6]), step[:3]) @ cam_from_world
        if is_bent:
            bend = bend + step[6:]
        if gradient @ step < settled**2:
            break
    scale = excess((residuals / (sigma * own_noise)).T, bearings[:, inliers].T)
    within = _seen(cam_from_world, points, bearings, rows, bend).within(max_error)
    found = Bend(bend, covariance[6:, 6:]) if is_bent else bent
    return PoseResult(cam_from_world, within, scale * covariance[:6, :6], found)


class _Seen(NamedTuple):
    """Points in the camera's frame (3, N); measured minus projected, at z = 1 (2, N)."""

    points_in_cam: Array
    residuals: Array

    def within(self, max_error: float) -> NDArray[np.bool_]:
        """Whether a point (N,) is in front and where it was measured."""
        x, y = self.residuals
        near = x * x + y * y <= max_error**2
        return np.asarray((self.points_in_cam[2] > 0) & near)


def _seen(
    cam_from_world: Array,
    points: Array,
    bearings: Array,
    rows: Array,
    bend: Array,
) -> _Seen:
    """Points (3, N), where the camera has them when their rows (N,) are read."""
    points_in_cam = cam_from_world[:3, :3] @ points + cam_from_world[:3, 3, None]
    if bend.any():
        points_in_cam = turned(points_in_cam, -bend, rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _Seen(points_in_cam, bearings - points_in_cam[:2] / points_in_cam[2])


def _weighted(
    J: Array, residuals: Array, along: Array, noise: Array
) -> tuple[Array, Array, float]:
    """Jacobian (6, 2, n) and residuals (2, n) of unit covariance, but for Huber's weights.

    The covariance of a residual is (sigma noise)^2 I + along along^T: the keypoint's, of relative
    noise (n,) and with sigma estimated, and that of the point, one standard deviation of which the
    camera sees as `along` (2, n). Sigma comes third.
    """
    residuals, along = residuals / noise, along / noise
    squared = (along * along).sum(0)
    sigma = _noise(residuals, along, np.sqrt(squared))
    # (sigma^2 I + a a^T)^(-1/2) = (I - shrink a a^T) / sigma
    shrink = (1 - sigma / np.sqrt(sigma**2 + squared)) / np.maximum(squared, 1e-24)
    residuals = (residuals - shrink * (along * residuals).sum(0) * along) / sigma
    distance = np.sqrt((residuals * residuals).sum(0))
    weight = np.sqrt(np.minimum(1, _HUBER / np.maximum(distance, 1e-12)))
    J = J - (along[0] * J[:, 0] + along[1] * J[:, 1])[:, None] * (shrink * along)
    J *= weight / (sigma * noise)
    return J, weight * residuals, sigma


def _noise(residuals: Array, along: Array, length: Array) -> float:
    """Standard deviation of the keypoints, from residuals (2, n) across lines of uncertainty."""
    across = along[0] * residuals[1] - along[1] * residuals[0]
    # where the point is certain, any line will do
    error = np.where(length > 1e-12, across / np.maximum(length, 1e-12), residuals[0])
    magnitude, middle = np.abs(error), len(error) // 2
    magnitude.partition(middle)  # np.median takes twice as long
    return max(float(magnitude[middle]) / 0.6745, 1e-6)  # 0.6745: the median of |N(0, 1)|


def _projected(motions: Array, points_in_cam: Array) -> Array:
    """How motions (3, n) of points (3, n) look at z = 1: (2, n)."""
    x, y, z = points_in_cam
    return np.asarray([motions[0] - x / z * motions[2], motions[1] - y / z * motions[2]] / z)


def _jacobian(points_in_cam: Array) -> Array:
    """Of the projection of points (3, n) at z = 1, by (translation, rotation) left: (6, 2, n)."""
    x, y, z = points_in_cam
    u, v = x / z, y / z
    J = np.zeros((6, 2, len(z)))
    J[0, 0] = J[1, 1] = 1 / z
    J[2] = -u / z, -v / z
    J[3] = -u * v, -1 - v * v
    J[4] = 1 + u * u, u * v
    J[5] = -v, u
    return J
