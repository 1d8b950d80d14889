"""The pose of one camera relative to another, from matches between their images alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from alike_ros.geometry import Array, from_Rt, rotation_exp, transform, triangulate
from alike_ros.odometry.noise import HUBER, excess

#: RANSAC looks for essential matrices within this share of the largest error: most matches are far
#: nearer to their lines, and a wide gate lets bad poses through.
_SAMPLED = 1 / 3
#: Gates of the refinement, in multiples of the largest error. The first lets in what a bad start
#: leaves out.
_GATES = (4, 1)
_ITERATIONS = 10
#: Cosine of the angle between two directions of translation from which they are different answers.
_SAME = np.cos(np.radians(15))
#: Another answer has to fit worse than the best by this factor, three standard deviations of a
#: cost that is the noise of 300 matches.
WORSE = 1.25

#: The distance of two cameras is the unit of length, exactly: a share that leaves their covariance
#: invertible.
_UNIT = 1e-3


@dataclass(frozen=True)
class RelativePose:
    """cam1_from_cam0 (4, 4), |translation| = 1, and the matches (N,) that agree with it.

    cost: squared distances to the epipolar lines, each at most 1, in units of the largest error;
    1 where a match does not agree. rivals: poses of another direction that fit nearly as well, as
    they may where all is in one plane.
    """

    cam1_from_cam0: Array
    inliers: NDArray[np.bool_]
    cost: float
    rivals: tuple[RelativePose, ...] = ()

    @property
    def is_unique(self) -> bool:
        """Whether no other direction fits nearly as well."""
        return not self.rivals

    @property
    def num_inliers(self) -> int:
        """How many matches agree."""
        return int(self.inliers.sum())


def relative_pose(
    bearings0: Array, bearings1: Array, max_error: float, guesses: Sequence[Array] = ()
) -> RelativePose | None:
    """Pose of camera 0 in the frame of camera 1, from matched bearings (N, 2).

    Essential matrix (Nister 2004) with MAGSAC, which planes leave undetermined, and homography,
    which fits only them: of the poses that either allows, each refined, the one of least cost.
    max_error: largest reprojection error of an inlier, at z = 1; guesses: cam1_from_cam0 (4, 4) to
    begin with as well, |translation| = 1: with little parallax, where a turn and a shift look
    alike, sampling now and then finds no pose near the best. None where no pose is found.
    """
    if len(bearings0) < 8:
        return None
    starts = [
        *_essential_poses(bearings0, bearings1, _SAMPLED * max_error),
        *_homography_poses(bearings0, bearings1, max_error),
        *guesses,
    ]
    found = [_fitted(start, bearings0, bearings1, max_error) for start in starts]
    if not found:
        return None
    best = min(found, key=lambda pose: pose.cost)
    fitting = [pose for pose in found if pose.cost <= WORSE * best.cost]
    return replace(best, rivals=tuple(pose for pose in fitting if differ(pose, best)))


def differ(pose: RelativePose, other: RelativePose) -> bool:
    """Whether the camera went into another direction."""
    return bool(pose.cam1_from_cam0[:3, 3] @ other.cam1_from_cam0[:3, 3] < _SAME)


def _fitted(
    cam1_from_cam0: Array, bearings0: Array, bearings1: Array, max_error: float
) -> RelativePose:
    """A pose refined on what agrees with it."""
    pose = cam1_from_cam0
    for factor in _GATES:
        inliers = _agreeing(pose, bearings0, bearings1, factor * max_error)
        if inliers.sum() < 8:
            break
        pose = refine_relative(pose, bearings0[inliers], bearings1[inliers])
    inliers = _agreeing(pose, bearings0, bearings1, max_error)
    distances = _sampson(pose, bearings0, bearings1)[0][inliers] / max_error
    outliers = len(inliers) - len(distances)
    return RelativePose(pose, inliers, outliers + float(np.minimum(distances**2, 1).sum()))


def _agreeing(
    cam1_from_cam0: Array, bearings0: Array, bearings1: Array, max_error: float
) -> NDArray[np.bool_]:
    points = triangulate(bearings0, bearings1, cam1_from_cam0)
    return consistent(points, bearings0, bearings1, cam1_from_cam0, max_error)


def _essential_poses(bearings0: Array, bearings1: Array, max_error: float) -> list[Array]:
    """cam1_from_cam0 of the essential matrices that fit, with most points in front of both."""
    E, mask = cv2.findEssentialMat(
        bearings0, bearings1, np.eye(3), cv2.USAC_MAGSAC, 0.9999, max_error
    )
    if E is None or E.shape[0] % 3:
        return []
    poses = []
    for matrix in np.split(E, len(E) // 3):  # where the data are exact, several may serve
        _, R, t, _ = cv2.recoverPose(matrix, bearings0, bearings1, np.eye(3), mask=mask.copy())
        poses.append(from_Rt(R, t))
    return poses


def _homography_poses(bearings0: Array, bearings1: Array, max_error: float) -> list[Array]:
    """cam1_from_cam0 of a plane, up to four."""
    H, _ = cv2.findHomography(bearings0, bearings1, cv2.RANSAC, max_error)
    if H is None:
        return []
    _, rotations, translations, _ = cv2.decomposeHomographyMat(H, np.eye(3))
    poses = []
    for R, t in zip(rotations, translations, strict=True):
        length = np.linalg.norm(t)
        if length > 1e-9:  # else a mere rotation
            poses.append(from_Rt(R, t / length))
    return poses


def refine_relative(cam1_from_cam0: Array, bearings0: Array, bearings1: Array) -> Array:
    """Levenberg and Marquardt on the Sampson distance to the epipolar lines, with Huber weights.

    Five degrees of freedom: the rotation, and the direction of the translation. Undamped steps
    leave the valley where the baseline is short: a turn and a shift then look much alike.
    """
    pose, damping = cam1_from_cam0, 1e-3
    residuals, J = _sampson(pose, bearings0, bearings1)
    for _ in range(_ITERATIONS):
        sigma, weight = _weights(residuals)
        H, gradient = (J.T * weight) @ J, (J.T * weight) @ residuals
        step = -np.linalg.solve(H + damping * np.diag(np.diag(H)) + 1e-12 * np.eye(5), gradient)
        moved = _moved(pose, step)
        new_residuals, new_J = _sampson(moved, bearings0, bearings1)
        if _huber(new_residuals / sigma) <= _huber(residuals / sigma):
            pose, residuals, J, damping = moved, new_residuals, new_J, damping / 10
        else:
            damping *= 10
        if np.abs(step).max() < 1e-9:
            break
    return pose


def relative_covariance(cam1_from_cam0: Array, bearings0: Array, bearings1: Array) -> Array:
    """Of a refined pose and the matches (N, 2) that agree with it: (6, 6), as in Estimate.

    (translation, rotation) of camera 1 in its own frame: cam0_from_cam1_true = cam0_from_cam1 @
    exp(error).
    """
    residuals, J = _sampson(cam1_from_cam0, bearings0, bearings1)
    sigma, weight = _weights(residuals)
    H = (J.T * weight) @ J + 1e-12 * np.eye(5)
    scale = sigma**2 * excess(residuals[:, None] / sigma, bearings0)
    # by a step of `_moved`, the camera turns by the opposite, and moves around the other one
    t = cam1_from_cam0[:3, 3]
    around = np.cross(np.eye(3), t).T  # @ w = w x t
    lift = np.block([[around, -_tangent(t).T], [-np.eye(3), np.zeros((3, 2))]])
    along = np.zeros((6, 6))
    along[:3, :3] = _UNIT**2 * np.outer(t, t)
    return np.asarray(scale * lift @ np.linalg.inv(H) @ lift.T + along)


def _weights(residuals: Array) -> tuple[float, Array]:
    """Standard deviation of the residuals (N,), and Huber's weights (N,) of them."""
    sigma = max(float(np.median(np.abs(residuals))) / 0.6745, 1e-9)  # of |N(0, 1)|
    return sigma, np.minimum(1, HUBER * sigma / np.maximum(np.abs(residuals), 1e-12))


def _moved(pose: Array, step: Array) -> Array:
    """A step (5,): a rotation on the left, and along two directions across the translation."""
    t = pose[:3, 3] + step[3:] @ _tangent(pose[:3, 3])
    return from_Rt(rotation_exp(step[:3]) @ pose[:3, :3], t / np.linalg.norm(t))


def _tangent(direction: Array) -> Array:
    """Two unit vectors (2, 3) across a direction (3,) and each other."""
    return np.asarray(np.linalg.svd(direction[None])[2][1:])


def _sampson(cam1_from_cam0: Array, bearings0: Array, bearings1: Array) -> tuple[Array, Array]:
    """Distances (N,) to the epipolar lines, and their Jacobian (N, 5) by a step of `_moved`."""
    R, t = cam1_from_cam0[:3, :3], cam1_from_cam0[:3, 3]
    rays0, rays1 = (np.column_stack([b, np.ones(len(b))]) for b in (bearings0, bearings1))
    turned = rays0 @ R.T
    lines1, lines0 = np.cross(t, turned), np.cross(rays1, t) @ R  # E x0 and E^T x1
    length = np.sqrt((lines1[:, :2] ** 2).sum(1) + (lines0[:, :2] ** 2).sum(1))
    length = np.maximum(length, 1e-12)  # at the epipoles there is no line
    by_rotation = np.cross(turned, np.cross(rays1, t))
    by_direction = np.cross(turned, rays1) @ _tangent(t).T
    J = np.column_stack([by_rotation, by_direction]) / length[:, None]
    return (rays1 * lines1).sum(1) / length, J


def _huber(residuals: Array) -> float:
    """What the weights minimise: squares, and beyond HUBER a straight line."""
    size = np.abs(residuals)
    return float(np.where(size < HUBER, size**2 / 2, HUBER * (size - HUBER / 2)).sum())


def consistent(
    points_in_cam0: Array,
    bearings0: Array,
    bearings1: Array,
    cam1_from_cam0: Array,
    max_error: float,
) -> NDArray[np.bool_]:
    """Mask (N,) of the points that both cameras see in front of them where the bearings say."""
    points_in_cam1 = transform(cam1_from_cam0, points_in_cam0)
    seen0 = _is_seen(points_in_cam0, bearings0, max_error)
    return seen0 & _is_seen(points_in_cam1, bearings1, max_error)


def _is_seen(points_in_cam: Array, bearings: Array, max_error: float) -> NDArray[np.bool_]:
    z = points_in_cam[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = (bearings - points_in_cam[:, :2] / z[:, None]).T
    return np.asarray((z > 0) & (x * x + y * y <= max_error**2))
