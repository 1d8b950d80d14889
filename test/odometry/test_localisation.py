"""Where a view is looked for: near its prediction first, then farther from it."""

import numpy as np
from scene import CAMERA, Scene, depth_image

from alike_ros.config import Config
from alike_ros.features import Features
from alike_ros.geometry import from_Rt, inverse, rotation_angle, rotation_exp
from alike_ros.matching import match_mutual
from alike_ros.odometry import VisualOdometry
from alike_ros.odometry.localisation import locate
from alike_ros.odometry.sensor import Sensor


def found(off_px):
    """Where a camera at the origin is found without keyframes, if its prediction is so far off."""
    scene, config = Scene(), Config(mode="rgbd")
    odometry, sensor = VisualOdometry(CAMERA, config), Sensor(CAMERA, config)
    features, depths = scene.see(np.eye(4))
    depth = depth_image(features, depths)
    odometry.track(0, features, depth)
    view = sensor.view(1, scene.see(np.eye(4))[0], depth, None)
    predicted = from_Rt(rotation_exp(np.array([0, off_px / CAMERA.fx, 0])), np.zeros(3))
    return locate(view, odometry._map, predicted, [], 400, sensor, match_mutual)


def test_a_prediction_that_is_off_by_more_than_the_radius_is_mended():
    """As after a jolt: no keyframe is needed for it."""
    radius = Config().tracking.search_radius_px
    assert found(8 * radius) is None  # what is nowhere near needs keyframes
    for off in (0.5 * radius, 2.5 * radius):
        located = found(off)
        off_m = np.linalg.norm(inverse(located.pose.cam_from_world)[:3, 3])
        assert off_m < 0.002  # seven to what is seen; measured 0.0002
        assert rotation_angle(located.pose.cam_from_world[:3, :3]) < 0.001  # measured 0.0001
        assert len(located) > 300  # measured 379


def test_a_prediction_whose_matches_mostly_contradict_each_other_is_not_believed():
    """It is 30 pixels off, where things look like those that are in view."""
    scene, config = Scene(), Config(mode="rgbd")
    odometry, sensor = VisualOdometry(CAMERA, config), Sensor(CAMERA, config)
    features, depths = scene.see(np.eye(4))
    predicted = from_Rt(rotation_exp(np.array([0, 30 / CAMERA.fx, 0])), np.zeros(3))
    alike, alike_depths = scene.see(inverse(predicted), outliers=0)
    moved = np.random.default_rng(0).uniform(-12, 12, alike.keypoints.shape).astype(np.float32)
    moved[::3] = 0  # a third of them agree on a wrong pose
    both = Features(
        np.concatenate([features.keypoints, (alike.keypoints + moved)[:240]]),
        np.concatenate([features.scores, alike.scores[:240]]),
        np.concatenate([features.descriptors, alike.descriptors[:240]]),
    )
    odometry.track(0, both, depth_image(both, np.append(depths, alike_depths[:240])))
    view = sensor.view(1, features, depth_image(features, depths), None)
    located = locate(view, odometry._map, predicted, [], 60, sensor, match_mutual)
    assert rotation_angle(located.pose.cam_from_world[:3, :3]) < 0.001  # measured 4e-18
