"""Keyframes and landmarks of a window, adjusted together by GTSAM."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alike_ros.geometry import Array, adjoint, inverse
from alike_ros.odometry.noise import HUBER, Noise, excess
from alike_ros.odometry.prior import Prior, derivatives
from alike_ros.odometry.window import Window

try:
    import gtsam
except ModuleNotFoundError:  # no wheel for this platform
    gtsam = None  # type: ignore[assignment,unused-ignore]

log = logging.getLogger(__name__)

#: Poses that are held are held to this many metres and radians.
_HELD = 1e-6
#: A landmark is expected in its place to this share of the usual distance, so that the system can
#: be solved where one has no parallax. GTSAM takes information below 0.1 for none.
_VAGUE = 2.0
#: Free poses with fewer observations are held, too: three are the least that tell a pose, and
#: nothing would tell an outlier among them. One pose left open leaves the whole system unsolved.
_FEWEST = 6
_ITERATIONS = 8
#: An iteration that lessens the error by less than this share is the last one. In a rendered room,
#: poses are 0.02 mm from those of 0.0001, in half of the time.
_GAIN = 3e-3
#: From Estimate's order (translation, rotation) to GTSAM's, and back.
_SWAP = np.array([3, 4, 5, 0, 1, 2])


@dataclass(frozen=True)
class Adjusted:
    """The result: free poses (n, 4, 4), their covariances (n, 6, 6), and the landmarks.

    positions (M, 3); spread (M, 3): one standard deviation of each, along the line of least
    certainty; noise: what the measurements turned out to have.
    """

    poses: Array
    covariances: Array
    positions: Array
    spread: Array
    noise: Noise


@cache
def is_available() -> bool:
    """Whether GTSAM is installed; says so once where it is not."""
    if gtsam is None:
        log.warning(
            "gtsam is not installed: no bundle adjustment, poses are less accurate "
            "(pip install gtsam, on x86-64 or aarch64)"
        )
    return gtsam is not None


def adjust(window: Window) -> Adjusted | None:
    """Levenberg and Marquardt on all poses and landmarks of the window, with Huber weights.

    How noisy keypoints are, and beyond which residuals they weigh less, residuals say.
    What keyframes saw that have left the map comes in as the prior of their landmarks.
    Free poses that hardly see any of the landmarks stay as they are. None where the system cannot
    be solved.
    """
    try:
        return _solved(window)
    except (RuntimeError, IndexError, np.linalg.LinAlgError) as error:
        # GTSAM raises the first two, NumPy the third
        log.debug("no bundle adjustment: %s", error)
        return None


def _solved(window: Window) -> Adjusted:
    bearings, _ = _residuals(window, window.poses[: window.free], window.positions)
    noise = window.noise.with_keypoints(bearings)
    unit = float(np.median(np.linalg.norm(window.positions - window.poses[0, :3, 3], axis=1)))
    graph, values = _graph(window.scaled(1 / unit), noise.scaled(1 / unit))
    parameters = gtsam.LevenbergMarquardtParams()
    parameters.setMaxIterations(_ITERATIONS)
    parameters.setRelativeErrorTol(_GAIN)
    optimum = gtsam.LevenbergMarquardtOptimizer(graph, values, parameters).optimize()
    n, held = window.free, _is_held(window)[: window.free]
    poses = np.stack([optimum.atPose3(_pose_key(i)).matrix() for i in range(n)])
    poses[:, :3, 3] *= unit
    poses[held] = window.poses[:n][held]
    positions = gtsam.utilities.extractPoint3(optimum) * unit
    marginals = gtsam.Marginals(graph, optimum)
    to_metres = np.diag([unit] * 3 + [1.0] * 3)
    conditional = [
        to_metres @ marginals.marginalCovariance(_pose_key(i))[np.ix_(_SWAP, _SWAP)] @ to_metres
        for i in range(n)
    ]
    factor = _excess(window, poses, positions, noise)
    covariances = _covariances(window, poses, factor * np.stack(conditional))
    covariances[held] = window.covariance[:n][held]
    return Adjusted(
        poses,
        covariances,
        positions,
        _spread(window, poses, positions, noise),
        noise,
    )


def _is_held(window: Window) -> NDArray[np.bool_]:
    """Mask (n,) of the poses that do not move."""
    count = np.bincount(window.camera, minlength=len(window.poses))
    return np.asarray((count < _FEWEST) | (np.arange(len(count)) >= window.free))


def _graph(window: Window, noise: Noise) -> tuple[Any, Any]:
    """Factors and the start of the optimisation."""
    graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
    held = gtsam.noiseModel.Isotropic.Sigma(6, _HELD)
    for i, (pose, is_held) in enumerate(zip(window.poses, _is_held(window), strict=True)):
        values.insert(_pose_key(i), gtsam.Pose3(pose))
        if is_held:
            graph.addPriorPose3(_pose_key(i), gtsam.Pose3(pose), held)
    if window.tethered is not None:
        i, j = window.tethered, window.free
        distance = float(np.linalg.norm(window.poses[i, :3, 3] - window.poses[j, :3, 3]))
        kept = gtsam.noiseModel.Isotropic.Sigma(1, _HELD)
        graph.add(gtsam.RangeFactorPose3(_pose_key(i), _pose_key(j), distance, kept))
    vague = np.broadcast_to(np.eye(3) / _VAGUE**2, window.prior.information.shape)
    prior = window.prior + Prior(vague, window.positions / _VAGUE**2)
    expected = np.linalg.solve(prior.information, prior.vector[:, :, None])[:, :, 0]
    for i, position in enumerate(window.positions):
        values.insert(_point_key(i), position)
        model = gtsam.noiseModel.Gaussian.Information(prior.information[i])
        graph.addPriorPoint3(_point_key(i), expected[i], model)
    K, K_stereo = gtsam.Cal3_S2(), gtsam.Cal3_S2Stereo(1, 1, 0, 0, 0, 1)
    mono, stereo = _noise_models(noise)
    for i, j, (x, y), depth in zip(
        window.camera.tolist(),
        window.landmark.tolist(),
        window.bearings.tolist(),
        window.depths.tolist(),
        strict=True,
    ):
        pose, point = _pose_key(i), _point_key(j)
        factor: Any
        if depth == depth:  # not NaN
            # a depth is the disparity of two cameras 1 m apart
            measured = gtsam.StereoPoint2(x, x - 1 / depth, y)
            factor = gtsam.GenericStereoFactor3D(
                measured, stereo, pose, point, K_stereo, False, False
            )
        else:
            factor = gtsam.GenericProjectionFactorCal3_S2(
                np.array([x, y]), mono, pose, point, K, False, False
            )
        graph.push_back(factor)
    return graph, values


def _noise_models(noise: Noise) -> tuple[Any, Any]:
    """Of a bearing and of a bearing with a depth: (x, x - 1 / depth, y)."""
    huber = gtsam.noiseModel.mEstimator.Huber.Create(HUBER)
    s, d = noise.keypoint**2, noise.inverse_depth**2
    covariance = np.array([[s, s, 0], [s, s + d, 0], [0, 0, s]])
    return (
        gtsam.noiseModel.Robust.Create(huber, gtsam.noiseModel.Isotropic.Sigma(2, noise.keypoint)),
        gtsam.noiseModel.Robust.Create(huber, gtsam.noiseModel.Gaussian.Covariance(covariance)),
    )


def _covariances(window: Window, poses: Array, conditional: Array) -> Array:
    """Of the poses, (n, 6, 6): given the held ones, plus what these bring along.

    A window is off by the weighted mean of what the held ones are off by, each with the weight of
    the landmarks that it holds. How their errors hang together is not known: the mean of square
    roots is the most that they can add up to.
    """
    # plus one: all that the held ones saw may have been left out
    count = np.bincount(window.camera, minlength=len(window.poses))[len(poses) :] + 1
    weight = count / count.sum()
    base, of_base = window.poses[len(poses) :], window.covariance[len(poses) :]
    covariances = np.array(conditional)
    for own, pose in zip(covariances, poses, strict=True):
        to_own = np.stack([adjoint(inverse(pose) @ other) for other in base])
        root = np.einsum("m,mij->ij", weight, _root(to_own @ of_base @ to_own.swapaxes(1, 2)))
        own += root @ root
    return np.asarray(covariances)


def _root(covariances: Array) -> Array:
    """Symmetric square roots of (m, 6, 6)."""
    values, vectors = np.linalg.eigh(covariances)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))[:, None]) @ vectors.swapaxes(1, 2))


def _excess(window: Window, poses: Array, positions: Array, noise: Noise) -> float:
    """By how much the residuals say that the covariance of the poses is too small."""
    bearings, inverse_depths = _residuals(window, poses, positions)
    scaled = np.column_stack([bearings / noise.keypoint, inverse_depths / noise.inverse_depth])
    return excess(scaled, window.bearings, window.camera)


def _residuals(window: Window, poses: Array, positions: Array) -> tuple[Array, Array]:
    """Of the observations: measured minus expected bearings (K, 2) and 1 / depth (K,)."""
    x, y, z = _observed(window, poses, positions)[1].T
    return window.bearings - np.stack([x / z, y / z], axis=1), 1 / window.depths - 1 / z


def _observed(window: Window, poses: Array, positions: Array) -> tuple[Array, Array]:
    """Rotations cam_from_world (K, 3, 3) of the observations, and their points (K, 3) in there."""
    cam_from_world = inverse(np.concatenate([poses, window.poses[len(poses) :]]))[window.camera]
    R, t = cam_from_world[:, :3, :3], cam_from_world[:, :3, 3]
    return R, np.einsum("kij,kj->ki", R, positions[window.landmark]) + t


def _spread(window: Window, poses: Array, positions: Array, noise: Noise) -> Array:
    """One standard deviation of each landmark (M, 3), along the line of least certainty.

    The poses are taken as known: what they are off by is common to all that is in view.
    """
    R, in_cam = _observed(window, poses, positions)
    J = derivatives(R, in_cam, window.depths, noise)
    information = window.prior.information.copy()
    np.add.at(information, window.landmark, J.swapaxes(1, 2) @ J)
    values, vectors = np.linalg.eigh(information)
    return np.asarray(vectors[:, :, 0] / np.sqrt(np.maximum(values[:, :1], 1e-9)))


def _pose_key(i: int) -> int:
    return i


def _point_key(i: int) -> int:
    return 1_000_000 + i  # behind all poses
