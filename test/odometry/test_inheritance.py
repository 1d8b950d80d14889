"""What poses inherit from keyframes: errors that no residual tells."""

from dataclasses import replace

import numpy as np
import pytest
from scene import CAMERA, Scene, depth_image, walk

from alike_ros.config import Config, override
from alike_ros.geometry import from_Rt, inverse, rotation_exp, rotation_log
from alike_ros.odometry import VisualOdometry
from alike_ros.odometry.inheritance import stretch
from alike_ros.odometry.local_map import Keyframe
from alike_ros.odometry.sensor import Sensor


def error(world_from_cam, truth):
    """(translation, rotation) (6,) in the camera's frame."""
    difference = inverse(world_from_cam) @ truth
    return np.concatenate([difference[:3, 3], rotation_log(difference[:3, :3])])


def keyframe_at(pose):
    features, _ = Scene().see(np.eye(4))
    view = Sensor(CAMERA, Config()).view(0, features, None, None)
    return Keyframe(view, pose, np.zeros((6, 6)))


@pytest.mark.parametrize("column", range(5))
def test_stretch_is_the_derivative_by_the_scale_of_steps_and_by_their_direction(column):
    """A chain of keyframes, each placed by the one before, against the same with other steps."""
    steps = [([0.3, 0.1, 0.5], [0.1, -0.3, 0.05]), ([-0.2, 0.4, 0.1], [0.2, 0.1, -0.1])]
    much = np.where(np.arange(5) == column, 1e-6, 0.0)
    keyframe, longer = keyframe_at(np.eye(4)), np.eye(4)
    for t, rotvec in steps:
        t, rotvec = np.array(t), np.array(rotvec)
        pose = keyframe.world_from_cam @ from_Rt(rotation_exp(rotvec), t)
        keyframe = replace(keyframe, world_from_cam=pose, stretch=stretch(keyframe, pose))
        half = rotation_exp(rotvec / 2)  # the camera turns on its way
        aside = half @ rotation_exp(much[2:]) @ half.T
        t = aside @ rotation_exp(much[1] / 2 * rotvec) @ t
        longer = longer @ from_Rt(rotation_exp((1 + much[1]) * rotvec), (1 + much[0]) * t)
    derivative = error(keyframe.world_from_cam, longer) / 1e-6
    np.testing.assert_allclose(keyframe.stretch[:, column], derivative, atol=1e-4)


def test_stretch_is_undone_on_the_way_back():
    there = from_Rt(rotation_exp(np.array([0.1, -0.3, 0.05])), np.array([0.3, 0.1, 0.5]))
    first = keyframe_at(np.eye(4))
    second = replace(first, world_from_cam=there, stretch=stretch(first, there))
    assert np.linalg.norm(second.stretch) > 0.5
    np.testing.assert_allclose(stretch(second, np.eye(4)), 0, atol=1e-12)


def test_covariance_allows_for_a_focal_length_that_is_off():
    K = CAMERA.K * [[1.005, 1, 1], [1, 1.005, 1], [1, 1, 1]]
    poses = walk(60)
    means = []
    for share in (0.0, 0.005):
        scene = Scene()
        config = override(Config(mode="rgbd"), {"tracking.calibration_error": share})
        odometry, nees = VisualOdometry(replace(CAMERA, K=K), config), []
        for i, pose in enumerate(poses):
            features, depths = scene.see(pose)
            estimate = odometry.track(i * 33_000_000, features, depth_image(features, depths))
            if i:
                e = error(estimate.world_from_cam, pose)
                nees.append(e @ np.linalg.solve(estimate.covariance, e) / 6)
        means.append(np.mean(nees))
    assert means[0] > 10  # measured 34
    assert 0.5 < means[1] < 2  # measured 1.3
