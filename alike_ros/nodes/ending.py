"""When a node's process should end: at SIGINT or SIGTERM. No ROS here."""

from __future__ import annotations

import signal

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Ending:
    """Notes the first signal; the second raises KeyboardInterrupt, for what takes too long.

    In place of rclpy's own handlers, which shut the context down and wake its executor from a
    thread of theirs: when the main thread frees what that thread uses, the process crashes.
    """

    def __init__(self) -> None:
        self.is_due = False
        self._before = {kind: signal.signal(kind, self._note) for kind in SIGNALS}

    def close(self) -> None:
        """Brings the handlers from before back."""
        for kind, handler in self._before.items():
            signal.signal(kind, handler)

    def _note(self, *_: object) -> None:
        if self.is_due:
            raise KeyboardInterrupt
        self.is_due = True
