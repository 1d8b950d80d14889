"""Errors of trajectories whose error is known."""

import numpy as np
import pytest

from alike_ros.evaluation import accuracy, nees
from alike_ros.geometry import from_Rt, rotation_exp
from alike_ros.trajectory import Trajectory


def spiral(n=60):
    poses = [
        from_Rt(
            rotation_exp(np.array([0, 0.03 * i, 0])),
            [np.sin(i / 10) * i / 20, 0.3 * np.cos(i / 7), i / 15],
        )
        for i in range(n)
    ]
    return Trajectory.from_poses([10**9 + i * 33_000_000 for i in range(n)], poses)


def moved(trajectory, motion, scale=1.0):
    poses = motion @ trajectory.world_from_cam
    poses[:, :3, 3] *= scale
    return Trajectory(trajectory.stamps_ns, poses)


MOTION = from_Rt(rotation_exp(np.array([0.3, -1.0, 2.0])), np.array([5.0, -3, 1]))


def test_another_world_frame_is_no_error():
    errors = accuracy(moved(spiral(), MOTION), spiral(), correct_scale=False)
    assert errors.alignment == "se3"
    assert errors.ate_rmse_m == pytest.approx(0, abs=1e-9)
    assert errors.rpe_trans_rmse_m == pytest.approx(0, abs=1e-9)
    assert errors.rpe_rot_rmse_deg == pytest.approx(0, abs=1e-4)


def test_scale_is_an_error_unless_corrected():
    estimate = moved(spiral(), MOTION, scale=0.5)
    corrected = accuracy(estimate, spiral(), correct_scale=True)
    assert corrected.alignment == "sim3"
    assert corrected.scale == pytest.approx(2)
    assert corrected.ate_rmse_m == pytest.approx(0, abs=1e-9)
    assert accuracy(estimate, spiral(), correct_scale=False).ate_rmse_m > 0.3


def test_noise_is_measured():
    truth, rng = spiral(2000), np.random.default_rng(0)
    noisy = truth.world_from_cam.copy()
    noisy[:, :3, 3] += rng.normal(0, 0.01, (2000, 3))
    errors = accuracy(Trajectory(truth.stamps_ns, noisy), truth, correct_scale=False)
    assert errors.ate_rmse_m == pytest.approx(0.01 * np.sqrt(3), rel=0.05)
    assert errors.rpe_trans_rmse_m == pytest.approx(0.01 * np.sqrt(6), rel=0.05)


def test_rotation_errors_are_in_degrees():
    truth = spiral()
    poses = truth.world_from_cam.copy()
    poses[::2, :3, :3] = poses[::2, :3, :3] @ rotation_exp(np.array([0, 0, np.radians(2)]))
    errors = accuracy(Trajectory(truth.stamps_ns, poses), truth, correct_scale=False)
    assert errors.rpe_rot_rmse_deg == pytest.approx(2, rel=1e-3)


def line(n=50):
    poses = [from_Rt(np.eye(3), [0.1 * i, 0, 0]) for i in range(n)]
    return Trajectory.from_poses([10**9 + i * 33_000_000 for i in range(n)], poses)


def test_a_straight_path_is_aligned_as_a_bent_one():
    """As simulated robots and rails have it; a bow of a micrometre is no line to evo."""
    bow = line().world_from_cam.copy()
    bow[:, 1, 3] += 1e-6 * np.sin(np.arange(50) / 5)
    noisy = line().world_from_cam.copy()
    noisy[:, :3, 3] += np.random.default_rng(0).normal(0, 0.01, (50, 3))
    estimate = moved(Trajectory(line().stamps_ns, noisy), MOTION, scale=0.5)
    for correct_scale in (False, True):
        straight, bent = (
            accuracy(estimate, Trajectory(line().stamps_ns, poses), correct_scale)
            for poses in (line().world_from_cam, bow)
        )
        assert straight.alignment == bent.alignment
        assert straight.scale == pytest.approx(bent.scale)
        assert straight.ate_rmse_m == pytest.approx(bent.ate_rmse_m, abs=1e-5)
        assert straight.rpe_trans_rmse_m == pytest.approx(bent.rpe_trans_rmse_m, abs=1e-5)
    assert straight.scale == pytest.approx(2, rel=0.01)
    assert straight.ate_rmse_m == pytest.approx(0.01 * np.sqrt(3), rel=0.1)  # 0.0168


@pytest.mark.parametrize("truth", [spiral(50), line()])
@pytest.mark.parametrize("correct_scale", [False, True])
def test_an_estimate_that_never_moves_has_the_spread_of_the_truth_as_error(truth, correct_scale):
    still = Trajectory(truth.stamps_ns, np.repeat(MOTION[None], 50, axis=0))
    errors = accuracy(still, truth, correct_scale)
    spread = np.linalg.norm(truth.positions - truth.positions.mean(axis=0), axis=1)
    assert errors.ate_rmse_m == pytest.approx(np.sqrt(np.mean(spread**2)))
    assert errors.scale == 1


def test_a_still_camera_is_compared_from_its_first_pose():
    stamps = [10**9 * i for i in range(1, 11)]
    truth = Trajectory.from_poses(stamps, [MOTION] * 10)
    drifting = [from_Rt(np.eye(3), [0.001 * i, 0, 0]) for i in range(10)]
    errors = accuracy(Trajectory.from_poses(stamps, drifting), truth, correct_scale=False)
    assert errors.alignment == "origin"
    assert errors.ate_rmse_m == pytest.approx(np.sqrt(np.mean((0.001 * np.arange(10)) ** 2)))


def test_stamps_are_associated():
    truth = spiral()
    late = Trajectory(truth.stamps_ns[5:] + 5_000_000, truth.world_from_cam[5:])
    assert accuracy(late, truth, correct_scale=False).ate_rmse_m == pytest.approx(0, abs=1e-9)


def test_nothing_to_compare():
    truth = spiral()
    elsewhen = Trajectory(truth.stamps_ns + 10**12, truth.world_from_cam)
    few = Trajectory(truth.stamps_ns[:2], truth.world_from_cam[:2])
    for estimate in (elsewhen, few, Trajectory.from_poses([], [])):
        assert accuracy(estimate, truth, correct_scale=False) is None


def test_rotations_of_few_digits_are_accepted():
    """KITTI's truth: evo refuses rotations that are orthogonal to six digits only."""
    truth = spiral()
    rounded = Trajectory(truth.stamps_ns, np.round(truth.world_from_cam, 5))
    assert accuracy(truth, rounded, correct_scale=False).ate_rmse_m < 1e-4


def test_nees_is_one_where_the_covariance_is_truthful():
    random, n = np.random.default_rng(0), 4000
    truth = spiral(n)
    covariance = np.diag([0.01, 0.02, 0.03]) ** 2  # along the axes of the camera
    poses = truth.world_from_cam.copy()
    errors = random.multivariate_normal(np.zeros(3), covariance, n)
    errors[0] = 0
    poses[:, :3, 3] -= (poses[:, :3, :3] @ errors[..., None])[..., 0]
    estimate = moved(Trajectory(truth.stamps_ns + 1_000_000, poses), MOTION)
    covariances = np.repeat(covariance[None], n, axis=0)
    # standard deviation: sqrt(2 / 3 / n) = 0.013
    assert nees(estimate, covariances, truth) == pytest.approx(1, abs=0.05)
    assert nees(estimate, covariances / 4, truth) == pytest.approx(4, abs=0.2)


def test_nees_is_unknown_without_covariance_or_truth():
    estimate = spiral(5)
    singular, unknown = np.zeros((5, 3, 3)), np.full((5, 3, 3), np.nan)
    assert nees(estimate, singular, spiral()) is None
    assert nees(estimate, unknown, spiral()) is None
    later = Trajectory(spiral().stamps_ns + 10**12, spiral().world_from_cam)
    assert nees(estimate, np.repeat(np.eye(3)[None], 5, axis=0), later) is None
    half = np.where(np.arange(5)[:, None, None] < 3, np.eye(3), np.nan)
    assert nees(estimate, half, spiral()) == pytest.approx(0, abs=1e-12)
