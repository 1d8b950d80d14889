"""A rosbag2 recording, read without ROS."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alike_ros.camera import Camera, StereoCamera
from alike_ros.data.bag_file import Bag
from alike_ros.data.bag_topics import IMAGE_TYPES, Topics, choose_topics
from alike_ros.data.bag_truth import read_truth
from alike_ros.data.calibration import find_camera, find_stereo
from alike_ros.data.files import check_size
from alike_ros.data.sequence import CameraFrame
from alike_ros.errors import DataError
from alike_ros.images import (
    DEPTH_ENCODINGS,
    camera_from_info,
    depth_from_compressed,
    depth_from_message,
    image_from_compressed,
    image_from_message,
    stereo_from_infos,
)

#: Largest difference of the stamps of an image and its depth or right image.
MAX_DELTA_NS = 20_000_000

#: Images that may wait for their partner.
QUEUE_SIZE = 30

_log = logging.getLogger(__name__)


class BagSequence:
    """MCAP or SQLite, a folder with metadata.yaml or a single file; raw or compressed images.

    Topics that are not named are chosen, see `choose_topics`; intrinsics are those of camera_info.
    Images of topics such as image_rect are rectified. Truth is a topic of Odometry or PoseStamped
    that has "truth" in its name, or the one named.
    """

    def __init__(
        self,
        path: str | Path,
        mode: str = "mono",
        camera_file: str | Path | None = None,
        *,
        image: str = "",
        depth: str = "",
        right: str = "",
        camera_info: str = "",
        right_camera_info: str = "",
        truth: str = "",
    ) -> None:
        self._bag = Bag(Path(path))
        self.name = self._bag.path.stem
        wanted = Topics(image, depth, right, camera_info, right_camera_info, truth)
        images = [topic for topic, kind in self._bag.types.items() if kind in IMAGE_TYPES]
        firsts = {topic: first for topic in images if (first := self._bag.first(topic))}
        depths = {topic for topic, message in firsts.items() if _is_depth(topic, message)}
        self._topics = choose_topics(str(path), mode, wanted, self._bag.types, set(firsts), depths)
        _log.info("%s: %s", path, {k: v for k, v in vars(self._topics).items() if v})
        cameras = _cameras(self._bag, self._topics, mode, camera_file)
        self.stereo = cameras if isinstance(cameras, StereoCamera) else None
        self.camera = cameras.left if isinstance(cameras, StereoCamera) else cameras
        self.skipped: Counter[str] = Counter()
        self._frame(0, firsts[self._topics.image], firsts.get(self._partner))
        frame_id = firsts[self._topics.image].header.frame_id
        truth = self._topics.truth
        self.truth = read_truth(self._bag, truth, frame_id) if truth else None

    @property
    def _partner(self) -> str:
        return self._topics.depth or self._topics.right

    def __len__(self) -> int:
        topics = filter(None, (self._topics.image, self._partner))
        return min(self._bag.counts[topic] for topic in topics)

    def __iter__(self) -> Iterator[CameraFrame]:
        self.skipped.clear()
        last_ns = -1
        try:
            for stamp_ns, image, partner in self._pairs() if self._partner else self._singles():
                if stamp_ns <= last_ns:
                    self.skipped["stamp not after the last one"] += 1
                    continue
                try:
                    frame = self._frame(stamp_ns, image, partner)
                except DataError:
                    self.skipped["image damaged or of another size"] += 1
                    continue
                last_ns = stamp_ns
                yield frame
        except DataError as error:
            _log.warning("%s", error)
            self.skipped["rest of a damaged bag"] += 1

    def _singles(self) -> Iterator[tuple[int, Any, Any]]:
        for _, stamp_ns, message in self._bag.messages(self._topics.image):
            yield stamp_ns, message, None

    def _pairs(self) -> Iterator[tuple[int, Any, Any]]:
        """Images with the partner whose stamp is nearest; others are counted."""
        images: deque[tuple[int, Any]] = deque()
        partners: deque[tuple[int, Any]] = deque(maxlen=QUEUE_SIZE)
        for topic, stamp_ns, message in self._bag.messages(self._topics.image, self._partner):
            (images if topic == self._topics.image else partners).append((stamp_ns, message))
            while images and (_is_passed(images[0], partners) or len(images) > QUEUE_SIZE):
                yield from self._paired(images.popleft(), partners)
        for image in images:
            yield from self._paired(image, partners)

    def _paired(
        self, image: tuple[int, Any], partners: deque[tuple[int, Any]]
    ) -> Iterator[tuple[int, Any, Any]]:
        best = min(partners, key=lambda partner: abs(partner[0] - image[0]), default=None)
        if best is None or abs(best[0] - image[0]) > MAX_DELTA_NS:
            self.skipped["no depth image" if self._topics.depth else "no right image"] += 1
        else:
            yield image[0], image[1], best[1]

    def _frame(self, stamp_ns: int, image: Any, partner: Any) -> CameraFrame:
        left, depth, right = _image(image), None, None
        check_size(self._topics.image, left.shape, self.camera)
        if self._topics.depth:
            depth = _depth(partner)
            check_size(self._topics.depth, depth.shape, self.camera)
        elif self.stereo is not None:
            right = _image(partner)
            check_size(self._topics.right, right.shape, self.stereo.right)
        return CameraFrame(stamp_ns, left, depth, right)


def _is_passed(image: tuple[int, Any], partners: deque[tuple[int, Any]]) -> bool:
    """Whether a nearer partner cannot come any more."""
    return bool(partners) and partners[-1][0] >= image[0]


def _is_raw(message: Any) -> bool:
    return hasattr(message, "encoding")


def _is_depth(topic: str, message: Any) -> bool:
    kind = message.encoding if _is_raw(message) else message.format.partition(";")[0]
    return kind in DEPTH_ENCODINGS and (kind != "mono16" or "depth" in topic)


def _image(message: Any) -> NDArray[np.uint8]:
    return image_from_message(message) if _is_raw(message) else image_from_compressed(message)


def _depth(message: Any) -> NDArray[np.float32]:
    return depth_from_message(message) if _is_raw(message) else depth_from_compressed(message)


def _cameras(
    bag: Bag, topics: Topics, mode: str, camera_file: str | Path | None
) -> Camera | StereoCamera:
    folder = bag.path if bag.path.is_dir() else bag.path.parent
    info = bag.first(topics.camera_info)
    if mode == "stereo":
        right_info = bag.first(topics.right_camera_info)
        known = info is not None and right_info is not None
        pair = stereo_from_infos(info, right_info, topics.rectified) if known else None
        return find_stereo(folder, camera_file, pair)
    camera = None if info is None else camera_from_info(info, topics.rectified)
    return find_camera(folder, camera_file, camera)
