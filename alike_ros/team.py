"""Threads that share the work on one image, where NumPy and OpenCV let go of Python's lock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

P = TypeVar("P")
R = TypeVar("R")


class Team:
    """The caller's thread and `size` - 1 more, which end with this object."""

    def __init__(self, size: int = 1) -> None:
        self.size = size
        self._others = ThreadPoolExecutor(size - 1, "team") if size > 1 else None

    def map(self, work: Callable[[P], R], parts: Iterable[P]) -> list[R]:
        """Results of all parts, in their order; the caller does the first."""
        first, *rest = parts
        if self._others is None:
            return [work(part) for part in (first, *rest)]
        waiting = [self._others.submit(work, part) for part in rest]
        return [work(first), *(future.result() for future in waiting)]
