"""The spacing of frames by their stamps. No ROS here."""

from __future__ import annotations


class Pace:
    """Holds a rate, and measures the gaps between frames, whose stamps ascend."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """The next frame is the first."""
        self._last_ns: int | None = None
        self._due_ns: float = 0.0

    def gap_ms(self, stamp_ns: int) -> float:
        """Time since the frame before; 0 for the first."""
        before, self._last_ns = self._last_ns, stamp_ns
        return 0.0 if before is None else (stamp_ns - before) * 1e-6

    def admits(self, stamp_ns: int, max_rate: float) -> bool:
        """Whether the frame is due at this rate, in Hz; 0 admits all.

        What is due is counted from the last due time, not from the last frame: 10 Hz of a jittery
        30 Hz camera are 10 Hz and not 7.5 Hz.
        """
        if not max_rate:
            return True
        if stamp_ns < self._due_ns:
            return False
        period_ns = 1e9 / max_rate
        self._due_ns = max(self._due_ns, stamp_ns - period_ns / 2) + period_ns
        return True
