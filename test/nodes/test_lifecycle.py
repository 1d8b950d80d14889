"""The nodes within this process: states, threads, and what they do with odd input."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here (rclpy)")

from nav_msgs.msg import Path as PathMessage
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from robot import Robot, header
from ros_helpers import rendered
from sensor_msgs.msg import PointCloud2
from std_srvs.srv import Empty

from alike_ros.backends import load_extractor
from alike_ros.config import Config
from alike_ros.data import CameraFrame
from alike_ros.nodes.conversions import (
    features_from_cloud,
    image_message,
    stamp_to_ns,
)
from alike_ros.nodes.features_node import FeaturesNode
from alike_ros.nodes.soak import children
from alike_ros.nodes.topics import INPUT, OUTPUT
from alike_ros.nodes.tracking_node import TrackingNode
from alike_ros.nodes.vo_node import VoNode

pytestmark = pytest.mark.ros
SUCCESS = TransitionCallbackReturn.SUCCESS


def started(known: set[threading.Thread]) -> int:
    """Threads that were not there before; those of earlier tests may have ended."""
    return len(set(threading.enumerate()) - known)


@pytest.mark.parametrize("make", [VoNode, FeaturesNode, TrackingNode])
def test_states_and_threads(ros: Any, config: Config, make: Any) -> None:
    ros(model=config.model or "''", num_threads=1)
    node = make()
    before = set(threading.enumerate())
    for _ in range(3):
        assert node.trigger_configure() == SUCCESS
        for _ in range(2):
            assert node.trigger_activate() == SUCCESS
            assert started(before) == 1
            assert node.trigger_deactivate() == SUCCESS
            assert started(before) == 0
        assert node.trigger_cleanup() == SUCCESS
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    assert node.trigger_shutdown() == SUCCESS
    assert started(before) == 0
    node.close()


def test_cleanup_ends_the_process_of_bundle_adjustment(make_robot: Any) -> None:
    """Which a reset does not start again."""
    pytest.importorskip("gtsam", reason="no gtsam here: there is no bundle adjustment")
    robot = make_robot(bundle__background=True)

    before = set(children(os.getpid()))
    robot.calibrate()
    frames = list(rendered("rgbd", 60))[::10]
    for frame in frames[:3]:
        robot.track(frame)
    assert robot.spin(lambda: set(children(os.getpid())) - before)
    (started,) = set(children(os.getpid())) - before
    robot.call(Empty, "reset_odom")
    for frame in frames[3:]:
        robot.track(frame)
    assert set(children(os.getpid())) - before == {started}
    assert robot.node.trigger_deactivate() == SUCCESS
    assert robot.node.trigger_cleanup() == SUCCESS
    assert set(children(os.getpid())) == before


def test_failed_configuration_leaves_nothing_and_may_be_repeated(ros: Any, config: Config) -> None:
    """The network is loaded by then."""
    ros(model=config.model or "''", num_threads=1, initial_pose="nowhere")
    node = VoNode()
    assert not node.start()
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert node.count_publishers("keypoints") == 0
    (result,) = node.set_parameters([Parameter("initial_pose", value="")])
    assert result.successful
    assert node.start()
    node.close()


@pytest.mark.parametrize("step", ["set_up", "subscribe_more"])
def test_fault_in_a_transition_is_told_and_may_be_repeated(
    ros: Any,
    config: Config,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    ros(model=config.model or "''", num_threads=1)
    node = VoNode()
    threads, topics = set(threading.enumerate()), len(list(node.subscriptions))
    with monkeypatch.context() as patch:
        patch.setattr(VoNode, step, lambda _: 1 // 0)
        assert not node.start()
    assert "ZeroDivisionError" in capfd.readouterr().err
    assert started(threads) == 0
    assert len(list(node.subscriptions)) == topics
    (result,) = node.set_parameters([Parameter("num_threads", value=2)])
    assert result.successful
    assert node.start()
    node.close()


def test_missing_calibration_is_named_then_frames_are_tracked(robot: Robot) -> None:
    frames = list(rendered("rgbd", 4))
    robot.show(frames[0])
    assert robot.spin(lambda: robot.statuses())
    assert robot.statuses()[0]["status"] == "unusable"
    assert "/rgb/camera_info" in robot.statuses()[0]["message"]
    assert robot.statuses()[0]["stamp_ns"] == str(frames[0].stamp_ns)
    robot.calibrate()
    for i, frame in enumerate(frames[1:]):
        robot.show(frame)
        assert robot.spin(lambda i=i: len(robot.received["odom"]) > i)
    assert [stamp_to_ns(item.header.stamp) for item in robot.received["odom"]] == [
        frame.stamp_ns for frame in frames[1:]
    ]
    last = robot.received["odom"][-1]
    assert (last.header.frame_id, last.child_frame_id) == ("odom", "camera")
    status = robot.statuses()[-1]
    assert (status["status"], status["metric_scale"]) == ("tracking", "true")
    assert float(status["extract_ms"]) > 0
    assert int(status["num_inliers"]) > 50


def test_odd_frames_are_left_out(robot: Robot) -> None:
    """Wrong size, wrong encoding, a stamp twice, a stamp of the past: one status or none each."""
    frames = list(rendered("rgbd", 3))
    robot.calibrate()
    robot.show(frames[0], np.zeros((100, 100, 3), np.uint8))
    assert robot.spin(lambda: len(robot.statuses()) == 1)
    assert "the image is 100x100, but camera_info is for 640x480" in robot.statuses()[0]["message"]
    depth = image_message(header(frames[1].stamp_ns), frames[1].image)
    robot.depth.publish(depth)
    robot.image.publish(image_message(header(frames[1].stamp_ns), frames[1].image))
    assert robot.spin(lambda: len(robot.statuses()) == 2)
    assert "depth encoding 'rgb8'" in robot.statuses()[1]["message"]
    robot.show(frames[1])  # this stamp was used up
    robot.show(frames[0])
    robot.show(frames[2])
    assert robot.spin(lambda: robot.received["odom"] and len(robot.statuses()) == 3)
    assert stamp_to_ns(robot.received["odom"][0].header.stamp) == frames[2].stamp_ns
    for reason in ("duplicate", "duplicate_partner", "late", "late_partner"):
        assert robot.statuses()[2][reason] == "1"


def test_fault_costs_one_frame(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = list(rendered("rgbd", 2))
    robot.calibrate()
    with monkeypatch.context() as patch:
        patch.setattr("alike_ros.nodes.tracking.VisualOdometry.track", lambda *_: 1 // 0)
        robot.show(frames[0])
        assert robot.spin(lambda: len(robot.statuses()) == 1)
    assert "ZeroDivisionError" in robot.statuses()[0]["message"]
    robot.show(frames[1])
    assert robot.spin(lambda: robot.received["odom"])


def test_nothing_to_see_gives_no_pose(robot: Robot) -> None:
    first, *others = rendered("rgbd", 4)
    # a second later: longer than a gap that the velocity bridges
    frames = [first, *(replace(frame, stamp_ns=frame.stamp_ns + 10**9) for frame in others)]
    robot.calibrate()
    robot.show(frames[0])
    assert robot.spin(lambda: robot.received["odom"])
    robot.show(frames[1], np.full_like(frames[1].image, 128))
    assert robot.spin(lambda: len(robot.statuses()) == 2)
    assert robot.statuses()[1]["status"] == "lost"
    robot.show(frames[2])
    assert robot.spin(lambda: len(robot.received["odom"]) == 2)
    stamps = [stamp_to_ns(item.header.stamp) for item in robot.received["odom"]]
    assert stamps == [frames[0].stamp_ns, frames[2].stamp_ns]


def test_clock_set_back_continues_at_the_last_pose(robot: Robot) -> None:
    """As when a bag loops: no jump in odom."""
    frames = list(rendered("rgbd", 60))
    robot.calibrate()
    for i, frame in enumerate([frames[0], frames[4], frames[8]]):
        late = CameraFrame(frame.stamp_ns + 10**10, frame.image, frame.depth)
        robot.show(late)
        assert robot.spin(lambda i=i: len(robot.received["odom"]) > i)
    robot.track(frames[0], following=frames[4])
    before, after = (item.pose.pose.position for item in robot.received["odom"][2:])
    assert abs(before.x) + abs(before.y) + abs(before.z) > 0.005
    assert (after.x, after.y, after.z) == pytest.approx((before.x, before.y, before.z), abs=1e-9)


def test_thresholds_change_while_running(robot: Robot) -> None:
    frames = list(rendered("rgbd", 2))
    robot.calibrate()
    robot.show(frames[0])
    assert robot.spin(lambda: len(robot.statuses()) == 1)
    robot.node.set_parameters([Parameter("detector.top_k", value=50)])
    robot.show(frames[1])
    assert robot.spin(lambda: len(robot.statuses()) == 2)
    counts = [int(status["num_features"]) for status in robot.statuses()]
    assert counts[0] > 200
    assert counts[1] == 50


def test_keypoints_and_path_go_to_subscribers(robot: Robot, config: Config) -> None:
    frame = next(iter(rendered("rgbd", 1)))
    robot.listen(PointCloud2, "keypoints", INPUT)
    robot.listen(PathMessage, "vo/path", OUTPUT)
    robot.calibrate()
    robot.show(frame)
    assert robot.spin(lambda: robot.received["keypoints"] and robot.received["vo/path"])
    cloud, path = robot.received["keypoints"][0], robot.received["vo/path"][0]
    assert cloud.header == header(frame.stamp_ns)
    expected = load_extractor(config)(frame.image)
    received = features_from_cloud(cloud)
    assert np.array_equal(received.keypoints, expected.keypoints)
    assert np.array_equal(received.descriptors, expected.descriptors)
    assert (path.header.frame_id, len(path.poses)) == ("odom", 1)
