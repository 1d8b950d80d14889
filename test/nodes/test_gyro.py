"""Turns measured by a gyroscope."""

from __future__ import annotations

import numpy as np
import pytest

from alike_ros.geometry import rotation_angle, rotation_exp
from alike_ros.nodes.gyro import KEPT_NS, Gyro

MS = 1_000_000
RATE = np.array([0.3, -2.0, 1.0])  # rad/s


def turning(milliseconds: int, period: int = 5) -> Gyro:
    gyro = Gyro()
    for ms in range(0, milliseconds, period):
        gyro.add(ms * MS, RATE)
    return gyro


@pytest.mark.parametrize(("start", "end"), [(0, 100), (13, 46), (90, 113), (50, 50)])
def test_constant_turn(start: int, end: int) -> None:
    turn = turning(100).turn(start * MS, end * MS)
    assert turn is not None
    assert np.allclose(turn, rotation_exp(RATE * (end - start) * 1e-3))


def test_turn_about_changing_axes() -> None:
    """Coning: the axis itself goes round."""
    gyro, truth = Gyro(), np.eye(3)
    for step in range(2001):  # 10 kHz
        t = step * 1e-4
        velocity = np.array([np.cos(20 * t), np.sin(20 * t), 0.5]) * 2
        if step % 50 == 0:
            gyro.add(step * MS // 10, velocity)
        truth = truth @ rotation_exp(velocity * 1e-4) if step < 2000 else truth
    turn = gyro.turn(0, 200 * MS)
    assert turn is not None
    assert rotation_angle(turn.T @ truth) < 1e-3  # of 0.4 rad; 0.0002 measured


@pytest.mark.parametrize(("start", "end"), [(-10, 20), (50, 200)])
def test_unknown_where_nothing_was_measured(start: int, end: int) -> None:
    assert turning(100).turn(start * MS, end * MS) is None
    assert Gyro().turn(0, 1) is None


def test_gap_in_the_middle() -> None:
    gyro = turning(100)
    gyro.add(200 * MS, RATE)
    assert gyro.turn(80 * MS, 200 * MS) is None
    assert gyro.turn(20 * MS, 80 * MS) is not None


def test_old_ones_are_forgotten_and_late_ones_left_out() -> None:
    gyro = turning(100)
    gyro.add(50 * MS, 100 * RATE)
    turn = gyro.turn(0, 90 * MS)
    assert turn is not None
    assert np.allclose(turn, rotation_exp(RATE * 0.09))
    gyro.add(95 * MS + KEPT_NS, RATE)
    assert gyro.turn(0, 50 * MS) is None


def test_clock_that_was_set_back() -> None:
    gyro = turning(2000)
    for ms in range(0, 50, 5):
        gyro.add(ms * MS, 2 * RATE)
    turn = gyro.turn(0, 45 * MS)
    assert turn is not None
    assert np.allclose(turn, rotation_exp(2 * RATE * 0.045))
