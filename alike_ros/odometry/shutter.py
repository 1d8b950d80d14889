"""A rolling shutter reads row after row, so that a camera that turns meanwhile bends the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alike_ros.geometry import Array

#: Standard deviation of a camera's readout time before anything was seen, seconds, and
_READOUT_S = 0.01
#: what is always left of it: a camera may change its mode.
_LEAST_S = 0.001
#: Landmarks that several keyframes have bent are off from the model by this, radians.
_MODEL = 0.008
#: Angular velocity changes by this variance in a second, (rad/s)^2, at first.
_CHANGE = 0.25
#: Rates are means over gaps. That of the moment at which an image is taken is off from the last
#: mean by twice the variance of the difference of two means (of a Wiener process, equal gaps), and
_MOMENTARY = 2.0
#: from that which ends at this moment by half of it.
_ENDED = 0.5
#: Share of the variance of the readout time that leaves images open to momentary rates. All of it
#: costs global shutters a twentieth and more of their precision, as nothing is known of them at
#: first, and gains rolling ones hardly anything.
_OPEN = 0.04
#: Smallest ratio of a bend's variances, so that they can be inverted.
_CONDITION = 1e-6
#: Least share of what the newest frame says in how angular velocity changes; of the first few,
#: each has as much as what was assumed. What it says
_NEWEST = 0.1
#: is up to this many times what was known.
_SUDDEN = 9.0
#: Of what an image is bent otherwise than expected, this share is its own. The rest is what the
#: map has: the landmarks come from images that were expected as badly.
_OWN = 0.5


@dataclass(frozen=True)
class Bend:
    """How far the camera turns from the first row of an image to its last: a rotation vector.

    mean (3,), radians, in the camera's axes, and its covariance (3, 3).
    """

    mean: Array
    covariance: Array


#: Of a global shutter.
STRAIGHT = Bend(np.zeros(3), np.zeros((3, 3)))


@dataclass(frozen=True)
class Exposure:
    """How a view was taken: bent by a turn at turn_rate (3,), rad/s, and by `more` (3,), rad.

    readout_s: what it was straightened with.
    """

    turn_rate: Array
    more: Array
    readout_s: float

    @property
    def bend(self) -> Bend:
        """What was taken out of it."""
        return Bend(self.readout_s * self.turn_rate + self.more, STRAIGHT.covariance)


@dataclass(frozen=True)
class Expected:
    """The bend that a view has against landmarks of a base, before it is matched with them.

    turn_rate (3,): predicted, rad/s, from gap_s seconds ago.
    """

    bend: Bend
    turn_rate: Array
    gap_s: float


class Shutter:
    """The readout time of a camera, as its images tell it.

    The bend of an image is the readout time times the angular velocity, which is known from the
    last poses and changes at random (a Wiener process, whose strength is estimated as well). The
    bend that PnP finds says in turn, with the angular velocity that follows from the pose, how
    long the readout takes: 0 for a global shutter, whose images are taken as straight before long.
    Landmarks are bent as well, by what was not known of the readout time when their keyframe, the
    base, was straightened.
    """

    def __init__(self) -> None:
        self.readout_s = 0.0
        self._variance = _READOUT_S**2
        self._change = _CHANGE  # rad^2/s^2 in a second, for each axis
        self._learned = 1  # views that have told it, and what was assumed

    def expected(self, turn_rate: Array, gap_s: float, base: Exposure | None) -> Expected:
        """For a view that follows; base: None where it is not known how that was taken."""
        base = base or Exposure(turn_rate, np.zeros(3), 0.0)
        H = turn_rate - base.turn_rate
        squared_s = self.readout_s**2 + _OPEN * self._variance
        momentary = _MOMENTARY * self._change * gap_s * squared_s
        along = self._variance * np.outer(H, H)
        covariance = along + (momentary + _CONDITION * np.trace(along)) * np.eye(3)
        return Expected(Bend(self._bend(turn_rate, base), covariance), turn_rate, gap_s)

    def learn(self, expected: Expected, found: Bend, turn_rate: Array, base: Exposure) -> Exposure:
        """From a view that was matched; found: how far it is bent otherwise than expected.

        turn_rate (3,): as its pose tells it, rad/s. The bend is the readout time times what it
        is more than that of the base, and is known as well as PnP, momentary rates and landmarks
        let it be: one step of a Kalman filter.
        """
        H = turn_rate - base.turn_rate
        squared_s = self.readout_s**2 + self._variance
        momentary = _ENDED * self._change * expected.gap_s * squared_s
        spread = self._variance * np.outer(H, H) + (momentary + _MODEL**2) * np.eye(3)
        gain = self._variance * np.linalg.solve(spread + found.covariance, H)
        otherwise = expected.bend.mean + found.mean - self._bend(turn_rate, base)
        self.readout_s += float(gain @ otherwise)
        self._variance = max(self._variance * (1 - float(gain @ H)), _LEAST_S**2)
        change = float(((turn_rate - expected.turn_rate) ** 2).mean()) / expected.gap_s
        self._learned += 1
        share = max(_NEWEST, 1 / self._learned)
        self._change += share * (min(change, _SUDDEN * self._change) - self._change)
        bend = expected.bend.mean + found.mean + self._left(base)
        more = _OWN * (bend - self.readout_s * turn_rate)
        return Exposure(turn_rate, more, self.readout_s)

    def _bend(self, turn_rate: Array, base: Exposure) -> Array:
        """Of an image (3,), against landmarks of a base."""
        return self.readout_s * turn_rate - self._left(base)

    def _left(self, base: Exposure) -> Array:
        """The bend (3,) that landmarks of a base still have."""
        return (self.readout_s - base.readout_s) * base.turn_rate
