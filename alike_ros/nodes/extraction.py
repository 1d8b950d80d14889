"""The first half of the pipeline: images -> features."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from std_msgs.msg import Header

from alike_ros.backends import load_extractor
from alike_ros.camera import Camera, StereoCamera
from alike_ros.errors import DataError
from alike_ros.features import Features
from alike_ros.images import image_from_compressed, image_from_message
from alike_ros.nodes.conversions import cloud_from_features
from alike_ros.nodes.pipeline_node import PipelineNode
from alike_ros.nodes.topics import INPUTS, NEWEST


@dataclass(frozen=True)
class Extracted:
    """Features of one image or of left and right, and how long they took."""

    features: list[Features]
    extract_ms: float


class Extraction:
    """Runs the network on image messages and publishes `keypoints` (and `right/keypoints`)."""

    def __init__(self, node: PipelineNode) -> None:
        self._node = node
        self._publishers = [
            node.create_lifecycle_publisher(PointCloud2, topic, NEWEST)
            for topic in INPUTS[node.config.mode].keypoints
        ]
        self._extractor: Any = None

    def load(self) -> None:
        """Loads the network. Raises AlikeError."""
        self._extractor = load_extractor(self._node.config)
        self._node.get_logger().info(f"network: {self._extractor.description}")

    def unload(self) -> None:
        """Frees it."""
        self._extractor = None

    def inputs(self) -> list[tuple[type, str]]:
        """Types and topics of the images."""
        images = INPUTS[self._node.config.mode].images
        if self._node.config.image_transport == "compressed":
            return [(CompressedImage, f"{topic}/compressed") for topic in images]
        return [(Image, topic) for topic in images]

    def extract(self, messages: list[Any], camera: Camera | StereoCamera) -> Extracted:
        """Features of each image. Raises DataError for unusable images."""
        compressed = self._node.config.image_transport == "compressed"
        decode = image_from_compressed if compressed else image_from_message
        self._extractor.detector = self._node.config.detector  # may be set while running
        features, start = [], time.perf_counter()
        for message, one in zip(messages, _cameras(camera), strict=True):
            image = decode(message)
            if image.shape[:2] != (one.height, one.width):
                raise DataError(
                    f"the image is {image.shape[1]}x{image.shape[0]}, "
                    f"but camera_info is for {one.width}x{one.height}"
                )
            features.append(self._extractor(image))
        extract_ms = (time.perf_counter() - start) * 1e3
        values = {
            "network": self._extractor.description,
            "num_features": len(features[0]),
            "extract_ms": extract_ms,
        }
        self._node.health.report(DiagnosticStatus.OK, "extracting", values)
        return Extracted(features, extract_ms)

    def publish(
        self, headers: list[Header], extracted: Extracted, camera: Camera | StereoCamera
    ) -> None:
        """Sends the features, if anybody listens."""
        for publisher, header, features, one in zip(
            self._publishers, headers, extracted.features, _cameras(camera), strict=True
        ):
            if publisher.get_subscription_count():
                bearings = one.bearings(features.keypoints)
                publisher.publish(cloud_from_features(header, features, bearings))


def _cameras(camera: Camera | StereoCamera) -> list[Camera]:
    return [camera] if isinstance(camera, Camera) else [camera.left, camera.right]
