"""The doctor on a live graph: a camera that publishes over DDS, with one fault at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here (rclpy)")

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header

from alike_ros.cli import main
from alike_ros.config import NodeConfig
from alike_ros.data import open_sequence
from alike_ros.doctor import Finding, Severity
from alike_ros.geometry import from_Rt, rotation_exp
from alike_ros.nodes.conversions import (
    camera_info_messages,
    image_message,
    stamp_from_ns,
    stamp_to_ns,
)
from alike_ros.nodes.domain import free_domain
from alike_ros.nodes.graph_doctor import examine_graph
from alike_ros.nodes.message_doctor import examine_pair
from alike_ros.nodes.topics import INPUT, OUTPUT

pytestmark = pytest.mark.ros
RATE_HZ = 10.0
TRIES = 4  # a busy machine loses messages and announcements: it gets another look


class Driver:
    """Publishes VGA colour and depth from a thread; `spoil` changes a frame's messages."""

    kinds: ClassVar[dict[str, type]] = {
        "rgb/image": Image,
        "rgb/camera_info": CameraInfo,
        "depth/image": Image,
    }

    def __init__(self, prefix: str = "", name: str = "driver") -> None:
        self.spoil: Callable[[dict[str, Any]], object] = lambda messages: None
        sequence = open_sequence("render:room?frames=1", "rgbd")
        self._frame = next(iter(sequence))
        self._camera = sequence.camera
        self.context = rclpy.Context()
        rclpy.init(args=[], context=self.context)
        self.node = rclpy.create_node(name, context=self.context)
        self._publishers = {
            topic: self.node.create_publisher(kind, prefix + topic, INPUT)
            for topic, kind in self.kinds.items()
        }
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ended.wait(max(due - time.monotonic(), 0)):
            due = max(due, time.monotonic()) + 1 / RATE_HZ  # never in bursts
            header = Header(stamp=stamp_from_ns(time.time_ns()), frame_id="camera")
            messages = self.messages(header)
            self.spoil(messages)
            with suppress(ExternalShutdownException):
                for topic, message in messages.items():
                    self._publishers[topic].publish(message)

    def messages(self, header: Header) -> dict[str, Any]:
        return {
            "rgb/camera_info": camera_info_messages(header, self._camera)[0],
            "rgb/image": image_message(header, self._frame.image),
            "depth/image": image_message(header, self._frame.depth),
        }

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self.node.destroy_node()
        self.context.try_shutdown()


class CompressedDriver(Driver):
    """The same through image transports, under names of its own, and a mask."""

    kinds: ClassVar[dict[str, type]] = {
        "cam/color/compressed": CompressedImage,
        "cam/info": CameraInfo,
        "cam/aligned/compressedDepth": CompressedImage,
        "a/mask": Image,
    }

    def messages(self, header: Header) -> dict[str, Any]:
        colour = cv2.imencode(".png", self._frame.image[..., ::-1])[1].tobytes()
        millimetres = np.nan_to_num(self._frame.depth * 1000).astype(np.uint16)
        depth = bytes(12) + cv2.imencode(".png", millimetres)[1].tobytes()
        white = np.full(self._frame.image.shape[:2], 255, np.uint8)
        return {
            "cam/color/compressed": CompressedImage(
                header=header, format="rgb8; png compressed bgr8", data=colour
            ),
            "cam/info": camera_info_messages(header, self._camera)[0],
            "cam/aligned/compressedDepth": CompressedImage(
                header=header, format="16UC1; compressedDepth png", data=depth
            ),
            # late, as nobody pairs it
            "a/mask": image_message(Header(stamp=stamp_from_ns(1)), white),
        }


@contextmanager
def vo_node(*ros_args: str) -> Iterator[None]:
    """A real one in a process of its own, rgbd, in the frame of the camera."""
    given = ["-p", "mode:=rgbd", "-p", "frame_id:=''", "-p", "num_threads:=1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "alike_ros.nodes.vo_node", "--ros-args", *given, *ros_args],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert any("waiting for messages" in line for line in process.stdout)
        yield
    finally:
        process.terminate()
        process.communicate()


@pytest.fixture(scope="module")
def graph() -> Iterator[None]:
    """A domain of its own on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        patch.setenv("ROS_DOMAIN_ID", str(free_domain()))
        yield


@pytest.fixture(scope="module")
def driver(graph: None) -> Iterator[Driver]:
    driver = Driver()
    yield driver
    driver.close()


def found_when(accept: Callable[[list[str]], bool], config: NodeConfig, *ros_args: str) -> Any:
    """The findings that are not OK, as soon as they are accepted."""
    for _ in range(TRIES):
        found = bad(examine_graph(config, 0.6, list(ros_args)))
        if accept(found):
            break
    return found


RGBD = NodeConfig(mode="rgbd", frame_id="")


COMPRESSED = replace(RGBD, image_transport="compressed", depth_transport="compressedDepth")
REMAPPED = (
    *("-r", "rgb/image:=/cam/color", "-r", "rgb/camera_info:=/cam/info"),
    *("-r", "depth/image:=/cam/aligned"),
)


def bad(findings: list[Finding]) -> list[str]:
    return [f"{f.area} {f.text}" for f in findings if f.severity is not Severity.OK]


def test_a_graph_that_is_well(driver: Driver, tmp_path: Path) -> None:
    driver.spoil = lambda messages: None
    options = ["--mode", "rgbd", "--seconds", "2", "--set", "frame_id="]
    for _ in range(TRIES):
        code = main(["doctor", "--json", str(tmp_path / "found.json"), *options])
        document = json.loads((tmp_path / "found.json").read_text())
        if code == 0:
            break
    assert code == 0, document
    texts = [f"{f['area']} {f['text']}" for f in document["findings"]]
    assert "/rgb/image published by driver, best_effort" in texts, texts
    rate = next(t for t in texts if t.startswith("/rgb/image") and " Hz" in t)
    assert abs(float(rate.split()[1]) - RATE_HZ) < 4  # 10.0 measured
    assert any(t.startswith("/rgb/camera_info 640x480, fx 500.0") for t in texts)
    assert any(t.startswith("/depth/image 640x480, 100 % known") for t in texts)
    assert any(t.startswith("/depth/image stamps are 0.0 ms from those of /rgb/im") for t in texts)
    assert "TF camera <- camera is known" in texts


def shift_depth(messages: dict[str, Any]) -> None:
    stamp = messages["rgb/image"].header.stamp
    late = stamp_from_ns(stamp_to_ns(stamp) - 40_000_000)
    messages["depth/image"].header = Header(stamp=late, frame_id="camera")


def zero_k(messages: dict[str, Any]) -> None:
    messages["rgb/camera_info"].k = np.zeros(9)


def other_size(messages: dict[str, Any]) -> None:
    messages["rgb/camera_info"].width = 1280


def dark(messages: dict[str, Any]) -> None:
    messages["rgb/image"].data = bytes(len(messages["rgb/image"].data))


def unknown_encoding(messages: dict[str, Any]) -> None:
    messages["rgb/image"].encoding = "yuv420"


def future(messages: dict[str, Any]) -> None:
    for message in messages.values():
        message.header.stamp.sec += 100


def unstamped(messages: dict[str, Any]) -> None:
    for message in messages.values():
        message.header.stamp = stamp_from_ns(0)


def no_depth(messages: dict[str, Any]) -> None:
    del messages["depth/image"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shift_depth, "/depth/image stamps are 40.0 ms"),
        (zero_k, "/rgb/camera_info K of camera_info is all zero"),
        (other_size, "/rgb/camera_info is for 1280x480, /rgb/image is 640x480"),
        (dark, "/rgb/image the image is too dark"),
        (unknown_encoding, "/rgb/image image encoding 'yuv420' is unknown"),
        (future, "s in the future"),
        (unstamped, "/rgb/image stamps are 0"),
        (no_depth, "/depth/image no message within 0.6 s"),
    ],
)
def test_a_fault_is_found(driver: Driver, spoil: Any, words: str) -> None:
    driver.spoil = spoil
    found = found_when(lambda texts: any(words in text for text in texts), RGBD)
    assert any(words in text for text in found), found


def test_topics_under_other_names(driver: Driver) -> None:
    """Nothing on the default ones of mono: the images that there are get named."""
    driver.spoil = lambda messages: None
    config = NodeConfig(mode="mono", frame_id="")
    for _ in range(TRIES):
        found = examine_graph(config, 0.2, [])
        if any(f.area == "/image" for f in found):
            break
    missing = next(f for f in found if f.area == "/image")
    assert missing.severity is Severity.ERROR
    assert "images are on /depth/image, /rgb/image" in missing.text
    assert "-r image:=TOPIC" in missing.remedy
    remapped = ["-r", "image:=/rgb/image", "-r", "camera_info:=/rgb/camera_info"]
    assert found_when(lambda texts: not texts, config, *remapped) == []


def test_base_without_transform(driver: Driver) -> None:
    driver.spoil = lambda messages: None
    for _ in range(TRIES):
        found = examine_graph(NodeConfig(mode="rgbd"), 1.0, [])
        if any(f.area == "TF" for f in found):
            break
    assert any(f.area == "TF" for f in found), bad(found)
    tf = next(f for f in found if f.area == "TF")
    assert tf.severity is Severity.ERROR
    assert "base_link" in tf.text


def test_two_publishers_and_a_subscriber_that_asks_too_much(driver: Driver) -> None:
    driver.spoil = lambda messages: None
    other = Driver(name="other")
    try:
        other.node.create_subscription(PointCloud2, "keypoints", lambda _: None, OUTPUT)
        wanted = ("/rgb/image has 2 publishers", "/keypoints other gets nothing")
        found = found_when(lambda texts: all(any(w in t for t in texts) for w in wanted), RGBD)
        assert all(any(w in text for text in found) for w in wanted), found
    finally:
        other.close()


def test_raw_pair_that_tf_and_camera_info_place_elsewhere() -> None:
    stereo = open_sequence("render:room?frames=1", "stereo").stereo
    assert stereo is not None
    left, right = camera_info_messages(Header(frame_id="left"), stereo)
    right.header = Header(frame_id="right")
    for turn, told in ((0.0, False), (0.01, True)):
        turned = from_Rt(rotation_exp(np.array([turn, 0, 0])), np.zeros(3))
        in_tf = turned @ stereo.right_from_left
        found = bad(list(examine_pair("/right", left, right, False, lambda *_, t=in_tf: t)))
        assert bool(found) == told
    assert "rotations are 0.57 deg apart. TF counts" in found[0]


def test_our_running_node_is_asked_for_its_topics(driver: Driver) -> None:
    """Mode and names are those of the node, not of the options."""
    driver.spoil = lambda messages: None
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = rclpy.create_node("vo", context=context, namespace="robot")
    node.create_publisher(PointCloud2, "keypoints", QoSProfile(depth=1))
    for kind, topic in ((Image, "/rgb/image"), (CameraInfo, "/rgb/camera_info")):
        node.create_subscription(kind, topic, lambda _: None, INPUT)
    try:
        for _ in range(TRIES):
            found = examine_graph(NodeConfig(mode="stereo", frame_id=""), 1.0, [])
            if not bad(found):
                break
    finally:
        node.destroy_node()
        context.try_shutdown()
    graph = next(f for f in found if f.area == "graph")
    assert graph.text == "our nodes: /robot/vo; examined: /rgb/camera_info, /rgb/image"
    assert not bad(found)


def examined(config: NodeConfig, *ros_args: str) -> list[Finding]:
    """The findings; all is well within some tries."""
    for _ in range(TRIES):
        found = examine_graph(config, 1.0, list(ros_args))
        if not bad(found):
            break
    assert not bad(found)
    return found


def test_a_real_node_that_has_no_mask(driver: Driver) -> None:
    driver.spoil = lambda messages: None
    with vo_node():
        found = examined(NodeConfig(frame_id=""))
    graph = next(f for f in found if f.area == "graph")
    assert graph.text == "our nodes: /vo; examined: /rgb/camera_info, /rgb/image, /depth/image"


def test_a_real_node_with_a_mask_and_compressed_images(graph: None) -> None:
    """By its own parameters and names; and, once it has ended, by the options."""
    driver = CompressedDriver("/")
    topics = "/cam/info, /cam/color/compressed, /cam/aligned/compressedDepth"
    transports = ("-p", "image_transport:=compressed", "-p", "depth_transport:=compressedDepth")
    try:
        with vo_node(*REMAPPED, "-r", "mask:=/a/mask", *transports):
            running = examined(NodeConfig(frame_id=""))
        alone = examined(COMPRESSED, *REMAPPED)
        texts = [f"{f.area} {f.text}" for f in running]
        assert sorted(topics.split(", ")) == sorted(
            next(t for t in texts if t.startswith("graph")).split("examined: ")[1].split(", ")
        )
        for found in (running, alone):
            texts = [f"{f.area} {f.text}" for f in found]
            assert any(t.startswith("/cam/aligned/compressedDepth 640x480, 100 %") for t in texts)
            assert any("stamps are 0.0 ms from those of /cam/color/comp" in t for t in texts)
        driver.spoil = lambda messages: setattr(messages["cam/info"], "width", 1280)
        words = "/cam/info is for 1280x480, /cam/color/compressed is 640x480"
        found = found_when(lambda texts: words in " ".join(texts), COMPRESSED, *REMAPPED)
        assert any(words in text for text in found), found
    finally:
        driver.close()
