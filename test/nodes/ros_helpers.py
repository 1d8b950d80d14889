"""Sequences for the ROS tests."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from alike_ros.data import CameraFrame, open_sequence


class Part:
    """The first frames of a sequence."""

    def __init__(self, sequence: Any, frames: int) -> None:
        self._sequence = sequence
        self._frames = frames

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sequence, name)

    def __len__(self) -> int:
        return self._frames

    def __iter__(self) -> Iterator[CameraFrame]:
        return islice(iter(self._sequence), self._frames)


def rendered(mode: str, frames: int) -> Part:
    """A rendered room, VGA, with exact depth or a right image."""
    return Part(open_sequence("render:room", mode), frames)


def write_bag(path: Path, sequence: Any, mode: str, plugin: str) -> None:
    """A rosbag2 of a sequence, under the nodes' own topic names; plugin: MCAP or SQLITE3."""
    from rclpy.serialization import serialize_message
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore
    from std_msgs.msg import Header

    from alike_ros.nodes.conversions import camera_info_messages, image_message, stamp_from_ns
    from alike_ros.nodes.topics import INPUTS

    topics = INPUTS[mode]
    camera = sequence.stereo if mode == "stereo" else sequence.camera
    image_topics = [*topics.images, *filter(None, [topics.depth])]
    store = get_typestore(Stores.ROS2_JAZZY)
    with Writer(path, version=9, storage_plugin=StoragePlugin[plugin]) as writer:
        types = dict.fromkeys(image_topics, "Image") | dict.fromkeys(
            topics.camera_infos, "CameraInfo"
        )
        connections = {
            topic: writer.add_connection(f"/{topic}", f"sensor_msgs/msg/{kind}", typestore=store)
            for topic, kind in types.items()
        }
        for frame in sequence:
            header = Header(stamp=stamp_from_ns(frame.stamp_ns), frame_id="camera")
            arrays = [item for item in (frame.image, frame.right, frame.depth) if item is not None]
            messages = [image_message(header, item) for item in arrays]
            messages += camera_info_messages(header, camera)
            for topic, message in zip(types, messages, strict=True):
                data = serialize_message(message)
                writer.write(connections[topic], frame.stamp_ns, data)
