"""What is wrong on the ROS graph, from the view of our nodes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import CameraInfo

from alike_ros.config import NodeConfig
from alike_ros.doctor import Finding, error, ok, warning
from alike_ros.errors import DataError
from alike_ros.images import camera_from_info
from alike_ros.nodes.frames import Frames
from alike_ros.nodes.graph_inputs import (
    Expected,
    Reports,
    expected_inputs,
    image_topics,
    our_nodes,
)
from alike_ros.nodes.listener import Heard
from alike_ros.nodes.message_doctor import (
    examine_info,
    examine_pair,
    examine_pixels,
    examine_stamps,
    image_size,
)
from alike_ros.nodes.topics import INPUT, KEYPOINTS, NEWEST, ODOM, OUTPUT

#: Participants announce themselves every 3 s when the first announcements got lost.
DISCOVERY_S = 4.0
#: For what else there is: second publishers, subscribers.
SETTLING_S = 0.5
MAX_MISSING = 0.05
LOSSES = "see `transport` above, and the load of the machine (top)"


def examine_graph(config: NodeConfig, seconds: float, ros_args: list[str]) -> list[Finding]:
    """Listens to the inputs of the running nodes, or of those that `config.mode` needs.

    ros_args: namespace and remappings, as behind --ros-args.
    """
    context = rclpy.Context()
    rclpy.init(
        args=["--ros-args", *ros_args],
        context=context,
        signal_handler_options=SignalHandlerOptions.NO,
    )
    executor = SingleThreadedExecutor(context=context)
    node = rclpy.create_node("alike_doctor", context=context)
    try:
        executor.add_node(node)
        expected = _discover(node, executor, config)
        with closing(_Examination(node, executor, config, seconds, expected)) as examination:
            return list(examination.findings())
    finally:
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()


class _Examination:
    """One look at the graph."""

    def __init__(
        self,
        node: Node,
        executor: SingleThreadedExecutor,
        config: NodeConfig,
        seconds: float,
        expected: list[Expected],
    ) -> None:
        self._node, self._executor = node, executor
        self._config, self._seconds = config, seconds
        self._expected = expected
        self._heard = {item.topic: Heard(item.topic) for item in self._expected}
        self._frames = Frames(node, replace(config, publish_tf=False))

    def close(self) -> None:
        """Ends the subscriptions to /tf."""
        self._frames.close()

    def findings(self) -> Iterator[Finding]:
        """All that is found, topic by topic."""
        images = image_topics(self._node)
        yield ok("ROS", f"rclpy with {get_rmw_implementation_identifier()}")
        if self._config.frame_id and find_spec("tf2_ros") is None:
            yield warning(
                "ROS",
                "tf2_ros is not installed: /tf is neither read nor published",
                "apt install ros-$ROS_DISTRO-tf2-ros-py, or set frame_id to ''",
            )
        if not images and not our_nodes(self._node):
            yield ok("graph", "no images and none of our nodes are on it")
            return
        yield from self._examine_nodes()
        self._listen()
        for item in self._expected:
            yield from self._examine_publishers(item, images)
            yield from self._examine_messages(item)
        yield from self._examine_calibration()
        yield from self._examine_pairing()
        yield from self._examine_frames()
        yield from self._examine_outputs()

    def _examine_nodes(self) -> Iterator[Finding]:
        ours = our_nodes(self._node)
        names = ", ".join(f"{namespace.rstrip('/')}/{name}" for name, namespace in ours)
        text = f"our nodes: {names}" if ours else "none of our nodes runs"
        yield ok("graph", f"{text}; examined: {', '.join(item.topic for item in self._expected)}")

    def _listen(self) -> None:
        """Fills `_heard`."""
        qos = _with_depth(INPUT, 100)
        subscriptions = [
            self._node.create_subscription(
                item.kind, item.topic, partial(self._on_message, item.topic), qos
            )
            for item in self._expected
        ]
        _spin(self._executor, self._seconds)
        for subscription in subscriptions:
            self._node.destroy_subscription(subscription)

    def _on_message(self, topic: str, message: Any) -> None:
        self._heard[topic].take(message, self._node.get_clock().now().nanoseconds)

    def _examine_publishers(self, item: Expected, images: list[str]) -> Iterator[Finding]:
        publishers = self._node.get_publishers_info_by_topic(item.topic)
        if not publishers:
            others = [name for name in images if name != item.topic]
            found = f"; images are on {', '.join(sorted(others))}" if others else ""
            yield error(
                item.topic,
                f"has no publisher{found}",
                f"start the camera, or remap: --ros-args -r {item.role}:=TOPIC (launch file: the "
                "arguments *_topic)",
            )
        for info in publishers:
            qos = info.qos_profile
            text = f"published by {info.node_name}, {qos.reliability.name.lower()}"
            compatibility, reason = qos_check_compatible(qos, INPUT)
            if compatibility == QoSCompatibility.ERROR:
                remedy = "change the publisher's QoS to reliable or best effort, volatile"
                yield error(
                    item.topic, f"{text}: its QoS does not match ours ({_errors(reason)})", remedy
                )
            else:
                yield ok(item.topic, text)
        if len(publishers) > 1:
            yield error(
                item.topic,
                f"has {len(publishers)} publishers, whose messages get mixed",
                "stop all but one (ros2 topic info --verbose names them)",
            )

    def _examine_messages(self, item: Expected) -> Iterator[Finding]:
        heard, area = self._heard[item.topic], item.topic
        if not heard.stamps_ns:
            if self._node.get_publishers_info_by_topic(item.topic):
                text = f"no message within {self._seconds:g} s"
                yield error(area, text, f"is the camera streaming? {LOSSES}")
            return
        if item.kind is CameraInfo:
            yield from examine_info(heard, self._config.rectified_images)
            return
        yield ok(area, f"{heard.rate_hz:.1f} Hz, jitter {heard.jitter_ms:.1f} ms")
        if heard.missing > MAX_MISSING:
            yield warning(area, f"{100 * heard.missing:.0f} % of the messages are missing", LOSSES)
        yield from examine_stamps(heard)
        yield from examine_pixels(heard)

    def _messages(self, infos: bool = False) -> list[Heard]:
        """What was heard of images, or of camera_info, in the order of the roles."""
        expected = (item for item in self._expected if (item.kind is CameraInfo) == infos)
        heard = (self._heard[item.topic] for item in expected)
        return [item for item in heard if item.last is not None]

    def _examine_calibration(self) -> Iterator[Finding]:
        """Sizes of images against camera_info; the baseline of a pair."""
        infos, images = self._messages(infos=True), self._messages()
        for heard, image in zip(infos, images, strict=False):
            try:
                camera = camera_from_info(heard.last, self._config.rectified_images)
                size = image_size(image.last)
            except DataError:
                continue  # was said with its messages
            if (camera.width, camera.height) != size:
                yield error(
                    heard.topic,
                    f"is for {camera.width}x{camera.height}, {image.topic} is {size[0]}x{size[1]}",
                    "take the camera_info of this image; calibrate at this resolution",
                )
        if len(infos) == 2:
            try:
                pair = infos[0].last, infos[1].last
                rectified = self._config.rectified_images
                yield from examine_pair(infos[1].topic, *pair, rectified, self._frames.fixed)
            except DataError as problem:
                yield error(infos[1].topic, str(problem), "calibrate the two cameras together")

    def _examine_pairing(self) -> Iterator[Finding]:
        """Stamps of the images of a group."""
        images = self._messages()
        limit_ms = self._config.approx_sync_max_interval * 1e3 * self._config.approx_sync
        for other in images[1:]:
            offset = images[0].offset_ms(other)
            text = f"stamps are {offset:.1f} ms from those of {images[0].topic} (median)"
            if offset is not None and offset > limit_ms:
                yield error(
                    other.topic,
                    f"{text}, more than the {limit_ms:g} ms that are paired",
                    "let the driver synchronise them, or raise approx_sync_max_interval",
                )
            else:
                yield ok(other.topic, text)

    def _examine_frames(self) -> Iterator[Finding]:
        """Where the camera is on the robot."""
        images = self._messages()
        if not images:
            return
        camera_frame = images[0].last.header.frame_id
        if not camera_frame:
            yield warning("TF", f"{images[0].topic} has no frame_id", "set it in the driver")
        if self._frames.base_from_cam(camera_frame) is None:
            remedy = "run robot_state_publisher or static_transform_publisher"
            yield error("TF", self._frames.problem, remedy)
        else:
            base = self._config.frame_id or camera_frame
            yield ok("TF", f"{base} <- {camera_frame} is known")

    def _examine_outputs(self) -> Iterator[Finding]:
        """Subscribers that get nothing of us, and other publishers of odom."""
        for topic, ours in ((ODOM, OUTPUT), (KEYPOINTS, NEWEST)):
            name = self._node.resolve_topic_name(topic)
            for info in self._node.get_subscriptions_info_by_topic(name):
                compatibility, reason = qos_check_compatible(ours, info.qos_profile)
                if compatibility == QoSCompatibility.ERROR:
                    yield error(
                        name,
                        f"{info.node_name} gets nothing: {_errors(reason)}",
                        f"subscribe {ours.reliability.name.lower().replace('_', ' ')}, volatile",
                    )
        odom = self._node.resolve_topic_name(ODOM)
        names = {info.node_name for info in self._node.get_publishers_info_by_topic(odom)}
        if len(names) > 1:
            text = f"is published by {', '.join(sorted(names))}"
            yield error(odom, text, "remap one of them: -r odom:=vo/odom")


def _discover(node: Node, executor: SingleThreadedExecutor, config: NodeConfig) -> list[Expected]:
    """What our nodes need, once all of it and all of them are seen, or after DISCOVERY_S."""
    reports = Reports(node)
    end = time.monotonic() + DISCOVERY_S
    while time.monotonic() < end and not (
        len(reports.nodes) >= len(our_nodes(node))
        and all(
            node.count_publishers(item.topic)
            for item in expected_inputs(node, config, reports.optional)
        )
    ):
        _spin(executor, 0.1)
    _spin(executor, SETTLING_S)
    return expected_inputs(node, config, reports.optional)


def _errors(reason: str) -> str:
    """Of what rclpy says about two QoS profiles, the part that keeps them apart."""
    parts = [part.strip() for part in reason.split(";")]
    errors = [part.removeprefix("ERROR:").strip() for part in parts if part.startswith("ERROR")]
    return ", ".join(errors).lower()


def _with_depth(qos: QoSProfile, depth: int) -> QoSProfile:
    """The profile with a longer queue: every message counts here."""
    return QoSProfile(depth=depth, history=qos.history, reliability=qos.reliability)


def _spin(executor: SingleThreadedExecutor, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        executor.spin_once(timeout_sec=left)
