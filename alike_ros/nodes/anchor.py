"""Where the map of the odometry lies in the odom frame. No ROS here."""

from __future__ import annotations

import numpy as np

from alike_ros.geometry import Array, adjoint, inverse


class Anchor:
    """Carries poses of the base from the map to odom, across maps: odom -> base never jumps.

    `odom_from_base` is where the base was seen last. Covariances (6, 6) are in the base's axes,
    order (translation, rotation); what one map ends with, the next one starts with. A pose that is
    set has the covariance that is set with it: of the map's own counts what differs from there.
    """

    def __init__(self, odom_from_base: Array) -> None:
        self.odom_from_base = odom_from_base
        self._covariance: Array = np.zeros((6, 6))
        self._start_covariance = self._own_covariance = self._own_at_start = self._covariance
        self._odom_from_map = odom_from_base
        self._is_awaited = False

    def locate(
        self, map_from_base: Array, covariance: Array | None, seen: bool = True
    ) -> tuple[Array, Array | None]:
        """The pose in odom, and its covariance; None where the map's is unknown.

        Not seen: the base is where `move` brought it, and the map's pose a mere prediction.
        """
        if self._is_awaited:
            self._tie(map_from_base, np.zeros((6, 6)) if covariance is None else covariance)
        if seen:
            self.odom_from_base = self._odom_from_map @ map_from_base
        if covariance is None:
            return self.odom_from_base, None
        self._own_covariance = covariance
        base_from_map = inverse(map_from_base)
        since = covariance - move_covariance(base_from_map, self._own_at_start)
        self._covariance = move_covariance(base_from_map, self._start_covariance) + _absolute(
            since
        )
        return self.odom_from_base, self._covariance

    @property
    def odom_from_map(self) -> Array:
        """Where the map begins: the base's pose at its first frame."""
        return self._odom_from_map

    def new_map(self) -> None:
        """The base is at the origin of a new map."""
        self._tie(np.eye(4), np.zeros((6, 6)))

    def set_pose(self, odom_from_base: Array, covariance: Array, seen: bool = True) -> None:
        """The base is there; the map is kept and moves along.

        Not seen: only the next pose tells where in the map that is.
        """
        map_from_base = inverse(self._odom_from_map) @ self.odom_from_base
        self.odom_from_base = odom_from_base
        self._covariance = covariance
        self._tie(map_from_base, self._own_covariance)
        self._is_awaited = not seen

    def hold(self, map_from_base: Array) -> None:
        """The map is new or has another scale: the base, which is there in it, does not move."""
        self._odom_from_map = self.odom_from_base @ inverse(map_from_base)

    def move(self, base0_from_base1: Array) -> None:
        """The base has moved without being seen by the odometry."""
        self.odom_from_base = self.odom_from_base @ base0_from_base1

    def _tie(self, map_from_base: Array, own_covariance: Array) -> None:
        """The base is there in the map, which by itself would give it this covariance."""
        self.hold(map_from_base)
        self._own_covariance = own_covariance
        # both at the map's origin
        self._start_covariance = move_covariance(map_from_base, self._covariance)
        self._own_at_start = move_covariance(map_from_base, own_covariance)
        self._is_awaited = False


def move_covariance(a_from_b: Array, covariance: Array) -> Array:
    """Covariance (6, 6) of a pose error in frame b -> of the same error in frame a.

    Order (translation, rotation) in both: exp(error_a) = a_from_b exp(error_b) inverse(a_from_b).
    """
    to_a = adjoint(a_from_b)
    return np.asarray(to_a @ covariance @ to_a.T)


def _absolute(difference: Array) -> Array:
    """Covariance between two poses whose covariances differ by so much.

    Along a chain of poses each has that of the one before and more, whichever way it is walked: a
    map is as uncertain about the way back to its start as about the way from there.
    """
    values, vectors = np.linalg.eigh((difference + difference.T) / 2)
    return np.asarray((vectors * np.abs(values)) @ vectors.T)
