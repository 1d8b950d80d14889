"""How far a trajectory is from the truth: ATE and RPE, computed by evo, and NEES."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alike_ros.geometry import Array, from_Rt, inverse
from alike_ros.trajectory import Trajectory

#: Poses and truths further apart in time than this are not compared, seconds.
MAX_STAMP_DIFFERENCE = 0.02
#: Below this motion the alignment of two paths is not determined, metres.
_STILL = 0.05

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Accuracy:
    """Errors after alignment.

    alignment: "sim3" (scale, rotation, translation), "se3", or "origin" (first poses coincide,
    where the camera hardly moved, so that the error is the drift). A path along a line leaves the
    turn about it open, but no error depends on that. RPE is between consecutive poses. scale is
    the factor that was applied to the estimate, 1 for one that never moved. positions (N, 3) and
    truth_positions (N, 3) are what was compared, aligned.
    """

    ate_rmse_m: float
    rpe_trans_rmse_m: float
    rpe_rot_rmse_deg: float
    alignment: str
    scale: float
    positions: Array
    truth_positions: Array


def accuracy(estimate: Trajectory, truth: Trajectory, correct_scale: bool) -> Accuracy | None:
    """Errors of an estimate; None where fewer than three of its poses have a truth."""
    from evo.core import metrics, sync  # takes two seconds
    from evo.core.trajectory import PoseTrajectory3D

    def evo_trajectory(trajectory: Trajectory) -> PoseTrajectory3D:
        poses = [_orthogonal(pose) for pose in trajectory.world_from_cam]
        return PoseTrajectory3D(poses_se3=poses, timestamps=trajectory.stamps_ns / 1e9)

    if len(estimate) < 3 or len(truth) < 3:
        return None
    try:
        reference, estimated = sync.associate_trajectories(
            evo_trajectory(truth), evo_trajectory(estimate), max_diff=MAX_STAMP_DIFFERENCE
        )
    except sync.SyncException as error:
        log.warning("the truth does not cover the trajectory: %s", error)
        return None
    if estimated.num_poses < 3:
        return None
    alignment, scale = "sim3" if correct_scale else "se3", 1.0
    if np.ptp(reference.positions_xyz, axis=0).max() < _STILL:
        alignment = "origin"
        estimated.align_origin(reference)
    else:
        scale = _align(estimated, reference, correct_scale)
    return Accuracy(
        _rmse(metrics.APE(metrics.PoseRelation.translation_part), reference, estimated),
        _rmse(metrics.RPE(metrics.PoseRelation.translation_part), reference, estimated),
        _rmse(metrics.RPE(metrics.PoseRelation.rotation_angle_deg), reference, estimated),
        alignment,
        float(scale),
        estimated.positions_xyz,
        reference.positions_xyz,
    )


def nees(estimate: Trajectory, covariances: Array, truth: Trajectory) -> float | None:
    """How well the covariance of the position tells its error: 1 is truthful, above is too sure.

    The mean of error^T inv(covariance) error / 3, after the first poses have been made to coincide
    (normalised estimation error squared over its expectation). covariances (N, 3, 3), m^2, are in
    the frames of the cameras. Poses without a truth, or with a covariance that is unknown or
    singular, as the first one's is, do not count; None where none counts.
    """
    index, known = _nearest(truth.stamps_ns, estimate.stamps_ns)
    if not known.any():
        return None
    poses, true_poses = estimate.world_from_cam[known], truth.world_from_cam[index[known]]
    true_poses = poses[0] @ inverse(true_poses[0]) @ true_poses
    errors = (inverse(poses) @ true_poses)[:, :3, 3]  # in the estimated camera's frame
    covariances = covariances[known]
    finite = np.asarray(np.isfinite(covariances).all(axis=(1, 2)))
    variances = np.linalg.eigvalsh(np.where(finite[:, None, None], covariances, 0.0))
    usable = np.asarray(variances.min(axis=1) > 0)
    if not usable.any():
        return None
    errors = errors[usable]
    weighted = np.linalg.solve(covariances[usable], errors[..., None])[..., 0]
    return float((errors * weighted).sum(axis=1).mean() / 3)


def _nearest(
    stamps_ns: NDArray[np.int64], wanted_ns: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Indices (N,) of the stamps nearest to the wanted ones, and whether they are near enough."""
    if not len(stamps_ns):
        return np.zeros(len(wanted_ns), np.int64), np.zeros(len(wanted_ns), np.bool_)
    after = np.searchsorted(stamps_ns, wanted_ns).clip(1, max(len(stamps_ns) - 1, 1))
    before = after - 1
    after = after.clip(max=len(stamps_ns) - 1)
    is_after = abs(stamps_ns[after] - wanted_ns) < abs(stamps_ns[before] - wanted_ns)
    index = np.where(is_after, after, before)
    return index, abs(stamps_ns[index] - wanted_ns) <= MAX_STAMP_DIFFERENCE * 1e9


def _align(estimated: Any, reference: Any, correct_scale: bool) -> float:
    """Moves evo's trajectory to where its squared errors are least; returns the scale."""
    from evo.core.geometry import GeometryException
    from evo.core.lie_algebra import se3

    try:
        return float(estimated.align(reference, correct_scale=correct_scale)[2])
    except GeometryException:
        pass  # one of the paths is a line or a point: evo wants one answer, of many as good
    points, target = estimated.positions_xyz, reference.positions_xyz
    centred = points - points.mean(axis=0)
    U, d, Vt = np.linalg.svd((target - target.mean(axis=0)).T @ centred)
    R = U @ np.diag([1, 1, np.linalg.det(U) * np.linalg.det(Vt)]) @ Vt
    scale = float(d[0] / (centred**2).sum()) if correct_scale and d[0] > 0 else 1.0
    estimated.scale(scale)
    estimated.transform(se3(R, target.mean(axis=0) - scale * R @ points.mean(axis=0)))
    return scale


def _rmse(metric: Any, reference: Any, estimated: Any) -> float:
    metric.process_data((reference, estimated))
    return float(metric.get_all_statistics()["rmse"])


def _orthogonal(pose: Array) -> Array:
    """The pose with its rotation made exact: KITTI's have six digits, evo wants more."""
    U, _, Vt = np.linalg.svd(pose[:3, :3])
    return from_Rt(np.asarray(U @ Vt), pose[:3, 3])
