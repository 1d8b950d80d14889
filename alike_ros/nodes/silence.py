"""Why no message comes on a topic, in words."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible

#: Topics that are named to somebody who may have meant one of them.
_NAMED = 5


def explain_silence(node: Node, subscription: Any, parameter: str) -> str:
    """What the graph says about a topic's publishers, and what to change.

    parameter: the one that sets the subscription's QoS; empty where none does.
    """
    name, wanted = subscription.topic_name, _type_name(subscription.msg_type)
    publishers = _publishers(node, subscription)
    if not publishers:
        return f"nobody publishes {wanted} there. {_candidates(node, name, wanted)}"
    ours = describe(subscription.qos_profile)
    others = [
        info for info in publishers if not _matches(info.qos_profile, subscription.qos_profile)
    ]
    if others:
        remedy = f"set {parameter} to best_effort, or" if parameter else "please"
        return (
            f"its publisher {_named(others)} cannot serve this subscription ({ours}): {remedy} "
            "let the publisher be reliable"
        )
    return (
        f"its publisher {_named(publishers)} matches this subscription ({ours}), but nothing "
        "arrives. Does the camera run? Fast DDS loses large best-effort images in its default "
        "transports: set FASTDDS_BUILTIN_TRANSPORTS on both sides as the README says, or "
        "image_transport"
    )


def publishers_of(node: Node, topic: str) -> str:
    """Who publishes on a topic, and with which QoS."""
    return f"from {_named(node.get_publishers_info_by_topic(topic))}"


def publisher_names(node: Node, subscription: Any) -> list[str]:
    """The nodes that publish what a subscription wants; one with two publishers comes twice."""
    return sorted(info.node_name for info in _publishers(node, subscription))


def describe(qos: QoSProfile) -> str:
    """Reliability and durability."""
    words = qos.reliability.name.lower(), qos.durability.name.lower()
    return ", ".join(word.replace("_", " ") for word in words)


def _publishers(node: Node, subscription: Any) -> list[Any]:
    wanted = _type_name(subscription.msg_type)
    publishers = node.get_publishers_info_by_topic(subscription.topic_name)
    return [info for info in publishers if info.topic_type == wanted]


def _named(publishers: list[Any]) -> str:
    return ", ".join(f"{info.node_name} ({describe(info.qos_profile)})" for info in publishers)


def _matches(offered: QoSProfile, wanted: QoSProfile) -> bool:
    return bool(qos_check_compatible(offered, wanted)[0] != QoSCompatibility.ERROR)


def _candidates(node: Node, name: str, wanted: str) -> str:
    us = node.get_name(), node.get_namespace()
    own = {topic for topic, _ in node.get_publisher_names_and_types_by_node(*us)}
    others = [
        topic
        for topic, types in node.get_topic_names_and_types()
        if wanted in types and topic != name and node.count_publishers(topic) > (topic in own)
    ]
    if not others:
        return "No other topic has this type either: start the camera"
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return f"Remap it to one of {', '.join(sorted(others)[:_NAMED])}{more}"


def _type_name(message_type: Any) -> str:
    return f"{message_type.__module__.split('.')[0]}/msg/{message_type.__name__}"
