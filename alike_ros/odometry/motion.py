"""Where the camera will be next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from alike_ros.geometry import Array, adjoint, from_Rt, inverse, rotation_exp, rotation_log

#: Of a camera in the hand, rad/s^2: what a prediction is off by.
_ANGULAR_ACCELERATION = 2.0
#: The same, rad/s: what its velocity may be where no two poses have told it yet.
_ANGULAR_VELOCITY = 0.5
#: No camera takes images at a higher rate than these seconds allow.
_SHORTEST_S = 1e-3
#: Poses that are closer in time than this tell no velocity: their errors are as large as the step.
_TELLING_S = 5e-3


class Gyroscope(Protocol):
    """Start and end, nanoseconds -> how the camera turned meanwhile."""

    def __call__(self, start_ns: int, end_ns: int, /) -> Array | None:
        """Rotation (3, 3), start_from_end, in the camera's axes; None where it is unknown."""
        ...


def no_gyroscope(start_ns: int, end_ns: int) -> Array | None:
    """Nothing was measured."""
    return None


@dataclass(frozen=True)
class Moment:
    """A pose of the past; covariance (6, 6) as in Estimate."""

    stamp_ns: int
    world_from_cam: Array
    covariance: Array


class Motion:
    """Constant velocity, from the last two poses that were tracked. It holds for bridge_s.

    A gyroscope knows the rotation better.
    """

    def __init__(self, bridge_s: float, gyroscope: Gyroscope = no_gyroscope) -> None:
        self.bridge_s = bridge_s
        self._gyroscope = gyroscope
        self._before: Moment | None = None  # tells the velocity
        self._next_before: Moment | None = None
        self._last: Moment | None = None
        self._velocity = self._turn_rate = np.zeros(3)  # in the camera, a second

    @property
    def last(self) -> Moment:
        """The last tracked pose; there is one once the map has landmarks."""
        assert self._last is not None
        return self._last

    def remember(self, moment: Moment) -> None:
        """A tracked pose; a velocity across a long gap, or hardly any, says nothing."""
        if self._next_before is None or not self.bridges(moment.stamp_ns):
            self._before, self._next_before = None, moment
        elif moment.stamp_ns - self._next_before.stamp_ns >= _TELLING_S * 1e9:
            self._before, self._next_before = self._next_before, moment
        self._last = moment
        self._velocity = self._turn_rate = np.zeros(3)
        if self._before is not None:
            step = inverse(self._before.world_from_cam) @ moment.world_from_cam
            step_s = (moment.stamp_ns - self._before.stamp_ns) * 1e-9
            self._velocity = step[:3, 3] / step_s
            self._turn_rate = rotation_log(step[:3, :3]) / step_s

    def bridges(self, stamp_ns: int) -> bool:
        """Whether a prediction still counts."""
        return self.gap_s(stamp_ns) <= self.bridge_s

    def predicted(self, stamp_ns: int) -> Array:
        """The pose at a time, world_from_cam: at constant velocity, but not for long."""
        turn = self._gyroscope(self.last.stamp_ns, stamp_ns)
        ahead_s = min(self.gap_s(stamp_ns), self.bridge_s)
        if turn is None:
            turn = rotation_exp(ahead_s * self._turn_rate)
        return self.last.world_from_cam @ from_Rt(turn, ahead_s * self._velocity)

    def turn_rate(self, stamp_ns: int) -> Array:
        """Predicted angular velocity (3,), rad/s, in the camera's axes."""
        gap_s = self.gap_s(stamp_ns)
        turn = self._gyroscope(self.last.stamp_ns, stamp_ns)
        if turn is not None:  # in all of the gap
            return rotation_log(turn) / gap_s
        return self._turn_rate if self.bridge_s else np.zeros(3)

    def drift(self, stamp_ns: int, distance: float) -> Array:
        """Covariance (6, 6) of the way from the last pose to the predicted one.

        The velocity changes like that of a hand-held camera; after the first pose of a map, or the
        first after a long gap, it is not known at all. Shifts are taken to look as large as turns
        on things at a distance, which needs no unit of length.
        """
        gap_s = self.gap_s(stamp_ns)
        turn = _ANGULAR_ACCELERATION / 2 * gap_s**2
        if self._before is None:
            turn += _ANGULAR_VELOCITY * gap_s
        return np.diag([(turn * distance) ** 2] * 3 + [turn**2] * 3)

    def covariance(self, stamp_ns: int, distance: float) -> Array:
        """Of the predicted pose (6, 6): that of the last one, and the drift since then."""
        last = self.last
        to_cam = adjoint(inverse(self.predicted(stamp_ns)) @ last.world_from_cam)
        drift = self.drift(stamp_ns, distance)
        return np.asarray(to_cam @ last.covariance @ to_cam.T + drift)

    def gap_s(self, stamp_ns: int) -> float:
        """Seconds since the last tracked frame; stamps that are closer do not tell velocities."""
        return max((stamp_ns - self.last.stamp_ns) * 1e-9, _SHORTEST_S)
