"""Sequences for the ROS tests."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
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
