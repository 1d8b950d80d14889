"""The unit of length of a map from one camera, by another odometry (wheels). No ROS here."""

from __future__ import annotations

from collections import deque

import numpy as np

from alike_ros.geometry import Array

#: Both paths are compared in steps of this length: far more than the noise of wheels.
STEP_M = 0.1
#: Steps after which the unit is known, and those that it is the median of: it may drift.
MIN_STEPS, MAX_STEPS = 5, 20
#: A ratio of more than this is no unit: the camera, or the other odometry, stood still.
_MAX_RATIO = 1e3


class Scale:
    """Metres per unit of a map: the median ratio of the lengths of steps along two paths.

    Until it is `known` it is what the map before had, 1 for the first.
    """

    def __init__(self) -> None:
        self.metres_per_unit = 1.0
        self.new_map()

    def new_map(self) -> None:
        """Another map, of another unit, begins."""
        self._start: tuple[Array, Array] | None = None
        self._ratios: deque[float] = deque(maxlen=MAX_STEPS)

    @property
    def known(self) -> bool:
        """Whether lengths are metres."""
        return len(self._ratios) >= MIN_STEPS

    def pose(self, world_from_cam: Array) -> Array:
        """In metres."""
        scaled: Array = world_from_cam.copy()
        scaled[:3, 3] *= self.metres_per_unit
        return scaled

    def covariance(self, covariance: Array) -> Array:
        """(6, 6) of (translation, rotation), in m^2 and rad^2."""
        units = np.repeat([self.metres_per_unit, 1.0], 3)
        return np.asarray(covariance * np.outer(units, units))

    def add(self, in_map: Array, in_metres: Array) -> bool:
        """Takes the camera's place (3,) on both paths; whether the scale is another one now."""
        if self._start is None:
            self._start = in_map, in_metres
        units, metres = (
            float(np.linalg.norm(end - start))
            for end, start in zip((in_map, in_metres), self._start, strict=True)
        )
        if metres < STEP_M:
            return False
        self._start = in_map, in_metres
        if metres >= _MAX_RATIO * units:
            return False
        self._ratios.append(metres / units)
        if not self.known:
            return False
        self.metres_per_unit = float(np.median(self._ratios))
        return True
