"""Memory that a long-lived process has freed, given back to the system."""

from __future__ import annotations

import ctypes
import time


def give_back() -> None:
    """What the heaps keep of freed memory, in pieces between what is in use, with glibc.

    It grows: 15 % more after ten minutes of images, 20 % after a hundred configurations. Takes a
    millisecond, in which nobody gets memory. To keep blocks of image size out of the heaps
    (M_MMAP_THRESHOLD) costs several milliseconds a frame: the system clears each of their pages.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class GivingBack:
    """Does so from time to time."""

    def __init__(self, period_s: float = 1.0) -> None:
        self._period_s = period_s
        self._due = time.monotonic()

    def __call__(self) -> None:
        """If it is due."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + self._period_s
            give_back()
