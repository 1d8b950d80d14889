"""Figures of trajectories whose faults are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from alike_ros.cli import main
from alike_ros.geometry import from_Rt, rotation_exp
from alike_ros.recording_limits import (
    FIGURES,
    Check,
    accuracy_figures,
    checks,
    difference_m,
    gaps_percent,
)
from alike_ros.trajectory import Trajectory

STEP_NS = 33_333_333


def spiral(n: int = 40) -> Trajectory:
    poses = [
        from_Rt(
            rotation_exp(np.array([0, 0.03 * i, 0])),
            np.array([np.sin(i / 10) * i / 20, 0.3 * np.cos(i / 7), i / 15]),
        )
        for i in range(n)
    ]
    return Trajectory.from_poses([10**9 + i * STEP_NS for i in range(n)], poses)


def after(trajectory: Trajectory, index: int, motion: np.ndarray) -> Trajectory:
    """The trajectory, moved in the camera's frame from a pose on."""
    poses = trajectory.world_from_cam.copy()
    jump = poses[index] @ motion @ np.linalg.inv(poses[index])
    poses[index:] = jump @ poses[index:]
    return Trajectory(trajectory.stamps_ns, poses)


JUMP = from_Rt(rotation_exp(np.array([0, 0, np.radians(3)])), np.array([0.3, 0.4, 0]))


def test_a_jump_is_found_beyond_the_motion_of_the_truth() -> None:
    truth = spiral()
    figures = accuracy_figures(truth, truth, correct_scale=False)
    assert figures["jump"] == pytest.approx(0, abs=1e-9)
    assert figures["ate"] == pytest.approx(0, abs=1e-9)
    figures = accuracy_figures(after(truth, 20, JUMP), truth, correct_scale=False)
    assert figures["jump"] == pytest.approx(0.5)
    assert figures["jump_rotation"] == pytest.approx(3)
    assert figures["ate"] is not None and figures["ate"] > 0.1


def test_without_truth_a_jump_is_the_whole_step() -> None:
    still = Trajectory(spiral(5).stamps_ns, np.tile(np.eye(4), (5, 1, 1)))
    figures = accuracy_figures(after(still, 2, JUMP), None, correct_scale=False)
    assert figures == {"jump": pytest.approx(0.5), "jump_rotation": pytest.approx(3)}


def test_frames_that_were_lost_make_no_jump() -> None:
    truth = spiral()
    kept = np.r_[0:10, 25:40]
    part = Trajectory(truth.stamps_ns[kept], truth.world_from_cam[kept])
    assert accuracy_figures(part, truth, False)["jump"] == pytest.approx(0, abs=1e-9)
    assert gaps_percent(truth.stamps_ns.tolist(), part) == pytest.approx(100 * 15 / 40)
    late = Trajectory(truth.stamps_ns[10:], truth.world_from_cam[10:])  # mono starts so
    assert gaps_percent(truth.stamps_ns.tolist(), late) == 0
    assert gaps_percent(truth.stamps_ns.tolist(), Trajectory.from_poses([], [])) is None
    assert gaps_percent([0], late) is None  # images of another time


def test_monos_scale_is_corrected_in_steps_too() -> None:
    truth = spiral()
    poses = truth.world_from_cam.copy()
    poses[:, :3, 3] *= 0.5
    figures = accuracy_figures(Trajectory(truth.stamps_ns, poses), truth, correct_scale=True)
    assert figures["jump"] == pytest.approx(0, abs=1e-9)


def test_mono_has_no_metres_where_the_truth_hardly_moves() -> None:
    poses = [from_Rt(np.eye(3), np.array([0.001 * i, 0, 0])) for i in range(10)]
    truth = Trajectory.from_poses([10**9 + i * STEP_NS for i in range(10)], poses)
    figures = accuracy_figures(truth, truth, correct_scale=True)
    assert "ate" not in figures and "rpe" not in figures
    assert figures["rpe_rotation"] == pytest.approx(0, abs=1e-6)
    assert accuracy_figures(truth, truth, correct_scale=False)["ate"] == pytest.approx(0, abs=1e-9)


def test_difference_of_two_runs() -> None:
    one = spiral()
    assert difference_m(one, one) == 0
    assert difference_m(one, after(one, 39, JUMP)) == pytest.approx(0.5)
    other = Trajectory(one.stamps_ns[1:], one.world_from_cam[1:])
    assert difference_m(one, other) == math.inf
    empty = Trajectory.from_poses([], [])
    assert difference_m(empty, empty) == 0


def test_limits() -> None:
    ate, rate = (next(f for f in FIGURES if f.name == name) for name in ("ate", "rate"))
    assert (ate.option, rate.option) == ("--max-ate", "--min-rate")
    assert Check(ate, 0.05, 0.05).holds
    assert not Check(ate, 0.051, 0.05).holds
    assert not Check(rate, 29, 30).holds
    assert Check(rate, 31, 30).holds
    assert Check(ate, None, None).holds
    assert not Check(ate, None, 0.05).holds  # asked for, and not known
    assert not Check(ate, math.nan, 0.05).holds
    found = checks({"ate": 0.1}, {"ate": 0.2, "rate": 5})
    assert [check.figure for check in found] == list(FIGURES)
    assert [check.figure.name for check in found if not check.holds] == ["rate"]


def test_help_names_every_limit(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bag", "check", "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert all(f"{figure.option} " in out for figure in FIGURES)
