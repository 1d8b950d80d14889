"""How long a camera's readout takes, told by images that turns have bent."""

from __future__ import annotations

import numpy as np
import pytest
from scene import CAMERA, Scene, depth_image

from alike_ros.config import Config
from alike_ros.geometry import from_Rt, inverse, rotation_exp
from alike_ros.odometry import Status, VisualOdometry, shutter
from alike_ros.odometry.shutter import Bend, Exposure, Shutter

GAP_S = 0.033


def looking_around(n):
    """Poses (4, 4) and angular velocities (3,) of a camera that walks and looks around."""
    time = np.arange(n) * GAP_S
    yaw, rate = 0.4 * np.sin(3 * time), 1.2 * np.cos(3 * time)
    poses = [
        from_Rt(rotation_exp(np.array([0, angle, 0])), [0.1 * t, 0, 0.05 * t])
        for t, angle in zip(time, yaw, strict=True)
    ]
    return poses, [np.array([0, r, 0]) for r in rate]


def follow(readout_s, n=120):
    """The largest error of the positions, metres, and the readout time that was found."""
    scene, odometry = Scene(), VisualOdometry(CAMERA, Config(mode="rgbd"))
    errors = []
    for i, (pose, rate) in enumerate(zip(*looking_around(n), strict=True)):
        features, depths = scene.see(pose, bend=readout_s * rate)
        estimate = odometry.track(round(i * GAP_S * 1e9), features, depth_image(features, depths))
        assert estimate.status == Status.TRACKING
        errors.append(np.linalg.norm((inverse(pose) @ estimate.world_from_cam)[:3, 3]))
    return max(errors), odometry.readout_s


@pytest.mark.parametrize("readout_s", [0.025, -0.015])
def test_a_rolling_shutter_is_straightened(
    readout_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative: the camera reads upwards, as when it hangs upside down."""
    error, found_s = follow(readout_s)
    monkeypatch.setattr(shutter, "_READOUT_S", 1e-9)  # nothing to be found
    monkeypatch.setattr(shutter, "_LEAST_S", 1e-9)
    untold, _ = follow(readout_s)
    assert found_s == pytest.approx(readout_s, rel=0.2)  # measured 0.0249 and -0.0172
    assert error < 0.2 * untold  # measured 0.007 : 0.243 and 0.010 : 0.079


def test_a_global_shutter_is_told(monkeypatch):
    error, found_s = follow(0.0)
    monkeypatch.setattr(shutter, "_READOUT_S", 1e-9)
    monkeypatch.setattr(shutter, "_LEAST_S", 1e-9)
    told, _ = follow(0.0)
    assert abs(found_s) < 0.001  # measured 0.00003
    assert error < 2 * told  # measured 0.0038 : 0.0032


def test_a_camera_that_begins_in_a_turn_is_not_overestimated():
    """Its rate changes by more than two views tell, while nothing is known of the readout."""
    readout_s, told = 0.03, Shutter()

    def rate(seconds):
        return np.array([0.6, 0.2 - 4 * seconds, -1.6 + 3 * seconds])

    def mean_rate(i):  # over the gap that ends with view i
        return rate((i - 0.5) * GAP_S)

    base = Exposure(mean_rate(1), np.zeros(3), 0.0)  # as the first two views tell it
    found_s = []
    for i in range(1, 12):
        before = mean_rate(i - 1) if i > 1 else np.zeros(3)
        expected = told.expected(before, GAP_S, base if i > 1 else None)
        bend = readout_s * (rate(i * GAP_S) - rate(0))  # landmarks are bent, too
        exact = Bend(bend - expected.bend.mean, 1e-8 * np.eye(3))
        told.learn(expected, exact, mean_rate(i), base)
        found_s.append(told.readout_s)
    assert max(found_s) < 1.2 * readout_s  # measured 0.0321; by predicted rates 0.0444
    assert found_s[-1] == pytest.approx(readout_s, rel=0.2)


def test_a_reset_forgets_the_readout_time():
    scene, odometry = Scene(), VisualOdometry(CAMERA, Config(mode="rgbd"))
    for i, (pose, rate) in enumerate(zip(*looking_around(20), strict=True)):
        features, depths = scene.see(pose, bend=0.025 * rate)
        odometry.track(round(i * GAP_S * 1e9), features, depth_image(features, depths))
    assert odometry.readout_s > 0.005
    odometry.reset()
    assert odometry.readout_s == 0
