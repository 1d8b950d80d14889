"""The base frame and a guess frame through a node; tf2_ros is not in the wheels: it is played."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here (rclpy)")

from ros_helpers import rendered
from sensor_msgs.msg import CameraInfo, Image, Imu
from std_msgs.msg import Header
from tf_player import BASE_FROM_CAM, Tf

from alike_ros.geometry import from_Rt, inverse, rotation_exp
from alike_ros.nodes import frames
from alike_ros.nodes.conversions import (
    camera_info_messages,
    image_message,
    pose_from_message,
    stamp_from_ns,
)
from alike_ros.nodes.topics import INPUT, OUTPUT
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


def test_guess_gives_a_single_camera_its_metres(tf: Tf, make_robot: Any) -> None:
    """Without a jump when they become known; then steps have their true length."""
    tf.known = True
    robot = make_robot(mode="mono", frame_id="base_link", guess_frame_id="wheels")
    robot.calibrate()
    sequence = rendered("mono", 150)
    truth = sequence.truth.world_from_cam
    poses = BASE_FROM_CAM @ inverse(truth[0]) @ truth @ inverse(BASE_FROM_CAM)
    positions: list[Any] = []
    for index, frame in list(enumerate(sequence))[::5]:
        tf.others["wheels", frame.stamp_ns] = poses[index]
        before = len(robot.received["odom"])
        robot.show(frame)
        robot.status_of(frame.stamp_ns)
        robot.spin(lambda n=before: len(robot.received["odom"]) > n, 0.2)
        new = robot.received["odom"][before:]
        metric = robot.statuses()[-1]["metric_scale"] == "true"
        positions += [(index, metric, pose_from_message(item.pose.pose)[:3, 3]) for item in new]
    known = [metric for _, metric, _ in positions]
    assert not known[0]
    assert known[-1]
    assert known == sorted(known)
    steps = np.array([b[2] - a[2] for a, b in pairwise(positions)])
    true_steps = np.array(
        [poses[b[0]][:3, 3] - poses[a[0]][:3, 3] for a, b in pairwise(positions)]
    )
    lengths, true_lengths = (np.linalg.norm(item, axis=1) for item in (steps, true_steps))
    first = known.index(True) + 1
    ratios = lengths[first:] / true_lengths[first:]
    assert len(ratios) > 3
    assert np.abs(ratios - 1).max() < 0.1
    assert np.linalg.norm(steps[first - 1]) < 1.1 * max(lengths[: first - 1])  # no jump


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


def test_guess_knows_better_than_the_velocity(tf: Tf, make_robot: Any) -> None:
    """A camera that stands still, then sees nothing for two frames while the wheels go on."""
    tf.known = True
    robot = make_robot(frame_id="base_link", guess_frame_id="wheels")
    robot.calibrate()
    shown = next(iter(rendered("rgbd", 1)))
    frames = [replace(shown, stamp_ns=2 * 10**9 + i * 10**8) for i in range(5)]
    forward = [from_Rt(np.eye(3), np.array([x, 0.0, 0.0])) for x in (0.0, 0.0, 0.1, 0.3, 0.3)]
    tf.others = {("wheels", f.stamp_ns): pose for f, pose in zip(frames, forward, strict=True)}
    blank = np.full_like(shown.image, 128)
    seen = [robot.track(f, blank if i in (2, 3) else None) for i, f in enumerate(frames)]
    assert [robot.status_of(f.stamp_ns)["status"] for f in frames[1:4]] == [
        "tracking",
        *["degraded"] * 2,
    ]
    x = [pose_from_message(item.pose.pose)[0, 3] for item in seen]
    np.testing.assert_allclose(x[:4], [0.0, 0.0, 0.1, 0.3], atol=1e-3)
    assert abs(x[4]) < 1e-3  # wheels that slipped: the map is still there, and so is the camera
    assert seen[3].pose.covariance[0] > 10 * seen[1].pose.covariance[0]


def test_new_map_after_a_loss_is_where_the_guess_says(tf: Tf, make_robot: Any) -> None:
    """And /tf goes on meanwhile, since other nodes live by it."""
    tf.known = True
    robot = make_robot(frame_id="base_link", guess_frame_id="wheels", reset_countdown=2)
    robot.calibrate()
    first, *_, last = rendered("rgbd", 60)
    stamps = [2.0, 2.1, 6.0, 6.1, 6.2]
    x = [0.0, 0.0, 2.9, 3.0, 3.0]
    for stamp, forward in zip(stamps, x, strict=True):
        tf.others["wheels", round(stamp * 1e9)] = from_Rt(np.eye(3), np.array([forward, 0.0, 0.0]))
    frames = [replace(first, stamp_ns=round(stamp * 1e9)) for stamp in stamps[:4]]
    robot.track(frames[0])
    robot.track(frames[1])
    for frame in frames[2:]:
        robot.show(frame, np.full_like(first.image, 128))
        assert robot.status_of(frame.stamp_ns)["status"] == "lost"
    assert len(robot.received["odom"]) == 2
    frames.append(replace(last, stamp_ns=round(stamps[4] * 1e9)))
    after = robot.track(frames[4])
    assert robot.status_of(frames[4].stamp_ns)["status"] == "tracking"
    np.testing.assert_allclose(pose_from_message(after.pose.pose)[:3, 3], [3, 0, 0], atol=2e-3)
    odom_from_wheels = [pose_from_message(item.transform) for item in tf.sent]
    assert len(odom_from_wheels) == 5
    np.testing.assert_allclose(odom_from_wheels, np.tile(np.eye(4), (5, 1, 1)), atol=2e-3)


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
    frame = next(iter(rendered("rgbd", 1)))
    robot.track(replace(frame, stamp_ns=10**10))
    assert tf.clears == 0
    robot.track(frame)
    assert tf.clears == 1
