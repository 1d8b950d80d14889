"""The first half of the pipeline: images -> features."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header

from alike_ros.backends.together import Together
from alike_ros.camera import Camera
from alike_ros.errors import DataError
from alike_ros.features import Features
from alike_ros.images import image_from_compressed, image_from_message
from alike_ros.nodes.conversions import cloud_from_features, image_message
from alike_ros.nodes.health import Expected
from alike_ros.nodes.pipeline_node import PipelineNode
from alike_ros.nodes.topics import INPUT, INPUTS, MASK, NEWEST, TRACKS_IMAGE, transported
from alike_ros.nodes.tracks import Tracks


@dataclass(frozen=True)
class Extracted:
    """Images, one or left and right, their features, and how long these took."""

    images: list[NDArray[np.uint8]]
    features: list[Features]
    extract_ms: float


class Extraction:
    """Runs the network on image messages.

    Publishes `keypoints` (and `right/keypoints`), and `~/tracks_image`. The newest `mask` counts
    for all images that follow it; of a pair, for the left ones.
    """

    def __init__(self, node: PipelineNode) -> None:
        self._node = node
        self._publishers: list[Any] = []
        self._picture = node.health.publisher(Image, TRACKS_IMAGE, NEWEST)
        self._tracks = Tracks()
        self._mask: NDArray[np.uint8] | None = None
        self._extractor: Together | None = None

    def load(self) -> None:
        """Loads the network, offers its features. Raises AlikeError."""
        cameras = len(INPUTS[self._node.config.mode].images)
        self._extractor = Together(self._node.config, cameras)
        self._publishers = [
            self._node.health.publisher(PointCloud2, topic, NEWEST)
            for topic in INPUTS[self._node.config.mode].keypoints
        ]
        self._node.get_logger().info(f"network: {self._extractor.description}")

    def unload(self) -> None:
        """Frees it."""
        self._extractor = None
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers = []

    def inputs(self) -> list[tuple[type, str]]:
        """Types and topics of the images."""
        config, resolve = self._node.config, self._node.resolve_topic_name
        images = INPUTS[config.mode].images
        return [transported(topic, config.image_transport, resolve) for topic in images]

    def subscribe_mask(self) -> None:
        """Forgets the mask that there was, and waits for another."""
        self._mask = None
        self._node.health.subscribe(Image, MASK, self._on_mask, INPUT, expected=Expected.NEVER)

    def extract(self, messages: list[Any], cameras: list[Camera]) -> Extracted:
        """Features of each image, by its camera. Raises DataError for unusable images."""
        compressed = self._node.config.image_transport == "compressed"
        decode = image_from_compressed if compressed else image_from_message
        images, start = [], time.perf_counter()
        for message, one in zip(messages, cameras, strict=True):
            image = decode(message)
            if image.shape[:2] != (one.height, one.width):
                raise DataError(
                    f"the image is {image.shape[1]}x{image.shape[0]}, "
                    f"but camera_info is for {one.width}x{one.height}"
                )
            images.append(image)
        assert self._extractor is not None  # loaded before anything is subscribed to
        features = self._features(self._extractor, images)
        extract_ms = (time.perf_counter() - start) * 1e3
        values = {
            "network": self._extractor.description,
            "num_features": len(features[0]),
            "extract_ms": extract_ms,
        }
        self._node.health.measured(values)
        return Extracted(images, features, extract_ms)

    def publish(self, headers: list[Header], extracted: Extracted, cameras: list[Camera]) -> None:
        """Sends the features, if anybody listens."""
        for publisher, header, features, one in zip(
            self._publishers, headers, extracted.features, cameras, strict=True
        ):
            if publisher.get_subscription_count():
                seen = features.where(one.has_ray(features.keypoints))
                bearings = one.bearings(seen.keypoints)
                publisher.publish(cloud_from_features(header, seen, bearings))
        if not self._picture.get_subscription_count():
            self._tracks.forget()
            return
        floor = self._node.config.matching.min_similarity
        picture = self._tracks.draw(extracted.images[0], extracted.features[0], floor)
        self._picture.publish(image_message(headers[0], picture))

    def _on_mask(self, message: Image) -> None:
        if message.encoding not in ("mono8", "8UC1"):
            self._node.warn(MASK, f"{MASK} is ignored: it is {message.encoding}, expected mono8")
            return
        try:
            self._mask = image_from_message(message)
        except DataError as error:
            self._node.warn(MASK, f"{MASK} is ignored: {error}")

    def _features(self, extractor: Together, images: list[NDArray[np.uint8]]) -> list[Features]:
        """The best of each image, of the first where the mask is not 0."""
        detector, mask = self._node.config.detector, self._mask
        if mask is None:
            return extractor(images, detector)
        # those that the mask takes away are not to count among the best
        more = replace(detector, top_k=0) if extractor.any_top_k else detector
        first, *others = extractor(images, more)
        features = [self._unmasked(first, images[0], mask), *others]
        return [item.top(detector.top_k or len(item)) for item in features]

    @staticmethod
    def _unmasked(
        features: Features, image: NDArray[np.uint8], mask: NDArray[np.uint8]
    ) -> Features:
        if mask.shape != image.shape[:2]:
            raise DataError(
                f"the mask is {mask.shape[1]}x{mask.shape[0]}, "
                f"but the image is {image.shape[1]}x{image.shape[0]}"
            )
        last = np.array([mask.shape[1] - 1, mask.shape[0] - 1])
        x, y = np.clip(np.rint(features.keypoints).astype(int), 0, last).T
        kept = mask[y, x] > 0
        return Features(
            features.keypoints[kept], features.scores[kept], features.descriptors[kept]
        )
