"""When messages of one topic came. No ROS here."""

from __future__ import annotations

#: Seconds without a message after which a topic is silent.
SILENCE_S = 5.0


class Arrivals:
    """Counts messages; times are seconds of any steady clock."""

    def __init__(self, now: float) -> None:
        self.count = 0
        self.silent = False
        self.rate_hz = 0.0
        self._newest = self._looked = now
        self._counted = 0

    def add(self, now: float) -> None:
        """A message came."""
        self.count += 1
        self._newest = now

    def look(self, now: float) -> None:
        """Measures the rate since the last look, and whether the topic is silent."""
        self.rate_hz = (self.count - self._counted) / max(now - self._looked, 1e-9)
        self._looked, self._counted = now, self.count
        self.silent = now - self._newest >= SILENCE_S
