"""Listens to a topic for a while and keeps what can be said about its messages."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from alike_ros.geometry import Array
from alike_ros.nodes.conversions import stamp_to_ns


@dataclass
class Heard:
    """Messages of one topic: their stamps, when they came (time.monotonic), and the last one."""

    topic: str
    stamps_ns: list[int] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    ages_s: list[float] = field(default_factory=list)  # by the clock that the node follows
    last: Any = None

    def take(self, message: Any, now_ns: int) -> None:
        """A message, and the time of the node's clock."""
        stamp_ns = stamp_to_ns(message.header.stamp)
        self.stamps_ns.append(stamp_ns)
        self.arrivals.append(time.monotonic())
        self.ages_s.append((now_ns - stamp_ns) * 1e-9)
        self.last = message

    @property
    def intervals_s(self) -> Array:
        """Between the stamps of neighbours."""
        return np.diff(np.array(self.stamps_ns, np.float64)) * 1e-9

    @property
    def rate_hz(self) -> float:
        """Of arrival; 0 where fewer than two messages came."""
        if len(self.arrivals) < 2:
            return 0.0
        return (len(self.arrivals) - 1) / max(self.arrivals[-1] - self.arrivals[0], 1e-9)

    @property
    def jitter_ms(self) -> float:
        """Standard deviation of the intervals of arrival."""
        return float(np.diff(self.arrivals).std() * 1e3) if len(self.arrivals) > 2 else 0.0

    @property
    def missing(self) -> float:
        """Share of the messages that the stamps have gaps for."""
        intervals = self.intervals_s
        if len(intervals) < 2 or not np.median(intervals) > 0:
            return 0.0
        expected = np.round(intervals / np.median(intervals)).clip(1).sum() + 1
        return float(1 - len(self.stamps_ns) / expected)

    def offset_ms(self, other: Heard) -> float | None:
        """Median distance of this topic's stamps to the nearest of another; None without any."""
        if not self.stamps_ns or not other.stamps_ns:
            return None
        own, others = np.array(self.stamps_ns), np.array(other.stamps_ns)
        distances = np.abs(own[:, None] - others).min(axis=1)
        return float(np.median(distances) * 1e-6)
