"""The base frame through a node; tf2_ros is not in the wheels: it is played."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here (rclpy)")

from ros_helpers import rendered
from sensor_msgs.msg import CameraInfo, Image, Imu
from std_msgs.msg import Header
from tf_player import BASE_FROM_CAM, Tf

from alike_ros.geometry import from_Rt, inverse, rotation_exp
from alike_ros.nodes.conversions import (
    camera_info_messages,
    image_message,
    pose_from_message,
    stamp_from_ns,
)
from alike_ros.nodes.topics import INPUT, OUTPUT

pytestmark = pytest.mark.ros


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


def test_raw_pair_is_placed_by_tf(tf: Tf, make_robot: Any) -> None:
    """camera_info of two cameras that were calibrated one by one; left optical -> right."""
    robot = make_robot(mode="stereo")
    stereo = rendered("stereo", 1).stereo
    tf.known, tf.others = True, {("right", 0): stereo.right_from_left}
    sides = {"left": stereo.left, "right": stereo.right}
    images, infos = (
        {side: robot.talker.create_publisher(kind, f"{side}/{topic}", OUTPUT) for side in sides}
        for kind, topic in ((Image, "image"), (CameraInfo, "camera_info"))
    )
    assert robot.spin(lambda: all(item.get_subscription_count() for item in images.values()))
    robot.spin(lambda: False, 0.2)
    for side, camera in sides.items():
        infos[side].publish(camera_info_messages(Header(frame_id=side), camera)[0])
    robot.spin(lambda: False, 0.2)
    frames = list(rendered("stereo", 5))
    for frame in (frames[0], frames[4]):
        top = Header(stamp=stamp_from_ns(frame.stamp_ns), frame_id="left")
        images["right"].publish(image_message(top, frame.right))
        images["left"].publish(image_message(top, frame.image))
        assert robot.status_of(frame.stamp_ns)["status"] == "tracking"
    assert robot.spin(lambda: len(robot.received["odom"]) == 2)
    truth = rendered("stereo", 5).truth.world_from_cam
    moved = pose_from_message(robot.received["odom"][1].pose.pose)
    assert np.allclose(moved, inverse(truth[0]) @ truth[4], atol=3e-3)


def imu(stamp_ns: int, rate: Any) -> Imu:
    message = Imu(header=Header(stamp=stamp_from_ns(stamp_ns), frame_id="imu"))
    v = message.angular_velocity
    v.x, v.y, v.z = map(float, rate)
    return message


def imu_publisher(robot: Any) -> Any:
    publisher = robot.talker.create_publisher(Imu, "imu", INPUT)
    assert robot.spin(lambda: publisher.get_subscription_count() > 0)
    robot.spin(lambda: False, 0.2)
    return publisher


def test_imu_tells_the_turn_while_nothing_is_seen(tf: Tf, make_robot: Any) -> None:
    """The camera's pose on the IMU comes from TF."""
    cam_from_imu = from_Rt(rotation_exp(np.array([1.2, -0.7, 0.5])), np.array([0.1, 0.0, 0.0]))
    tf.known, tf.others = True, {("camera", 0): cam_from_imu}
    robot = make_robot()
    publisher = imu_publisher(robot)
    robot.calibrate()
    shown = [*rendered("rgbd", 3)]
    robot.track(shown[0])
    before = pose_from_message(robot.track(shown[1]).pose.pose)
    rate = np.array([1.0, 2.0, -3.0])
    for stamp_ns in range(shown[1].stamp_ns, shown[2].stamp_ns, 5_000_000):
        publisher.publish(imu(stamp_ns, rate))
        robot.spin(lambda: False, 0.01)
    blank = np.full_like(shown[2].image, 128)
    after = pose_from_message(robot.track(shown[2], blank).pose.pose)
    assert robot.status_of(shown[2].stamp_ns)["status"] == "degraded"
    seconds = (shown[2].stamp_ns - shown[1].stamp_ns) * 1e-9
    turn = rotation_exp(cam_from_imu[:3, :3] @ rate * seconds)
    assert np.allclose((inverse(before) @ after)[:3, :3], turn, atol=1e-6)


def test_imu_that_is_no_use_is_told(
    tf: Tf, make_robot: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    robot = make_robot()
    publisher = imu_publisher(robot)
    robot.calibrate()
    shown = [*rendered("rgbd", 2)]
    blind = imu(1, np.zeros(3))
    blind.angular_velocity_covariance[0] = -1
    publisher.publish(blind)
    publisher.publish(imu(2, np.full(3, np.nan)))
    for frame in shown:
        publisher.publish(imu(frame.stamp_ns, np.zeros(3)))
        robot.spin(lambda: False, 0.1)
        robot.track(frame)
    text = capfd.readouterr().err
    assert "imu is ignored: it measures no angular velocity" in text


def test_tf_is_left_as_it_was_found(tf: Tf, make_robot: Any) -> None:
    """Life cycles leave no publisher, and a clock that is set back no old transforms."""
    tf.known = True
    robot = make_robot(frame_id="base_link")
    robot.calibrate()
    node = robot.node
    assert node.count_publishers("/tf") == 1
    for _ in range(3):
        node.trigger_deactivate()
        node.trigger_cleanup()
        assert node.start()
    assert robot.spin(lambda: node.count_publishers("/tf") == 1)
    robot.connect()
    robot.calibrate()
    frames = list(rendered("rgbd", 2))
    robot.track(replace(frames[0], stamp_ns=10**10))
    assert tf.clears == 0
    robot.track(frames[0], following=frames[1])
    assert tf.clears == 1
