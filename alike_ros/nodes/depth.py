"""The depth image of mode rgbd, as it is or compressed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage

from alike_ros.images import depth_from_compressed, depth_from_message
from alike_ros.nodes.pipeline_node import PipelineNode
from alike_ros.nodes.topics import INPUTS, transported


def depth_inputs(node: PipelineNode) -> list[tuple[type, str]]:
    """Its type and topic; none in other modes."""
    topic = INPUTS[node.config.mode].depth
    if not topic:
        return []
    return [transported(topic, node.config.depth_transport, node.resolve_topic_name)]


def depth_from(message: Any) -> NDArray[np.float32]:
    """Either message -> (H, W) float32 metres, NaN where unknown. Raises DataError."""
    if isinstance(message, CompressedImage):
        return depth_from_compressed(message)
    return depth_from_message(message)
