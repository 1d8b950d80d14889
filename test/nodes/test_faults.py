"""What goes wrong on robots: a clear message, no crash, no NaN, no jump, no leak."""

from __future__ import annotations

import gc
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here (rclpy)")

import rclpy
from rclpy.lifecycle import TransitionCallbackReturn
from robot import Robot, header
from ros_helpers import rendered
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from alike_ros.config import Config
from alike_ros.data import CameraFrame
from alike_ros.geometry import inverse
from alike_ros.nodes.conversions import (
    camera_info_messages,
    image_message,
    pose_from_message,
    stamp_from_ns,
    stamp_to_ns,
)
from alike_ros.nodes.pipeline_node import run
from alike_ros.nodes.topics import INPUT, OUTPUT
from alike_ros.nodes.vo_node import VoNode
from alike_ros.resources import share_path

pytestmark = pytest.mark.ros


def shown(robot: Robot, image: Any, depth: Any) -> dict[str, str]:
    """The status of a pair of messages."""
    robot.depth.publish(depth)
    robot.image.publish(image)
    return robot.status_of(stamp_to_ns(image.header.stamp))


def messages(frame: CameraFrame) -> tuple[Image, Image]:
    top = header(frame.stamp_ns)
    return image_message(top, frame.image), image_message(top, frame.depth)


def position(message: Any) -> Any:
    return pose_from_message(message.pose.pose)[:3, 3]


def moved(frame: CameraFrame, seconds: float) -> CameraFrame:
    return replace(frame, stamp_ns=frame.stamp_ns + round(seconds * 1e9))


def test_calibration_that_is_zero_then_changes_its_size(robot: Robot) -> None:
    frames = list(rendered("rgbd", 4))
    info = camera_info_messages(header(0), robot.camera)[0]
    info.k = np.zeros(9)
    robot.info.publish(info)
    robot.spin(lambda: False, 0.1)
    status = shown(robot, *messages(frames[0]))
    assert "K of camera_info is all zero" in status["message"]
    robot.calibrate()
    robot.track(frames[1])
    half = camera_info_messages(header(0), robot.camera)[0]
    half.width, half.height, half.k = 320, 240, half.k * np.array([0.5] * 8 + [1.0])
    robot.info.publish(half)
    robot.spin(lambda: False, 0.1)
    status = shown(robot, *messages(frames[2]))
    assert "the image is 640x480, but camera_info is for 320x240" in status["message"]
    robot.calibrate()
    before = robot.received["odom"][-1]
    after = robot.track(frames[3])
    assert np.abs(position(after) - position(before)).max() < 0.01


def test_camera_that_changes_its_resolution(robot: Robot) -> None:
    """Images, depth and calibration of half the size: a new map, which begins at the last pose."""
    whole = list(rendered("rgbd", 4))
    half = [
        replace(
            frame,
            image=np.ascontiguousarray(frame.image[::2, ::2]),
            depth=np.ascontiguousarray(frame.depth[::2, ::2]),
        )
        for frame in whole
        if frame.depth is not None
    ]
    robot.calibrate()
    robot.track(whole[0])
    before = robot.track(whole[1])
    robot.camera = replace(
        robot.camera, width=320, height=240, K=robot.camera.K * [[0.5], [0.5], [1.0]]
    )
    robot.calibrate()
    after = [robot.track(frame) for frame in half[2:]]
    assert [robot.status_of(f.stamp_ns)["status"] for f in half[2:]] == ["tracking"] * 2
    assert np.abs(position(after[0]) - position(before)).max() < 1e-9
    truth = rendered("rgbd", 4).truth.world_from_cam
    expected = (inverse(truth[2]) @ truth[3])[:3, 3]
    step = inverse(pose_from_message(after[0].pose.pose)) @ pose_from_message(after[1].pose.pose)
    assert np.abs(step[:3, 3] - expected).max() < 0.003


@pytest.mark.parametrize("kind", ["nan", "zero", "infinite", "small", "short", "mono8", "step"])
def test_depth_that_is_no_use_costs_a_frame(robot: Robot, kind: str) -> None:
    frames = list(rendered("rgbd", 3))
    robot.calibrate()
    robot.track(frames[0])
    image, depth = messages(frames[1])
    height, width = frames[1].image.shape[:2]
    values = {"nan": np.nan, "zero": 0.0, "infinite": np.inf}
    if kind in values:
        flat = np.full((height, width), values[kind], np.float32)
        depth = image_message(header(frames[1].stamp_ns), flat)
    elif kind == "small":
        part = np.ascontiguousarray(frames[1].depth[:100, :100])
        depth = image_message(header(frames[1].stamp_ns), part)
    elif kind == "short":
        depth.data = bytes(depth.data)[:1000]
    elif kind == "mono8":
        depth.encoding = "mono8"
    else:
        depth.step = 7
    status = shown(robot, image, depth)
    # without a single depth the image is still located by the landmarks that there are
    assert status["status"] == ("tracking" if kind in values else "unusable")
    after = robot.track(frames[2])
    assert np.isfinite(after.pose.covariance).all()
    truth = rendered("rgbd", 3).truth.world_from_cam
    expected = (inverse(truth[0]) @ truth[2])[:3, 3]
    assert np.abs(position(after) - expected).max() < 0.002


def test_image_of_8k_for_a_small_calibration(robot: Robot) -> None:
    frame = next(iter(rendered("rgbd", 1)))
    robot.calibrate()
    image = image_message(header(frame.stamp_ns), np.zeros((4320, 7680, 3), np.uint8))
    status = shown(robot, image, messages(frame)[1])
    assert "the image is 7680x4320, but camera_info is for 640x480" in status["message"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 1, "height": 1, "step": 3, "data": bytes(3)}, "the image is 1x1"),
        ({"step": 100}, "step"),
        ({"data": b""}, "bytes"),
        ({"encoding": "rgb99"}, "known are mono8"),
        ({"width": 0, "height": 0, "step": 0, "data": b""}, "0x0"),
    ],
)
def test_images_that_are_no_use(robot: Robot, change: dict[str, Any], words: str) -> None:
    frames = list(rendered("rgbd", 2))
    robot.calibrate()
    image, depth = messages(frames[0])
    for name, value in change.items():
        setattr(image, name, value)
    status = shown(robot, image, depth)
    assert status["status"] == "unusable"
    assert words in status["message"], status["message"]
    assert "fault" not in status["message"]
    robot.track(frames[1])


def test_depth_that_stays_away_then_comes_late(robot: Robot) -> None:
    frames = list(rendered("rgbd", 4))
    robot.calibrate()
    for frame in frames[:3]:
        robot.show_image(frame)
    robot.spin(lambda: False, 0.3)
    assert not robot.received["odom"]
    robot.show_depth(frames[2])
    assert robot.spin(lambda: robot.received["odom"])
    robot.track(frames[3])
    assert robot.spin(lambda: len(robot.statuses()) == 2)
    assert robot.statuses()[1]["unpaired"] == "2"


def test_two_publishers_of_one_camera(robot: Robot) -> None:
    """Each frame counts once; reliable and best effort mix."""
    other = robot.talker.create_publisher(Image, "rgb/image", INPUT)
    assert robot.spin(lambda: other.get_subscription_count() > 0)
    robot.spin(lambda: False, 0.2)
    robot.calibrate()
    frames = list(rendered("rgbd", 3))
    for frame in frames:
        other.publish(messages(frame)[0])
        robot.track(frame)
    assert robot.spin(lambda: len(robot.statuses()) == 3)
    assert len(robot.received["odom"]) == 3
    assert int(robot.statuses()[-1]["duplicate"]) >= 2


def test_stamp_of_the_future_does_not_jam_the_node(robot: Robot) -> None:
    frames = list(rendered("rgbd", 4))
    robot.calibrate()
    robot.track(frames[0])
    ahead = robot.track(moved(frames[1], 3600))
    after = robot.track(frames[2], following=frames[3])
    assert np.abs(position(after) - position(ahead)).max() < 0.01
    assert np.isfinite(after.twist.covariance).all()
    last = robot.track(frames[3])
    assert np.abs(position(last) - position(after)).max() < 0.03  # 0.014 measured


def test_stamps_ahead_of_the_clock_are_told(
    robot: Robot, capfd: pytest.CaptureFixture[str]
) -> None:
    frame = next(iter(rendered("rgbd", 1)))
    robot.calibrate()
    robot.track(replace(frame, stamp_ns=time.time_ns() + 100 * 10**9))
    robot.spin(lambda: False, 0.1)
    text = capfd.readouterr().err
    assert "s ahead of this node's clock: synchronise the machines' clocks" in text


def test_bag_that_loops(robot: Robot) -> None:
    """Twice the same drive: the second starts where the first ends."""
    drive = [moved(frame, 2 * i) for i, frame in enumerate(rendered("rgbd", 4))]
    robot.calibrate()
    positions = [position(robot.track(frame)) for frame in drive]
    positions.append(position(robot.track(drive[0], following=drive[1])))
    positions += [position(robot.track(frame)) for frame in drive[1:]]
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    assert steps[3] < 1e-9
    assert np.allclose(steps[:3], steps[4:], atol=1e-3)


def test_bag_that_loops_while_a_frame_is_in_work(
    make_robot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is still in work belongs to the old map, whatever came meanwhile."""
    process = VoNode.process

    def slowly(*arguments: Any) -> None:
        time.sleep(0.2)
        process(*arguments)

    monkeypatch.setattr(VoNode, "process", slowly)
    robot = make_robot(always_process_most_recent_frame=False)
    robot.calibrate()
    drive = [moved(frame, 10 * i) for i, frame in enumerate(rendered("rgbd", 4))]
    for frame in [*drive, *drive]:
        robot.show(frame)
        robot.spin(lambda: False, 0.03)
    assert robot.spin(lambda: len(robot.received["odom"]) == 8)
    assert robot.spin(lambda: len(robot.statuses()) == 8)
    assert {status["status"] for status in robot.statuses()} == {"tracking"}
    positions = [position(message) for message in robot.received["odom"]]
    np.testing.assert_allclose(positions[4:], positions[3] + np.array(positions[:4]), atol=5e-3)


def test_images_without_stamps_are_told(robot: Robot, capfd: pytest.CaptureFixture[str]) -> None:
    robot.calibrate()
    for frame in rendered("rgbd", 2):
        robot.show(replace(frame, stamp_ns=0))
        robot.spin(lambda: False, 0.2)
    text = capfd.readouterr().err
    assert "messages on /rgb/image have no stamps: the driver has to set header.stamp" in text


def test_depth_behind_the_images_is_told(robot: Robot, capfd: pytest.CaptureFixture[str]) -> None:
    """Further than images wait: it is not called silent."""
    robot.calibrate()
    frame = next(iter(rendered("rgbd", 1)))
    for i in range(14):
        robot.show_image(replace(frame, stamp_ns=10**9 + i * 10**8))
        robot.show_depth(replace(frame, stamp_ns=10**8 + i))
        robot.spin(lambda: False, 0.03)
    text = capfd.readouterr().err
    assert "s from the nearest on /depth/image: synchronise the cameras" in text
    assert "or sync_queue_size (10)" in text
    assert "find no partner" not in text


def test_simulated_clock_that_jumps_or_never_comes(make_robot: Any) -> None:
    """Stamps are those of the images, whatever the clock says."""
    robot = make_robot(use_sim_time=True)
    clock = robot.talker.create_publisher(Clock, "/clock", OUTPUT)
    robot.calibrate()
    for frame, seconds in zip(rendered("rgbd", 4), (None, 100, 5, 6), strict=True):
        if seconds is not None:
            clock.publish(Clock(clock=stamp_from_ns(seconds * 10**9)))
            robot.spin(lambda: False, 0.1)
        assert stamp_to_ns(robot.track(frame).header.stamp) == frame.stamp_ns


def test_corrupt_model_is_refused_with_its_name(
    ros: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = share_path("models/alike-t.onnx").read_bytes()
    for content in (b"", b"no model at all", whole[: len(whole) // 2]):
        file = tmp_path / "broken.onnx"
        file.write_bytes(content)
        ros(model=file)
        node = VoNode()
        assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
        text = capfd.readouterr().err
        assert "broken.onnx" in text
        assert "Traceback" not in text
        node.close()
        rclpy.try_shutdown()


def test_cache_that_cannot_be_written_does_not_matter_to_an_onnx_file(make_robot: Any) -> None:
    robot = make_robot(engine_cache_dir="/proc/nowhere")
    robot.calibrate()
    robot.track(next(iter(rendered("rgbd", 1))))


def test_cache_that_cannot_be_written_is_named_where_it_is_needed(
    ros: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="no torch here: weights are not exported")
    ros(model=share_path("models/alike-t.safetensors"), engine_cache_dir="/proc/nowhere")
    node = VoNode()
    assert not node.start()
    node.close()
    text = capfd.readouterr().err
    assert "cannot write the exported model to /proc/nowhere" in text
    assert "engine_cache_dir" in text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("detector: {top_k: many}", "top_k"),
        ("detector: {top_k: 1000000}", "top_k"),
        ("mode: lidar", "expected one of mono, rgbd, stereo"),
        ("publish_tf: 3", "publish_tf"),
        ("initial_pose: somewhere", "six numbers"),
        ("model: /missing.onnx", "no model file /missing.onnx"),
    ],
)
def test_parameter_file_that_is_wrong_ends_the_node(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], line: str, words: str
) -> None:
    file = tmp_path / "parameters.yaml"
    file.write_text(f"/**:\n  ros__parameters:\n    {line}\n")
    assert run(VoNode, ["--ros-args", "--params-file", str(file)]) == 1
    text = capfd.readouterr().err
    assert words in text
    assert "Traceback" not in text


def test_parameter_file_that_is_missing_ends_the_node(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(VoNode, ["--ros-args", "--params-file", str(tmp_path / "none.yaml")]) == 1
    text = capfd.readouterr().err
    assert "Error opening YAML file" in text
    assert "Traceback" not in text


def test_unknown_names_of_a_parameter_file_are_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], ros: Any
) -> None:
    file = tmp_path / "parameters.yaml"
    file.write_text("/**:\n  ros__parameters:\n    detector: {topk: 5}\n")
    rclpy.init(args=["--ros-args", "--params-file", str(file)])
    VoNode().close()
    assert "is 'detector.top_k' meant?" in capfd.readouterr().err


def test_many_cycles_leak_nothing(ros: Any, config: Config) -> None:
    ros(model=config.model or "''", num_threads=1)
    node = VoNode()

    def cycle() -> None:
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
        assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS

    def held() -> tuple[int, set[threading.Thread], int, int]:
        gc.collect()  # what earlier tests left
        files = len(list(Path("/proc/self/fd").iterdir()))
        entities = len(list(node.subscriptions)), len(list(node.timers))
        return files, set(threading.enumerate()), *entities

    cycle()
    files, threads, *others = held()
    for _ in range(20):
        cycle()
    files_after, threads_after, *others_after = held()
    assert files_after <= files + 5  # 0 measured; other tests' sockets come and go
    assert threads_after <= threads  # those of earlier tests may have ended
    assert others_after == others
    node.close()
