"""One thread that works on the newest items. No ROS here."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class NewestWorker(Generic[T]):
    """Hands items to `work`, in a thread of its own.

    The newest `waiting` items wait for their turn; older ones are dropped and counted. `work` must
    not raise.
    """

    def __init__(self, work: Callable[[T], None], waiting: int = 1) -> None:
        self.dropped = 0
        self._work = work
        self._items: deque[T] = deque(maxlen=waiting)
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="newest-worker", daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Takes the place of the oldest item that waits, if there is no other."""
        with self._changed:
            self.dropped += len(self._items) == self._items.maxlen
            self._items.append(item)
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
                self._changed.wait_for(lambda: self._items or self._closed)
                if self._closed:
                    return
                item = self._items.popleft()
            self._work(item)
