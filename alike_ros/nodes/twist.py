"""How fast the base moves, from two poses. No ROS here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alike_ros.geometry import Array, adjoint, inverse, rotation_exp, rotation_log


@dataclass(frozen=True)
class Timed:
    """A pose of the base at a time.

    own_covariance (6, 6), in the base's axes, is what it has in common with no other pose
    (Estimate); None where it is unknown.
    """

    stamp_ns: int
    odom_from_base: Array
    own_covariance: Array | None


def twist_between(last: Timed | None, now: Timed) -> tuple[Array | None, Array | None]:
    """Mean velocity (linear, angular) (6,) in the base's frame, and its covariance (6, 6).

    None where they are unknown. What both poses are off by in common is no velocity.
    """
    if last is None:
        return None, None
    seconds = (now.stamp_ns - last.stamp_ns) * 1e-9
    step = inverse(last.odom_from_base) @ now.odom_from_base
    rotvec = rotation_log(step[:3, :3])
    # a constant twist's translation lies along the axes halfway, up to the square of the angle
    linear = rotation_exp(rotvec / 2).T @ step[:3, 3]
    twist = np.concatenate([linear, rotvec]) / seconds
    if last.own_covariance is None or now.own_covariance is None:
        return twist, None
    to_now = adjoint(inverse(step))
    covariance = to_now @ last.own_covariance @ to_now.T + now.own_covariance
    return twist, np.asarray(covariance / seconds**2)
