"""What is wrong on the ROS graph, from the view of our nodes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from alike_ros.config import NodeConfig
from alike_ros.doctor import Finding, error, ok, warning
from alike_ros.errors import DataError
from alike_ros.images import (
    camera_from_info,
)
from alike_ros.nodes.frames import Frames
from alike_ros.nodes.listener import Heard
from alike_ros.nodes.message_doctor import (
    examine_info,
    examine_pair,
    examine_pixels,
    examine_stamps,
)
from alike_ros.nodes.topics import INPUT, INPUTS, KEYPOINTS, NEWEST, ODOM, OUTPUT

#: Our nodes, by their names.
OURS = ("vo", "features", "tracking")
#: Participants announce themselves every 3 s when the first announcements got lost.
DISCOVERY_S = 4.0
#: For what else there is: second publishers, subscribers.
SETTLING_S = 0.5
MAX_MISSING = 0.05
LOSSES = "see `transport` above, and the load of the machine (top)"


@dataclass(frozen=True)
class Expected:
    """A topic that a node needs, and its name before remapping."""

    topic: str
    kind: type
    role: str


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
        _discover(node, executor, config)
        with closing(_Examination(node, executor, config, seconds)) as examination:
            return list(examination.findings())
    finally:
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()


class _Examination:
    """One look at the graph."""

    def __init__(
        self, node: Node, executor: SingleThreadedExecutor, config: NodeConfig, seconds: float
    ) -> None:
        self._node, self._executor = node, executor
        self._config, self._seconds = config, seconds
        self._expected = _expected(node, config)
        self._heard = {item.topic: Heard(item.topic) for item in self._expected}
        self._frames = Frames(node, replace(config, publish_tf=False))

    def close(self) -> None:
        """Ends the subscriptions to /tf."""
        self._frames.close()

    def findings(self) -> Iterator[Finding]:
        """All that is found, topic by topic."""
        images = _image_topics(self._node)
        yield ok("ROS", f"rclpy with {get_rmw_implementation_identifier()}")
        if self._config.frame_id and find_spec("tf2_ros") is None:
            yield warning(
                "ROS",
                "tf2_ros is not installed: /tf is neither read nor published",
                "apt install ros-$ROS_DISTRO-tf2-ros-py, or set frame_id to ''",
            )
        if not images and not _our_nodes(self._node):
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
        ours = _our_nodes(self._node)
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

    def _messages(self, kind: type) -> list[Heard]:
        """What was heard on the topics of a type, in the order of the roles."""
        items = [self._heard[item.topic] for item in self._expected if item.kind is kind]
        return [heard for heard in items if heard.last is not None]

    def _examine_calibration(self) -> Iterator[Finding]:
        """Sizes of images against camera_info; the baseline of a pair."""
        infos, images = self._messages(CameraInfo), self._messages(Image)
        for heard, image in zip(infos, images, strict=False):
            try:
                camera = camera_from_info(heard.last, self._config.rectified_images)
            except DataError:
                continue  # was said with its messages
            size = image.last.width, image.last.height
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
        images = self._messages(Image) or self._messages(CompressedImage)
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
        images = self._messages(Image) or self._messages(CompressedImage)
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


def _expected(node: Node, config: NodeConfig) -> list[Expected]:
    """The inputs of our running nodes; if there are none, those of the mode."""
    kinds = {f"sensor_msgs/msg/{kind.__name__}": kind for kind in (Image, CompressedImage)}
    kinds["sensor_msgs/msg/CameraInfo"] = CameraInfo
    found: dict[str, Expected] = {}
    for name, namespace in _our_nodes(node):
        for topic, types in node.get_subscriber_names_and_types_by_node(name, namespace):
            for kind in types:
                if kind in kinds:
                    found[topic] = Expected(topic, kinds[kind], topic)
    if found:
        return sorted(found.values(), key=lambda item: _order(item.topic))
    topics = INPUTS[config.mode]
    compressed = config.image_transport == "compressed"
    names: list[tuple[str, type]] = [
        (f"{name}/compressed", CompressedImage) if compressed else (name, Image)
        for name in topics.images
    ]
    names += [(topics.depth, Image)] if topics.depth else []
    names += [(name, CameraInfo) for name in topics.camera_infos]
    return [Expected(node.resolve_topic_name(name), kind, name) for name, kind in names]


def _order(topic: str) -> tuple[bool, str]:
    """Colour before depth, left before right."""
    return "depth" in topic or "right" in topic, topic


def _our_nodes(node: Node) -> list[tuple[str, str]]:
    """(name, namespace) of those that publish odom or keypoints under our names."""
    everybody = node.get_node_names_and_namespaces()
    return [
        (name, namespace)
        for name, namespace in everybody
        if name in OURS
        and any(
            topic.endswith((f"/{name}/status", f"/{KEYPOINTS}"))
            for topic, _ in node.get_publisher_names_and_types_by_node(name, namespace)
        )
    ]


def _image_topics(node: Node) -> list[str]:
    return [
        name
        for name, kinds in node.get_topic_names_and_types()
        if any(kind.endswith(("/Image", "/CompressedImage")) for kind in kinds)
    ]


def _discover(node: Node, executor: SingleThreadedExecutor, config: NodeConfig) -> None:
    """Waits until everything that our nodes need is seen, or for DISCOVERY_S."""
    end = time.monotonic() + DISCOVERY_S
    while time.monotonic() < end and not all(
        node.count_publishers(item.topic) for item in _expected(node, config)
    ):
        _spin(executor, 0.1)
    _spin(executor, SETTLING_S)


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
