"""Turns measured by a gyroscope. No ROS here."""

from __future__ import annotations

import threading
from collections import deque
from itertools import pairwise

import numpy as np

from alike_ros.geometry import Array, rotation_exp

#: Measurements that are kept, by age: turns across longer gaps are of no use.
KEPT_NS = 1_000_000_000
#: Longest time that one measurement speaks for: two periods of a slow IMU (50 Hz).
MAX_GAP_NS = 40_000_000


class Gyro:
    """Angular velocities, which one thread brings and another one integrates.

    Their bias is not estimated: over the gaps between frames it turns the camera by less than a
    pixel (0.01 rad/s, 33 ms, 500 px: 0.2 px).
    """

    def __init__(self) -> None:
        self._measured: deque[tuple[int, Array]] = deque()  # ascending stamps; rad/s (3,)
        self._lock = threading.Lock()

    def add(self, stamp_ns: int, angular_velocity: Array) -> None:
        """Takes rad/s (3,) about the axes of the gyroscope."""
        with self._lock:
            if self._measured and stamp_ns <= self._measured[-1][0]:
                if stamp_ns > self._measured[-1][0] - KEPT_NS:
                    return  # late, or twice
                self._measured.clear()  # the clock was set back
            self._measured.append((stamp_ns, angular_velocity))
            while self._measured[0][0] < stamp_ns - KEPT_NS:
                self._measured.popleft()

    def turn(self, start_ns: int, end_ns: int) -> Array | None:
        """Rotation (3, 3) of the gyroscope, start_from_end; None where it was not measured."""
        with self._lock:
            measured = list(self._measured)
        first = int(np.searchsorted([stamp for stamp, _ in measured], start_ns, "right")) - 1
        if first < 0:
            return None
        rotation = np.eye(3)
        known = [*measured[first:], (end_ns, measured[-1][1])]
        for (stamp0, velocity0), (stamp1, velocity1) in pairwise(known):
            if stamp0 >= end_ns:
                break
            if stamp1 - stamp0 > MAX_GAP_NS:
                return None
            seconds = (min(stamp1, end_ns) - max(stamp0, start_ns)) * 1e-9
            rotation = rotation @ rotation_exp((velocity0 + velocity1) / 2 * seconds)
        return rotation
