"""What others ask for, from any thread, waits for the thread that can do it. No ROS here."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock


class Requests:
    """Those that wait, one of a kind: a later one takes the place of the one before."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: dict[str, Callable[[], None]] = {}

    def add(self, kind: str, act: Callable[[], None]) -> None:
        """Behind all that wait."""
        with self._lock:
            self._waiting.pop(kind, None)
            self._waiting[kind] = act

    def clear(self) -> None:
        """Nothing of it is done."""
        with self._lock:
            self._waiting = {}

    def do(self) -> None:
        """All that wait, in the order in which they came."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for act in waiting.values():
            act()
