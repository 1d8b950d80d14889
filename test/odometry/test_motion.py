"""Where the camera is expected, and how sure that is."""

import numpy as np
import pytest

from alike_ros.geometry import from_Rt, rotation_exp, rotation_log
from alike_ros.odometry.motion import Moment, Motion, no_gyroscope

MS = 1_000_000


def remembered(stamps_ms, shifts_m):
    """A motion along x that was tracked at these times."""
    motion = Motion(bridge_s=0.3)
    for ms, x in zip(stamps_ms, shifts_m, strict=True):
        pose = from_Rt(np.eye(3), [x, 0, 0])
        motion.remember(Moment(round(ms * MS), pose, np.zeros((6, 6))))
    return motion


@pytest.mark.parametrize("apart_ms", [1e-6, 1.0, 4.0])
def test_stamps_that_are_almost_equal_tell_no_velocity(apart_ms):
    """One metre a second; poses are off by 4 mm, which in 1 ns is no velocity."""
    motion = remembered([0, 33, 66, 66 + apart_ms], [0, 0.033, 0.066, 0.070])
    ahead = motion.predicted(166 * MS)[0, 3] - 0.070
    assert ahead == pytest.approx(0.1, abs=0.015)  # measured 0.105 to 0.112
    first = remembered([0, apart_ms], [0, 0.004])
    assert first.predicted(100 * MS)[0, 3] == 0.004


def test_a_fast_camera_has_a_velocity_of_late():
    """At 1000 Hz, from 1 m/s to 3 m/s: the velocity is that of the last hundredth of a second."""
    ms = np.arange(200)
    metres = np.where(ms < 100, ms, 100 + 3 * (ms - 100)) * 1e-3
    motion = remembered(ms, metres)
    assert motion.predicted(300 * MS)[0, 3] - metres[-1] == pytest.approx(0.3, abs=0.01)


def test_a_velocity_that_nothing_has_told_is_uncertain():
    """A camera in the hand turns by 0.5 rad/s, and things at 2 m pass by at 1 m/s."""
    motion, gap_s = remembered([0], [0]), 0.1
    turned = from_Rt(rotation_exp(np.array([0, 0.5 * gap_s, 0])), [gap_s, 0, 0])
    error = np.concatenate([turned[:3, 3], rotation_log(turned[:3, :3])])
    covariance = motion.covariance(100 * MS, distance=2.0)
    nees = error @ np.linalg.solve(covariance, error) / 6
    assert 0.1 < nees < 1  # measured 0.28; 8 by an acceleration alone
    known = remembered([-33, 0], [0, 0])
    assert np.trace(known.covariance(100 * MS, 2.0)) < 0.1 * np.trace(covariance)


RATE = np.array([0.1, 1.0, -0.2])  # rad/s


def turned(start_ns, end_ns):
    """Rotation of a camera that turns at RATE; a gyroscope that is exact."""
    return rotation_exp(RATE * (end_ns - start_ns) * 1e-9)


@pytest.mark.parametrize("gyroscope", [turned, no_gyroscope])
@pytest.mark.parametrize("gap_ms", [33, 200, 900])
def test_turn_rate_is_that_of_the_camera_however_long_the_gap(gyroscope, gap_ms):
    motion = Motion(0.3, gyroscope)
    for stamp_ns in (0, 33 * MS):
        pose = from_Rt(turned(0, stamp_ns), np.zeros(3))
        motion.remember(Moment(stamp_ns, pose, np.zeros((6, 6))))
    np.testing.assert_allclose(motion.turn_rate((33 + gap_ms) * MS), RATE, rtol=1e-6)
