"""Another odometry, wheels, carries the pose where the camera sees nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here (rclpy)")

from geometry_msgs.msg import PoseWithCovarianceStamped
from robot import header
from ros_helpers import rendered
from std_srvs.srv import Empty
from tf_player import BASE_FROM_CAM, Tf

from alike_ros.geometry import from_Rt, inverse
from alike_ros.nodes.conversions import (
    fill_pose,
    pose_from_message,
)
from alike_ros.nodes.topics import OUTPUT
from alike_ros.odometry.estimate import Estimate, Status

pytestmark = pytest.mark.ros


def along_x(metres: float) -> Any:
    return from_Rt(np.eye(3), np.array([metres, 0.0, 0.0]))


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


def test_guess_carries_the_pose_over_a_gap(
    tf: Tf, make_robot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing to see, then a clock set back: the new map starts where the wheels say."""
    tf.known = True
    robot = make_robot(frame_id="base_link", guess_frame_id="wheels")
    robot.calibrate()
    shown = [*rendered("rgbd", 3)]
    late = [replace(frame, stamp_ns=frame.stamp_ns + 10**10) for frame in shown]
    metre = along_x(1.0)
    tf.others = {("wheels", frame.stamp_ns): np.eye(4) for frame in late[:2]}
    tf.others |= {("wheels", frame.stamp_ns): metre for frame in (late[2], shown[0])}
    robot.track(late[0])
    before = pose_from_message(robot.track(late[1]).pose.pose)
    with monkeypatch.context() as patch:
        lost = Estimate(late[2].stamp_ns, Status.LOST)
        patch.setattr("alike_ros.nodes.tracking.VisualOdometry.track", lambda *_: lost)
        robot.show(late[2])
        assert robot.spin(lambda: len(robot.statuses()) == 3)
    after = pose_from_message(robot.track(shown[0], following=shown[1]).pose.pose)
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
    forward = [along_x(x) for x in (0.0, 0.0, 0.1, 0.3, 0.3)]
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
        tf.others["wheels", round(stamp * 1e9)] = along_x(forward)
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


@pytest.mark.parametrize("cause", ["reset", "loop"])
def test_guess_from_before_a_new_start_does_not_count(tf: Tf, make_robot: Any, cause: str) -> None:
    """Wheels that stand 10 m further on: the robot was carried there, or its bag loops."""
    tf.known = True
    place = "'1 2 0 0 0 0'"
    robot = make_robot(
        mode="mono", frame_id="base_link", guess_frame_id="wheels", initial_pose=place
    )
    robot.calibrate()
    before, *shown = list(rendered("mono", 101))[::20]
    if cause == "loop":
        before = replace(before, stamp_ns=before.stamp_ns + 10**11)
    tf.others = {("wheels", frame.stamp_ns): along_x(10.0) for frame in shown}
    tf.others["wheels", before.stamp_ns] = along_x(0.0)
    robot.show(before)
    robot.status_of(before.stamp_ns)
    if cause == "reset":
        robot.call(Empty, "reset_odom")
    robot.show(shown[0])
    for frame in shown[1:]:  # the second tells that the clock was set back
        robot.show(frame)
        robot.status_of(frame.stamp_ns)
    assert robot.spin(lambda: robot.received["odom"])
    first = pose_from_message(robot.received["odom"][0].pose.pose)
    np.testing.assert_allclose(first[:3, 3], [1, 2, 0], atol=1e-9)


def test_guess_from_before_a_pose_was_set_does_not_count(tf: Tf, make_robot: Any) -> None:
    """Paused, carried to a known place, and nothing to see there."""
    tf.known = True
    robot = make_robot(frame_id="base_link", guess_frame_id="wheels")
    publisher = robot.talker.create_publisher(PoseWithCovarianceStamped, "set_pose", OUTPUT)
    assert robot.spin(lambda: publisher.get_subscription_count() > 0)
    robot.calibrate()
    shown = next(iter(rendered("rgbd", 1)))
    frames = [replace(shown, stamp_ns=i * 10**9) for i in (2, 20, 21)]
    wheels = [along_x(x) for x in (0.0, 10.0, 10.5)]
    tf.others = {("wheels", f.stamp_ns): pose for f, pose in zip(frames, wheels, strict=True)}
    robot.track(frames[0])
    robot.call(Empty, "pause_odom")
    message = PoseWithCovarianceStamped(header=header(0))
    message.header.frame_id = "odom"
    fill_pose(message.pose.pose, along_x(7.0))
    publisher.publish(message)
    robot.spin(lambda: False, 0.2)
    robot.call(Empty, "resume_odom")
    for frame in frames[1:]:
        robot.show(frame, np.full_like(shown.image, 128))
        assert robot.status_of(frame.stamp_ns)["status"] == "lost"
    odom_from_wheels = pose_from_message(tf.sent[-1].transform)
    np.testing.assert_allclose((odom_from_wheels @ wheels[2])[:3, 3], [7.5, 0, 0], atol=1e-9)


def test_guess_carries_the_pose_to_the_map_of_another_camera(tf: Tf, make_robot: Any) -> None:
    """Its first frame is where the wheels are by then."""
    tf.known = True
    robot = make_robot(frame_id="base_link", guess_frame_id="wheels")
    robot.calibrate()
    shown = [*rendered("rgbd", 3)]
    tf.others = {("wheels", shown[0].stamp_ns): along_x(0.0)}
    tf.others |= {("wheels", frame.stamp_ns): along_x(10.0) for frame in shown[1:]}
    robot.track(shown[0])
    robot.camera = replace(robot.camera, K=robot.camera.K * [[1.01], [1.01], [1.0]])
    robot.calibrate()
    after = pose_from_message(robot.track(shown[1]).pose.pose)
    np.testing.assert_allclose(after, along_x(10.0), atol=1e-9)
    step = inverse(after) @ pose_from_message(robot.track(shown[2]).pose.pose)
    truth = rendered("rgbd", 3).truth.world_from_cam
    expected = BASE_FROM_CAM @ inverse(truth[1]) @ truth[2] @ inverse(BASE_FROM_CAM)
    np.testing.assert_allclose(step, expected, atol=3e-3)
