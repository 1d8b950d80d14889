"""Where the map of the odometry lies in the odom frame. No ROS here."""

from __future__ import annotations

import numpy as np

from alike_ros.geometry import Array, adjoint, inverse


class Anchor:
    """Carries poses of the base from the map to odom, across maps: odom -> base never jumps.

    `odom_from_base` is where the base was seen last. Covariances (6, 6) are in the base's axes,
    order (translation, rotation); what one map ends with, the next one starts with.
    """

    def __init__(self, odom_from_base: Array) -> None:
        self.odom_from_base = odom_from_base
        self._odom_from_map = odom_from_base
        self._covariance = self._start_covariance = np.zeros((6, 6))

    def locate(
        self, map_from_base: Array, covariance: Array | None, seen: bool = True
    ) -> tuple[Array, Array | None]:
        """The pose in odom, and its covariance; None where the map's is unknown.

        Not seen: the base is where `move` brought it, and the map's pose a mere prediction.
        """
        if seen:
            self.odom_from_base = self._odom_from_map @ map_from_base
        if covariance is None:
            return self.odom_from_base, None
        carried = _carried(inverse(map_from_base), self._start_covariance)
        self._covariance = carried + covariance
        return self.odom_from_base, self._covariance

    @property
    def odom_from_map(self) -> Array:
        """Where the map begins: the base's pose at its first frame."""
        return self._odom_from_map

    def new_map(self) -> None:
        """The base is at the origin of a new map."""
        self._odom_from_map = self.odom_from_base
        self._start_covariance = self._covariance

    def set_pose(self, odom_from_base: Array, covariance: Array) -> None:
        """The base is there; the map is kept and moves along."""
        map_from_base = inverse(self._odom_from_map) @ self.odom_from_base
        self._odom_from_map = odom_from_base @ inverse(map_from_base)
        self.odom_from_base = odom_from_base
        self._start_covariance = _carried(map_from_base, covariance)
        self._covariance = covariance

    def hold(self, map_from_base: Array) -> None:
        """The map is new or has another scale: the base, which is there in it, does not move."""
        self._odom_from_map = self.odom_from_base @ inverse(map_from_base)

    def move(self, base0_from_base1: Array) -> None:
        """The base has moved without being seen by the odometry."""
        self.odom_from_base = self.odom_from_base @ base0_from_base1


def _carried(a_from_b: Array, covariance: Array) -> Array:
    """Covariance of a pose error in frame b -> of the same error in frame a."""
    to_a = adjoint(a_from_b)
    return np.asarray(to_a @ covariance @ to_a.T)
