"""Which topics our nodes need: those that run, or those that the settings ask for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from alike_ros.config import NodeConfig
from alike_ros.nodes.topics import DIAGNOSTICS, INPUTS, KEYPOINTS, OUTPUT, transported

#: Our nodes, by their names.
OURS = ("vo", "features", "tracking")
_KINDS = {
    f"sensor_msgs/msg/{kind.__name__}": kind for kind in (Image, CompressedImage, CameraInfo)
}


@dataclass(frozen=True)
class Expected:
    """A topic that a node needs, and its name before remapping, as far as it is known."""

    topic: str
    kind: type
    role: str


class Reports:
    """What our nodes say of their inputs in /diagnostics.

    `nodes` have reported; they work without the topics that are `optional`. The graph tells
    neither how a node has remapped its `mask` nor that it can do without.
    """

    def __init__(self, node: Node) -> None:
        self.nodes: set[str] = set()
        self.optional: set[str] = set()
        node.create_subscription(DiagnosticArray, DIAGNOSTICS, self._on_message, OUTPUT)

    def _on_message(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if not status.name.endswith(": visual odometry"):
                continue
            keys = {value.key for value in status.values}
            inputs = {key.removeprefix("rate_hz ") for key in keys if key.startswith("rate_hz /")}
            self.nodes.add(status.name)
            self.optional |= {topic for topic in inputs if f"publishers {topic}" not in keys}


def expected_inputs(node: Node, config: NodeConfig, optional: Collection[str]) -> list[Expected]:
    """Of our running nodes, without the optional ones; where none runs, those of the mode.

    Colour comes before depth, left before right.
    """
    found: dict[str, Expected] = {}
    for name, namespace in our_nodes(node):
        for topic, types in node.get_subscriber_names_and_types_by_node(name, namespace):
            for kind in types:
                if kind in _KINDS and topic not in optional:
                    found[topic] = Expected(topic, _KINDS[kind], topic)
    if found:
        return sorted(found.values(), key=lambda item: _order(item.topic))
    topics, resolve = INPUTS[config.mode], node.resolve_topic_name
    images = [(name, config.image_transport) for name in topics.images]
    images += [(topics.depth, config.depth_transport)] if topics.depth else []
    inputs = [(name, *transported(name, transport, resolve)) for name, transport in images]
    inputs += [(name, CameraInfo, name) for name in topics.camera_infos]
    return [Expected(resolve(topic), kind, role) for role, kind, topic in inputs]


def our_nodes(node: Node) -> list[tuple[str, str]]:
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


def image_topics(node: Node) -> list[str]:
    """All there are on the graph."""
    return [
        name
        for name, kinds in node.get_topic_names_and_types()
        if any(kind.endswith(("/Image", "/CompressedImage")) for kind in kinds)
    ]


def _order(topic: str) -> tuple[bool, str]:
    return "depth" in topic.lower() or "right" in topic, topic
