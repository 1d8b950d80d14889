"""Services, and the topic that sets the pose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here (rclpy)")

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Path as PathMessage
from robot import Robot, header
from ros_helpers import rendered
from std_srvs.srv import Empty, Trigger

from alike_ros.config import Config
from alike_ros.geometry import Array, from_Rt, inverse, rotation_exp
from alike_ros.nodes.conversions import fill_pose, pose_from_message
from alike_ros.nodes.topics import OUTPUT
from alike_ros.nodes.vo_node import VoNode

pytestmark = pytest.mark.ros


def pose(message: Any) -> Array:
    return pose_from_message(message.pose.pose)


def test_reset_goes_back_to_the_initial_pose(make_robot: Any) -> None:
    robot = make_robot(initial_pose="'1 2 3 0 0 0.5'")
    initial = from_Rt(rotation_exp(np.array([0, 0, 0.5])), np.array([1.0, 2.0, 3.0]))
    robot.listen(PathMessage, "vo/path", OUTPUT)
    robot.calibrate()
    frames = list(rendered("rgbd", 60))
    assert np.allclose(pose(robot.track(frames[0])), initial)
    moved = pose(robot.track(frames[4]))
    assert not np.allclose(moved, initial, atol=1e-3)
    robot.call(Empty, "reset_odom")
    assert np.allclose(pose(robot.track(frames[8])), initial)
    assert robot.call(Trigger, "vo/reset").success
    assert np.allclose(pose(robot.track(frames[9])), initial)
    assert robot.spin(lambda: len(robot.received["vo/path"]) == 4)
    assert len(robot.received["vo/path"][-1].poses) == 1


def test_pause_leaves_frames_out_and_keeps_the_map(robot: Robot) -> None:
    robot.calibrate()
    frames = list(rendered("rgbd", 12))
    robot.track(frames[0])
    robot.listen(DiagnosticArray, "/diagnostics", OUTPUT)
    robot.call(Empty, "pause_odom")
    for frame in frames[1:4]:
        robot.show(frame)
    robot.spin(lambda: False, 0.3)
    assert len(robot.statuses()) == 1
    told = robot.received["/diagnostics"]
    told.clear()
    assert robot.spin(lambda: told)
    assert "paused until resume_odom is called" in told[0].status[0].message
    robot.call(Empty, "resume_odom")
    after = pose(robot.track(frames[5]))
    truth = rendered("rgbd", 12).truth.world_from_cam
    assert np.allclose(after, inverse(truth[0]) @ truth[5], atol=2e-3)
    assert robot.spin(lambda: len(robot.statuses()) == 2)
    assert robot.statuses()[1]["paused"] == "3"


def test_set_pose_moves_odom_without_a_twist(robot: Robot) -> None:
    publisher = robot.talker.create_publisher(PoseWithCovarianceStamped, "set_pose", OUTPUT)
    robot.listen(PoseWithCovarianceStamped, "vo/pose", OUTPUT)
    robot.calibrate()
    frames = list(rendered("rgbd", 3))
    robot.track(frames[0])
    before = pose(robot.track(frames[1]))
    assert robot.spin(lambda: publisher.get_subscription_count() > 0)
    wanted = from_Rt(rotation_exp(np.array([0.0, 0.3, 0.0])), np.array([10.0, 0.0, -5.0]))

    def send(frame_id: str = "odom", variance: float = 0.25, **orientation: float) -> None:
        message = PoseWithCovarianceStamped(header=header(0))
        message.header.frame_id = frame_id
        fill_pose(message.pose.pose, wanted)
        message.pose.covariance[0] = variance
        for name, value in orientation.items():
            setattr(message.pose.pose.orientation, name, value)
        publisher.publish(message)
        robot.spin(lambda: False, 0.1)

    send()
    for x in ("nan", "inf"):
        send(x=float(x))
    send("map")
    send(x=0.0, y=0.0, z=0.0, w=0.0)
    send(variance=-0.25)
    message = robot.track(frames[2])
    truth = rendered("rgbd", 3).truth.world_from_cam
    motion = inverse(truth[1]) @ truth[2]
    assert np.allclose(pose(message), wanted @ motion, atol=2e-3)
    assert not np.allclose(pose(message), before @ motion, atol=1)
    assert abs(message.twist.twist.linear.x) < 5  # 300 with the jump
    assert 0.25 < message.pose.covariance[0] < 0.26
    assert message.twist.covariance[0] < 0.01  # m^2/s^2; measured 0.00004, with the pose's 450
    assert robot.spin(lambda: len(robot.received["vo/pose"]) == 3)
    assert robot.received["vo/pose"][-1].pose == message.pose


def test_pose_before_the_node_is_configured_is_refused_in_words(
    ros: Any, config: Config, capfd: pytest.CaptureFixture[str]
) -> None:
    ros(model=config.model or "''", num_threads=1)
    node = VoNode()
    robot = Robot(node, "mono", rendered("mono", 1).camera)
    publisher = robot.talker.create_publisher(PoseWithCovarianceStamped, "set_pose", OUTPUT)
    assert robot.spin(lambda: publisher.get_subscription_count() > 0)
    publisher.publish(PoseWithCovarianceStamped())
    robot.spin(lambda: False, 0.3)
    robot.close()
    assert "set_pose is ignored: the node is not configured" in capfd.readouterr().err


def test_reset_takes_back_the_pose_that_was_set_before_it(robot: Robot) -> None:
    publisher = robot.talker.create_publisher(PoseWithCovarianceStamped, "set_pose", OUTPUT)
    assert robot.spin(lambda: publisher.get_subscription_count() > 0)
    robot.calibrate()
    frames = list(rendered("rgbd", 3))
    robot.track(frames[0])
    message = PoseWithCovarianceStamped()
    for x in (1.0, 2.0):
        message.pose.pose.position.x = x
        publisher.publish(message)
        robot.spin(lambda: False, 0.1)
        robot.call(Empty, "reset_odom")
    assert np.allclose(pose(robot.track(frames[1])), np.eye(4))


@pytest.mark.parametrize("cause", ["lost", "paused"])
def test_pose_that_is_set_while_nothing_is_seen_is_that_of_the_next_view(
    robot: Robot, cause: str
) -> None:
    publisher = robot.talker.create_publisher(PoseWithCovarianceStamped, "set_pose", OUTPUT)
    assert robot.spin(lambda: publisher.get_subscription_count() > 0)
    robot.calibrate()
    frames = [
        replace(frame, stamp_ns=(i + 1) * 10**9) for i, frame in enumerate(rendered("rgbd", 13))
    ]
    robot.track(frames[0])
    robot.track(frames[4])
    if cause == "lost":
        robot.show(frames[5], np.full_like(frames[5].image, 128))
        assert robot.status_of(frames[5].stamp_ns)["status"] == "lost"
    else:
        robot.call(Empty, "pause_odom")
    message = PoseWithCovarianceStamped()
    message.pose.pose.position.x = 7.0
    message.pose.covariance = np.diag(np.full(6, 1e-6)).ravel()
    publisher.publish(message)
    robot.spin(lambda: False, 0.2)
    robot.call(Empty, "resume_odom")
    after = robot.track(frames[8])
    assert robot.status_of(frames[8].stamp_ns)["status"] == "tracking"
    np.testing.assert_allclose(pose(after)[:3, 3], [7, 0, 0], atol=1e-9)
    np.testing.assert_allclose(after.pose.covariance, message.pose.covariance, atol=1e-12)
    truth = rendered("rgbd", 13).truth.world_from_cam
    step = inverse(pose(after)) @ pose(robot.track(frames[12]))
    assert np.allclose(step, inverse(truth[8]) @ truth[12], atol=3e-3)


def test_null_messages_while_lost(make_robot: Any) -> None:
    robot = make_robot(publish_null_when_lost=True)
    robot.calibrate()
    frames = list(rendered("rgbd", 2))
    robot.track(frames[0])
    later = replace(frames[1], stamp_ns=frames[1].stamp_ns + 10**9)
    null = robot.track(later, np.full_like(later.image, 128))
    q = null.pose.pose.orientation
    assert (q.x, q.y, q.z, q.w) == (0, 0, 0, 0)
    assert null.pose.covariance[0] == 9999.0


@pytest.mark.parametrize("text", ["1 2 3", "1 2 3 0 0 nan", "here"])
def test_unreadable_initial_pose_stops_the_node(ros: Any, text: str) -> None:
    ros(initial_pose=f"'{text}'")
    node = VoNode()
    assert not node.start()
    node.close()
