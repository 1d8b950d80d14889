"""The base frame and a guess frame through a node; tf2_ros is not in the wheels: it is played."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here (rclpy)")

from ros_helpers import rendered
from tf_player import BASE_FROM_CAM, Tf

from alike_ros.geometry import from_Rt, inverse
from alike_ros.nodes import frames
from alike_ros.nodes.conversions import pose_from_message
from alike_ros.odometry.estimate import Estimate, Status

pytestmark = pytest.mark.ros


@pytest.fixture
def tf(monkeypatch: pytest.MonkeyPatch) -> Tf:
    tf = Tf()
    monkeypatch.setattr(frames, "tf2_ros", tf.module)
    return tf


def test_nothing_is_published_before_the_extrinsic_is_known(tf: Tf, make_robot: Any) -> None:
    robot = make_robot(frame_id="base_link")
    robot.calibrate()
    shown = list(rendered("rgbd", 9))
    robot.show(shown[0])
    assert robot.spin(lambda: robot.statuses())
    assert "no transform 'base_link' <- 'camera'" in robot.statuses()[0]["message"]
    tf.known = True
    robot.track(shown[1])
    message = robot.track(shown[8])
    truth = rendered("rgbd", 9).truth.world_from_cam
    expected = BASE_FROM_CAM @ inverse(truth[1]) @ truth[8] @ inverse(BASE_FROM_CAM)
    assert np.allclose(pose_from_message(message.pose.pose), expected, atol=2e-3)
    assert message.child_frame_id == "base_link"
    assert [(item.header.frame_id, item.child_frame_id) for item in tf.sent] == [
        ("odom", "base_link")
    ] * 2
    assert np.allclose(pose_from_message(tf.sent[1].transform), expected, atol=2e-3)


def test_guess_carries_the_pose_over_a_gap(
    tf: Tf, make_robot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing to see, then a clock set back: the new map starts where the wheels say."""
    tf.known = True
    robot = make_robot(frame_id="base_link", guess_frame_id="wheels")
    robot.calibrate()
    shown = [*rendered("rgbd", 3)]
    late = [replace(frame, stamp_ns=frame.stamp_ns + 10**10) for frame in shown]
    metre = from_Rt(np.eye(3), np.array([1.0, 0.0, 0.0]))
    tf.others = {("wheels", frame.stamp_ns): np.eye(4) for frame in late[:2]}
    tf.others |= {("wheels", frame.stamp_ns): metre for frame in (late[2], shown[0])}
    robot.track(late[0])
    before = pose_from_message(robot.track(late[1]).pose.pose)
    with monkeypatch.context() as patch:
        lost = Estimate(late[2].stamp_ns, Status.LOST)
        patch.setattr("alike_ros.nodes.tracking.VisualOdometry.track", lambda *_: lost)
        robot.show(late[2])
        assert robot.spin(lambda: len(robot.statuses()) == 3)
    after = pose_from_message(robot.track(shown[0]).pose.pose)
    assert np.allclose(after, before @ metre)
    assert tf.sent[-1].child_frame_id == "wheels"
    jump = [pose_from_message(item.transform) for item in (tf.sent[1], tf.sent[-1])]
    assert np.allclose(jump[0], jump[1])  # odom -> wheels
