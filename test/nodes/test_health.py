"""Silence is explained, and /diagnostics tells how the node is doing."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here (rclpy)")

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.parameter import Parameter
from robot import Robot
from ros_helpers import rendered
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from alike_ros.backends.providers import best_on_cpu
from alike_ros.config import Config
from alike_ros.nodes.conversions import values_of_status
from alike_ros.nodes.features_node import FeaturesNode
from alike_ros.nodes.topics import INPUT, OUTPUT
from alike_ros.nodes.tracking import Tracking
from alike_ros.nodes.vo_node import VoNode

pytestmark = pytest.mark.ros


@pytest.fixture(autouse=True)
def ten_reports_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alike_ros.nodes.health.PERIOD_S", 0.1)


def silent_after(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alike_ros.nodes.arrivals.SILENCE_S", seconds)


def watched(robot: Robot) -> Robot:
    robot.listen(DiagnosticArray, "/diagnostics", OUTPUT)
    return robot


def reports(robot: Robot) -> list[DiagnosticStatus]:
    return [message.status[0] for message in robot.received["/diagnostics"]]


def newest(robot: Robot) -> DiagnosticStatus:
    """A report on everything that has happened."""
    before = len(reports(robot))
    assert robot.spin(lambda: len(reports(robot)) > before + 1)
    return reports(robot)[-1]


def problem(robot: Robot, words: str) -> str:
    """The first report that holds these words."""

    def found() -> list[str]:
        return [report.message for report in reports(robot) if words in report.message]

    assert robot.spin(found), [report.message for report in reports(robot)][-1:]
    return found()[0]


def warnings(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the node warns of from here on."""
    texts: list[str] = []
    logger = robot.node.get_logger()
    monkeypatch.setattr(logger, "warning", lambda text, **_: texts.append(text))
    monkeypatch.setattr(robot.node, "get_logger", lambda: logger)
    return texts


def test_report_of_a_healthy_node(robot: Robot) -> None:
    watched(robot)
    robot.calibrate()
    frames = list(rendered("rgbd", 4))
    for frame in frames:
        robot.track(frame)
    report = newest(robot)
    values = values_of_status(report)
    assert (report.level, report.message) == (DiagnosticStatus.OK, "tracking")
    assert report.name == "vo: visual odometry"
    assert f"on {best_on_cpu()}, " in values["network"]
    assert (values["received"], values["processed"], values["overtaken"]) == ("4", "4", "0")
    assert (values["qos_events"], values["lost_in_transport"]) == ("0", "0")
    assert float(values["sync_offset_ms"]) == 0
    assert int(values["num_inliers"]) > 50
    assert float(values["track_ms"]) > 0
    assert "latency_ms" in values
    rates = [values_of_status(item)["rate_hz /rgb/image"] for item in reports(robot)]
    assert max(map(float, rates)) > 0


def test_no_half_of_the_pipeline_hides_the_other(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost: no report says that all is well while the next frame is in work."""
    track = Tracking.track

    def slowly(*arguments: Any) -> None:
        time.sleep(0.2)  # two reports
        track(*arguments)

    robot.calibrate()
    first, *others = rendered("rgbd", 4)
    robot.track(first)
    watched(robot)
    monkeypatch.setattr(Tracking, "track", slowly)
    for frame in others:
        later = replace(frame, stamp_ns=frame.stamp_ns + 10**9)
        robot.show(later, np.full_like(frame.image, 128))
        assert robot.status_of(later.stamp_ns)["status"] == "lost"
    newest(robot)
    levels = [report.level for report in reports(robot)]
    assert set(levels[levels.index(DiagnosticStatus.ERROR) :]) == {DiagnosticStatus.ERROR}


def test_unusable_frame_has_no_values_of_the_one_before(robot: Robot) -> None:
    watched(robot)
    robot.calibrate()
    frames = list(rendered("rgbd", 2))
    robot.track(frames[0])
    assert int(values_of_status(newest(robot))["num_inliers"]) > 50
    robot.show(frames[1], np.zeros((100, 100, 3), np.uint8))
    assert robot.status_of(frames[1].stamp_ns)["status"] == "unusable"
    report = newest(robot)
    values = values_of_status(report)
    assert report.level == DiagnosticStatus.WARN
    assert values["status"] == "unusable"
    assert {values[key] for key in ("num_features", "num_matches", "num_inliers")} == {"0"}


def test_half_that_extracts_says_so(ros: Any, config: Config) -> None:
    ros(model=config.model or "''", num_threads=1)
    node = FeaturesNode()
    assert node.start()
    robot = watched(Robot(node, "mono", rendered("mono", 1).camera))
    robot.connect()
    robot.calibrate()
    robot.show_image(next(iter(rendered("mono", 1))))
    assert problem(robot, "extracting") == "extracting"
    assert newest(robot).level == DiagnosticStatus.OK
    robot.close()


def test_camera_that_stops_and_returns(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    watched(robot)
    texts = warnings(robot, monkeypatch)
    robot.calibrate()
    frames = list(rendered("rgbd", 4))
    robot.track(frames[0])
    silent_after(0.5, monkeypatch)
    text = problem(robot, "/rgb/image: no message for")
    assert "talker (reliable, volatile)" in text
    assert "FASTDDS_BUILTIN_TRANSPORTS" in text
    robot.spin(lambda: False, 1.0)
    assert sum("/rgb/image" in text for text in texts) == 1
    assert not any("camera_info" in text for text in texts)  # one was enough
    robot.track(frames[1])
    robot.track(frames[2])
    assert robot.spin(lambda: reports(robot)[-1].message == "tracking")


def test_topic_without_a_publisher(make_robot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    robot = watched(make_robot(mode="mono"))
    robot.talker.destroy_publisher(robot.image)
    silent_after(0.5, monkeypatch)  # not before: the publisher would have been there
    other = robot.talker.create_publisher(Image, "/front/image_raw", OUTPUT)
    text = problem(robot, "/image: no message for")
    assert "nobody publishes sensor_msgs/msg/Image there" in text
    assert "Remap it to one of /depth/image, /front/image_raw" in text
    assert "tracks_image" not in text  # our own
    robot.talker.destroy_publisher(other)


def test_publisher_whose_qos_does_not_match(
    make_robot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot = watched(make_robot(mode="mono", image_qos="reliable"))
    texts = warnings(robot, monkeypatch)
    robot.talker.destroy_publisher(robot.image)
    robot.image = robot.talker.create_publisher(Image, "image", INPUT)
    text = problem(robot, "/image: a publisher does not match")
    assert "talker (best effort, volatile) cannot serve this subscription (reliable" in text
    assert "set image_qos to best_effort" in text
    assert values_of_status(newest(robot))["qos_events"] == "1"
    robot.spin(lambda: False, 0.7)
    assert sum("/image" in text for text in texts) == 1


def test_subscriber_that_asks_for_more_than_is_offered(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched(robot)
    texts = warnings(robot, monkeypatch)
    robot.listen(PointCloud2, "keypoints", OUTPUT)
    text = problem(robot, "/keypoints: a subscriber gets nothing")
    assert "best effort, volatile is all that is offered" in text
    assert texts == [text]
    assert values_of_status(newest(robot))["qos_events"] == "1"


def test_two_publishers_of_one_camera_are_named(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once in the log, and in /diagnostics as long as both are there."""
    watched(robot)
    texts = warnings(robot, monkeypatch)
    other = rclpy.create_node("copy")
    other.create_publisher(Image, "rgb/image", OUTPUT)
    text = problem(robot, "/rgb/image: copy, talker all publish there, stop all but one")
    assert newest(robot).level == DiagnosticStatus.WARN
    assert texts == [text]
    other.destroy_node()


@pytest.mark.parametrize("qos", [INPUT, OUTPUT])
def test_publishers_of_any_reliability_match(robot: Robot, qos: Any) -> None:
    for publisher in (robot.info, robot.image, robot.depth):
        robot.talker.destroy_publisher(publisher)
    robot.info = robot.talker.create_publisher(CameraInfo, "rgb/camera_info", qos)
    robot.image = robot.talker.create_publisher(Image, "rgb/image", qos)
    robot.depth = robot.talker.create_publisher(Image, "depth/image", qos)
    for publisher in (robot.info, robot.image, robot.depth):
        assert robot.spin(lambda new=publisher: new.get_subscription_count() > 0)
    robot.spin(lambda: False, 0.2)
    robot.calibrate()
    robot.track(next(iter(rendered("rgbd", 1))))


def test_stamps_too_far_apart(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    """One warning, however often it happens; it stays in /diagnostics."""
    watched(robot)
    texts = warnings(robot, monkeypatch)
    frames = list(rendered("rgbd", 8))
    robot.calibrate()
    for start in (0, 4):
        robot.show_depth(frames[start])
        robot.show_image(frames[start + 1])
        robot.show_depth(frames[start + 3])
        text = "is 0.033 s from the nearest on /depth/image"
        assert text in problem(robot, "/rgb/image (from talker (reliable, volatile)) is")
    robot.spin(lambda: False, 0.2)
    assert len(texts) == 1
    assert "approx_sync_max_interval (0.02 s)" in texts[0]
    assert texts[0] in reports(robot)[-1].message
    assert reports(robot)[-1].level == DiagnosticStatus.WARN


def test_rate_and_jitter_are_set_while_running(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = warnings(robot, monkeypatch)
    frames = list(rendered("rgbd", 9))
    robot.calibrate()
    robot.track(frames[0])
    set_ = [Parameter("max_update_rate", value=10.0)]
    set_ += [Parameter("image_jitter_threshold_ms", value=50.0)]
    assert all(result.successful for result in robot.node.set_parameters(set_))

    def seen() -> int:
        return len(robot.received["odom"]) + robot.node.dropped.get("throttled", 0)

    for frame in frames[1:5]:
        before = seen()
        robot.show(frame)
        assert robot.spin(lambda n=before: seen() > n)
    assert len(robot.received["odom"]) == 3
    assert not texts
    robot.track(frames[8])
    assert texts == ["stamps are 133.3 ms apart, image_jitter_threshold_ms is 50"]


def test_every_frame_is_worked_on_if_wanted(make_robot: Any) -> None:
    robot = watched(make_robot(mode="mono", always_process_most_recent_frame=False))
    robot.calibrate()
    frames = list(rendered("mono", 4))
    for frame in frames:
        robot.show(frame)
    assert robot.spin(lambda: len(robot.statuses()) == 4)
    assert values_of_status(newest(robot))["overtaken"] == "0"


def test_counts_add_up_when_frames_come_too_fast(
    make_robot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 Hz into a node that manages 10 Hz at most: it takes the newest."""
    process = VoNode.process

    def slowly(node: VoNode, messages: Any, rig: Any) -> None:
        time.sleep(0.1)
        process(node, messages, rig)

    monkeypatch.setattr(VoNode, "process", slowly)
    robot = watched(make_robot(mode="mono"))
    frames = list(rendered("mono", 40))
    robot.show(frames[0])
    robot.spin(lambda: False, 0.2)  # without a calibration yet
    robot.calibrate()
    for frame in [*frames[1:], frames[10], frames[39]]:
        robot.show(frame)
        robot.spin(lambda: False, 1 / 60)
    robot.status_of(frames[39].stamp_ns)  # the last one is not left out
    values = values_of_status(newest(robot))
    assert values["received"] == "42"
    assert int(values["overtaken"]) > 20
    stamps = [int(status["stamp_ns"]) for status in robot.statuses()]
    assert stamps == sorted(stamps)
    parts = ("processed", "unusable", "overtaken", "late", "duplicate")
    assert sum(int(values.get(key, 0)) for key in parts) == 42
    assert (values["unusable"], values["late"], values["duplicate"]) == ("1", "1", "1")
