"""Metres of a map from one camera, by wheels."""

from __future__ import annotations

import numpy as np
import pytest

from alike_ros.geometry import from_Rt, rotation_exp
from alike_ros.nodes.scale import MIN_STEPS, STEP_M, Scale


def walk(scale: Scale, steps: int, unit: float, start: int = 0) -> list[bool]:
    """Along a line of 6 cm a frame, seen in units of so many metres, with noise of the wheels."""
    rng = np.random.default_rng(0)
    return [
        scale.add(
            np.array([0.06 * i / unit, 0.0, 1.0]),
            np.array([0.06 * i, 0.0, 0.0]) + rng.normal(0, 0.002, 3),
        )
        for i in range(start, start + steps)
    ]


def test_unit_is_known_after_some_steps() -> None:
    scale = Scale()
    changes = walk(scale, 2 * MIN_STEPS + 1, unit=0.25)
    assert 0.06 < STEP_M < 0.12  # two frames are a step
    assert changes == [False] * 2 * MIN_STEPS + [True]
    assert scale.known
    assert scale.metres_per_unit == pytest.approx(0.25, rel=0.03)  # 0.007 measured


def test_wheels_that_slip_or_jump_are_outvoted() -> None:
    scale = Scale()
    walk(scale, 30, unit=0.25)
    scale.add(np.array([0.06 * 30 / 0.25, 0.0, 1.0]), np.array([500.0, 0.0, 0.0]))
    scale.add(np.array([0.06 * 30 / 0.25, 0.0, 1.0]), np.array([501.0, 0.0, 0.0]))
    assert scale.metres_per_unit == pytest.approx(0.25, rel=0.03)


def test_unit_of_a_new_map_is_unknown_again() -> None:
    scale = Scale()
    walk(scale, 30, unit=0.25)
    scale.new_map()
    assert not scale.known
    assert scale.metres_per_unit == pytest.approx(0.25, rel=0.03)  # the best guess there is
    walk(scale, 30, unit=2.0)
    assert scale.metres_per_unit == pytest.approx(2.0, rel=0.03)


def test_pose_and_covariance_in_metres() -> None:
    scale = Scale()
    walk(scale, 30, unit=0.5)
    s = scale.metres_per_unit
    pose = from_Rt(rotation_exp(np.array([0.1, 0.2, 0.3])), np.array([1.0, 2.0, 3.0]))
    assert np.allclose(scale.pose(pose)[:3, 3], s * pose[:3, 3])
    assert np.array_equal(scale.pose(pose)[:3, :3], pose[:3, :3])
    covariance = scale.covariance(np.ones((6, 6)))
    assert np.allclose(covariance[[0, 0, 3], [0, 3, 3]], [s * s, s, 1])
