"""Velocities of the base and how sure they are."""

from dataclasses import replace

import numpy as np
import pytest

from alike_ros.backends import load_extractor
from alike_ros.config import Config
from alike_ros.data import open_sequence
from alike_ros.geometry import from_Rt, rotation_exp
from alike_ros.nodes.twist import Timed, twist_between
from alike_ros.replay import replay
from alike_ros.results import Run

START = from_Rt(rotation_exp(np.array([0, 0, 2.0])), [5.0, 6, 0])


def test_twist_is_in_the_child_frame() -> None:
    """Forwards at 1 m/s while turning left at 0.6 rad/s, in 0.1 s."""
    angle, radius = 0.06, 1 / 0.6
    arc = from_Rt(
        rotation_exp(np.array([0, 0, angle])),
        [radius * np.sin(angle), radius * (1 - np.cos(angle)), 0],
    )
    last = Timed(0, START, np.eye(6))
    twist, covariance = twist_between(last, Timed(100_000_000, START @ arc, np.eye(6)))
    assert twist is not None and covariance is not None
    assert np.allclose(twist, [1, 0, 0, 0, 0, 0.6], atol=2e-4)
    assert np.allclose(np.diag(covariance), 200, rtol=0.02)  # two poses, in 0.1 s


def test_what_is_unknown_is_none() -> None:
    now = Timed(100_000_000, START, None)
    assert twist_between(None, now) == (None, None)
    twist, covariance = twist_between(Timed(0, START, np.eye(6)), now)
    assert twist is not None and covariance is None


@pytest.mark.parametrize(("scene", "mode"), [("room", "rgbd"), ("corridor", "stereo")])
def test_covariance_tells_the_error(scene: str, mode: str) -> None:
    """What poses are off by in common does not count in a velocity."""
    sequence = open_sequence(f"render:{scene}?frames=60", mode)
    assert sequence.truth is not None
    config, run = Config(mode=mode, provider="cpu"), Run()
    replay(iter(sequence), sequence, load_extractor(config), config, run)
    poses = [
        Timed(e.stamp_ns, e.world_from_cam, e.own_covariance)
        for e in run.estimates
        if e.world_from_cam is not None
    ]
    true = [
        replace(pose, odom_from_base=truth)
        for pose, truth in zip(poses, sequence.truth.world_from_cam, strict=True)
    ]
    nees = []
    for i in range(2, len(poses)):
        twist, covariance = twist_between(poses[i - 1], poses[i])
        expected, _ = twist_between(true[i - 1], true[i])
        assert twist is not None and covariance is not None and expected is not None
        error = twist - expected
        nees.append(error @ np.linalg.solve(covariance, error) / 6)
    assert 0.1 < np.mean(nees) < 2  # measured 0.40, 0.16
