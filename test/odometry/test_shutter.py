"""How long a camera's readout takes, told by images that turns have bent."""

from __future__ import annotations

import numpy as np
import pytest
from scene import CAMERA, Scene, depth_image

from alike_ros.config import Config
from alike_ros.geometry import from_Rt, inverse, rotation_exp
from alike_ros.odometry import Status, VisualOdometry, shutter

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
    assert found_s == pytest.approx(readout_s, rel=0.3)  # measured 0.0205 and -0.0124
    assert error < 0.2 * untold  # measured 0.007 : 0.243 and 0.004 : 0.079


def test_a_global_shutter_is_told(monkeypatch):
    error, found_s = follow(0.0)
    monkeypatch.setattr(shutter, "_READOUT_S", 1e-9)
    monkeypatch.setattr(shutter, "_LEAST_S", 1e-9)
    told, _ = follow(0.0)
    assert abs(found_s) < 0.001  # measured -0.0002
    assert error < 2 * told  # measured 0.0032 : 0.0032


def test_a_reset_forgets_the_readout_time():
    scene, odometry = Scene(), VisualOdometry(CAMERA, Config(mode="rgbd"))
    for i, (pose, rate) in enumerate(zip(*looking_around(20), strict=True)):
        features, depths = scene.see(pose, bend=0.025 * rate)
        odometry.track(round(i * GAP_S * 1e9), features, depth_image(features, depths))
    assert odometry.readout_s > 0.005
    odometry.reset()
    assert odometry.readout_s == 0
