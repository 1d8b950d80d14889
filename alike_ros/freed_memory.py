"""Memory that a long-lived process has freed: reused at once, given back in time. For glibc."""

from __future__ import annotations

import ctypes
import time

#: Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
#: Arrays up to this size, the most that glibc allows, live in the heap.
_ARRAY_BYTES = 32 * 1024 * 1024
#: As much may be free at the heap's end until it is given back: more than a frame ever needs.
_FREE_BYTES = 512 * 1024 * 1024


def give_back() -> None:
    """What the heap keeps of freed memory, in pieces between what is in use: it grows.

    15 % more after ten minutes of images, 20 % after a hundred configurations. Takes a
    millisecond, in which nobody gets memory.
    """
    _call("malloc_trim", 0)


class GivingBack:
    """One heap for all threads, in which the next frame finds the memory of the last one.

    Left alone, glibc asks the system for every array of the size of an image, which clears its
    pages first: 2.5 ms from image to odometry (rgbd, 640x480). To be made before other threads
    begin; then, called often, gives back from time to time.
    """

    def __init__(self, period_s: float = 1.0) -> None:
        _call("mallopt", _M_ARENA_MAX, 1)
        _call("mallopt", _M_MMAP_THRESHOLD, _ARRAY_BYTES)
        _call("mallopt", _M_TRIM_THRESHOLD, _FREE_BYTES)
        self._period_s = period_s
        self._due = time.monotonic()

    def __call__(self) -> None:
        """If it is due."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + self._period_s
            give_back()


def _call(name: str, *arguments: int) -> None:
    """A function of the C library, where it has one of this name."""
    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*arguments)
