"""One thread that works on the newest item. No ROS here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class NewestWorker(Generic[T]):
    """Hands the newest item to `work`, in a thread of its own.

    An item that is replaced before its turn is dropped and counted. `work` must not raise.
    """

    def __init__(self, work: Callable[[T], None]) -> None:
        self.dropped = 0
        self._work = work
        self._item: list[T] = []  # none or one
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="newest-worker", daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Replaces the item that waits, if any."""
        with self._changed:
            self.dropped += len(self._item)
            self._item = [item]
            self._changed.notify()

    def close(self) -> None:
        """Ends the thread after the item that is being worked on."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._item or self._closed)
                if self._closed:
                    return
                item = self._item.pop()
            self._work(item)
