"""When a view becomes a keyframe."""

from types import SimpleNamespace

import numpy as np
import pytest
from scene import CAMERA, Scene, depth_image

from alike_ros.config import Config
from alike_ros.geometry import from_Rt, rotation_exp
from alike_ros.odometry import Status, VisualOdometry
from alike_ros.odometry.keyframing import is_due
from alike_ros.odometry.localisation import Located
from alike_ros.odometry.sensor import Sensor


def due(inliers, matches, shared, keyframes):
    """Whether a view of so many points 5 m away is; the first keyframe is the reference."""
    rows = np.arange(inliers)
    pose = SimpleNamespace(cam_from_world=np.eye(4))
    located = Located(pose, matches, rows, rows)
    local_map = SimpleNamespace(
        positions=np.tile([0.0, 0, 5], (inliers, 1)), in_view=lambda *_: rows, keyframes=keyframes
    )
    view = SimpleNamespace(bearings=np.zeros((inliers, 2)))
    return is_due(
        view, located, keyframes[0], np.array(shared), local_map, Sensor(CAMERA, Config())
    )


@pytest.mark.parametrize(
    ("inliers", "matches", "expected"),
    [
        (100, 150, True),  # little is left of what the keyframe saw
        (100, 400, False),  # but most matches do not agree: blurred, a better view will come
        (25, 400, True),  # or none will: hardly enough to be tracked is left
    ],
)
def test_a_view_that_hardly_agrees_waits_for_a_better_one(inliers, matches, expected):
    keyframe = SimpleNamespace(most_inliers=400, world_from_cam=np.eye(4))
    assert due(inliers, matches, [inliers // 2], [keyframe]) is expected


@pytest.mark.parametrize(("shared", "expected"), [(90, False), (50, True)])
def test_a_view_near_any_keyframe_that_is_alike_makes_none(shared, expected):
    """An old one may stay the most alike: else every view that comes after would become one."""
    old, new = (
        SimpleNamespace(most_inliers=100, world_from_cam=from_Rt(np.eye(3), [x, 0.0, 0.0]))
        for x in (0.5, 0.1)  # metres; 5.7 and 1.1 degrees seen from the points
    )
    assert due(100, 110, [100, shared], [old, new]) is expected


def test_a_camera_that_turns_in_its_place_makes_keyframes():
    """Nothing is seen from elsewhere: what the last keyframe shared at most tells what is left."""
    scene, odometry, estimates = Scene(), VisualOdometry(CAMERA, Config(mode="rgbd")), []
    for i in range(16):
        pose = from_Rt(rotation_exp(np.radians([0.0, 2.0 * i, 0.0])), np.zeros(3))
        features, depths = scene.see(pose)
        estimates.append(odometry.track(i * 33_000_000, features, depth_image(features, depths)))
    assert {e.status for e in estimates} == {Status.TRACKING}
    assert any(e.is_keyframe for e in estimates[1:])  # measured: once, after 18 degrees
