"""Threads that share the work on one image, where compiled code lets go of Python's lock."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

P = TypeVar("P")
R = TypeVar("R")


class Team:
    """The caller's thread and `size` - 1 more, which end with this object.

    A thread that wakes up is often put on the processor of the one that woke it, and waits there
    until that has done its own part: of a network that ran every 30 ms, in nine calls of ten. So
    the others are told beforehand to keep off the caller's processor: for blocks 1 and 2 of
    alike-t, on two cores, 6.8 : 3.8 ms, and the same where other processes used them as well.
    """

    def __init__(self, size: int = 1) -> None:
        self.size = size
        self._off: dict[int, int] = {}  # thread -> the processor that it keeps off
        join = partial(_join, self._off)
        self._others = ThreadPoolExecutor(size - 1, "team", join) if size > 1 else None

    def map(self, work: Callable[[P], R], parts: Iterable[P]) -> list[R]:
        """Results of all parts, in their order; the caller does the first."""
        parts = list(parts)
        if self._others is None or len(parts) < 2:
            return [work(part) for part in parts]
        first, *rest = parts
        self._make_way()
        waiting = [self._others.submit(work, part) for part in rest]
        return [work(first), *(future.result() for future in waiting)]

    def _make_way(self) -> None:
        here = _processor()
        if here is None:
            return
        elsewhere = os.sched_getaffinity(0) - {here}
        for thread, avoided in self._off.copy().items():
            if avoided != here and elsewhere:
                try:
                    os.sched_setaffinity(thread, elsewhere)
                    self._off[thread] = here
                except OSError:  # it is forbidden, or the processors have changed meanwhile
                    del self._off[thread]


def _join(off: dict[int, int]) -> None:
    off[threading.get_native_id()] = -1


def _processor() -> int | None:
    """The number of the processor that runs this thread, where that can be told."""
    return int(_sched_getcpu()) if _sched_getcpu else None


_sched_getcpu = None
if sys.platform == "linux":
    _sched_getcpu = getattr(ctypes.CDLL(None), "sched_getcpu", None)
