"""The depth image of mode rgbd, as it is or compressed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from alike_ros.images import depth_from_compressed, depth_from_message
from alike_ros.nodes.pipeline_node import PipelineNode
from alike_ros.nodes.topics import INPUTS


def depth_inputs(node: PipelineNode) -> list[tuple[type, str]]:
    """Its type and topic; none in other modes."""
    topic, transport = INPUTS[node.config.mode].depth, node.config.depth_transport
    if not topic:
        return []
    if transport == "raw":
        return [(Image, topic)]
    return [(CompressedImage, f"{node.resolve_topic_name(topic)}/{transport}")]


def depth_from(message: Any) -> NDArray[np.float32]:
    """Either message -> (H, W) float32 metres, NaN where unknown. Raises DataError."""
    if isinstance(message, CompressedImage):
        return depth_from_compressed(message)
    return depth_from_message(message)
