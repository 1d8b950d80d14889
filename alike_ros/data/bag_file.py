"""A rosbag2 file and its messages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alike_ros.errors import DataError

#: Rubbish to unpack is refused with any exception: those of rosbags, sqlite3, struct, zstd, lz4.
Damage = Exception

SUFFIXES = (".mcap", ".db3")


class Bag:
    """Topics and messages of a rosbag2 folder, or of one of its .mcap or .db3 files.

    types and counts: topic -> message type and number of messages. The messages' definitions are
    those of ROS 2 Humble, which later releases kept for all types that are read here.
    """

    def __init__(self, path: Path) -> None:
        try:
            from rosbags.rosbag2 import Reader
            from rosbags.typesys import Stores, get_typestore
        except ImportError as error:
            raise DataError("reading bags needs rosbags: pip install rosbags") from error
        self.path = _file_or_folder(path)
        self._reader, self._store = Reader, get_typestore(Stores.ROS2_HUMBLE)
        try:
            with Reader(self.path) as reader:
                self.types = {c.topic: c.msgtype for c in reader.connections}
                self.counts = {topic: info.msgcount for topic, info in reader.topics.items()}
        except Damage as error:
            raise DataError(
                f"{path} cannot be read ({error}); a recording that was cut off is repaired by "
                "`ros2 bag reindex` or `mcap recover`"
            ) from error

    def messages(self, *topics: str) -> Iterator[tuple[str, int, Any]]:
        """(topic, stamp_ns, message) in recorded order; raises DataError where damage begins.

        The stamp is that of the header; of messages that have none, when it was recorded.
        """
        messages = self._messages(topics)
        while True:
            try:
                item = next(messages, None)
            except Damage as error:
                raise DataError(f"{self.path} is damaged: {error}") from error
            if item is None:
                return
            yield item

    def first(self, topic: str) -> Any:
        """The first message of a topic; None if there is none."""
        return next((message for _, _, message in self.messages(topic)), None)

    def _messages(self, topics: tuple[str, ...]) -> Iterator[tuple[str, int, Any]]:
        with self._reader(self.path) as reader:
            connections = [c for c in reader.connections if c.topic in topics]
            if not connections:  # rosbags would read all topics
                return
            for connection, recorded_ns, data in reader.messages(connections):
                message: Any = self._store.deserialize_cdr(data, connection.msgtype)
                stamp = getattr(getattr(message, "header", None), "stamp", None)
                stamp_ns = stamp.sec * 10**9 + stamp.nanosec if stamp else 0
                yield connection.topic, stamp_ns or recorded_ns, message


def _file_or_folder(path: Path) -> Path:
    """A folder without metadata.yaml stands for the only file in it."""
    if path.is_file() or (path / "metadata.yaml").is_file():
        return path
    if not path.exists():
        raise DataError(f"{path} does not exist")
    files = [file for file in path.iterdir() if file.suffix in SUFFIXES]
    if len(files) != 1:
        raise DataError(f"{path} lacks metadata.yaml: run `ros2 bag reindex {path}`")
    return files[0]
