"""Rigid motions as 4x4 arrays: `points_in_a = transform(a_from_b, points_in_b)`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def from_Rt(R: NDArray[Any], t: NDArray[Any]) -> Array:
    """Rotation (3, 3) and translation (3,) -> 4x4."""
    T = np.eye(4)
    T[:3, :3] = R
    T[:3, 3] = np.reshape(t, 3)
    return T


def inverse(a_from_b: Array) -> Array:
    """b_from_a; also for stacks (..., 4, 4)."""
    R = np.swapaxes(a_from_b[..., :3, :3], -1, -2)
    b_from_a = np.empty(a_from_b.shape)
    b_from_a[..., :3, :3] = R
    b_from_a[..., :3, 3:] = -(R @ a_from_b[..., :3, 3:])
    b_from_a[..., 3, :] = (0, 0, 0, 1)
    return b_from_a


def transform(a_from_b: Array, points_in_b: NDArray[Any]) -> Array:
    """Points (..., 3) of frame b in frame a."""
    return np.asarray(points_in_b @ a_from_b[:3, :3].T + a_from_b[:3, 3])


def skew(v: Array) -> Array:
    """(3,) -> (3, 3) with `skew(v) @ x == cross(v, x)`."""
    x, y, z = v.tolist()
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])


def adjoint(a_from_b: Array) -> Array:
    """(6, 6): carries small motions (translation, rotation) of frame b over to frame a."""
    R, t = a_from_b[:3, :3], a_from_b[:3, 3]
    Ad = np.zeros((6, 6))
    Ad[:3, :3] = Ad[3:, 3:] = R
    Ad[:3, 3:] = skew(t) @ R
    return Ad


def rotation_exp(rotvec: Array) -> Array:
    """Rotation vector (3,), radians -> rotation matrix (Rodrigues)."""
    # of single numbers, Python's own functions take a fifth of the time that NumPy's do
    x, y, z = rotvec.tolist()
    angle = math.sqrt(x * x + y * y + z * z)
    if not math.isfinite(angle):
        return np.full((3, 3), np.nan)
    half = math.sin(angle / 2)
    small = angle < 1e-8  # where the quotients are what they tend to
    a = 1.0 if small else math.sin(angle) / angle
    b = 0.5 if small else 2 * (half / angle) ** 2
    return np.array(
        [
            [1 - b * (y * y + z * z), b * x * y - a * z, b * x * z + a * y],
            [b * x * y + a * z, 1 - b * (x * x + z * z), b * y * z - a * x],
            [b * x * z - a * y, b * y * z + a * x, 1 - b * (x * x + y * y)],
        ]
    )


def turned(points: NDArray[Any], rotvec: Array, shares: Array) -> Array:
    """Points (3, N), each turned by its share (N,) of a small rotation (3,).

    To second order: of 0.1 rad, 0.0002 are missing. Of 0.0001 rad, the first leaves out 5e-9.
    """
    S = skew(rotvec)
    across = S @ points
    found = points + shares * across
    if abs(rotvec).max() > 1e-4:
        found += shares * shares / 2 * (S @ across)
    return np.asarray(found)


def rotation_log(R: Array) -> Array:
    """Rotation matrix -> rotation vector (3,), radians, angle in [0, pi]."""
    *vector, w = rotation_to_quat_xyzw(R).tolist()
    sine = math.hypot(*vector)
    factor = 2.0 if sine < 1e-12 else 2 * math.atan2(sine, w) / sine
    return np.array([factor * value for value in vector])


def rotation_to_quat_xyzw(R: Array) -> Array:
    """Rotation matrix -> unit quaternion (x, y, z, w), w >= 0.

    The largest component is found first (Shepperd 1978), so that nothing is divided by a small
    number.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = R.tolist()
    trace = xx + yy + zz
    # the quaternion times 4 x, 4 y, 4 z and 4 w: the one with the largest of x^2, y^2, z^2, w^2
    multiples = (
        (1 + 2 * xx - trace, xy + yx, xz + zx, zy - yz),
        (xy + yx, 1 + 2 * yy - trace, yz + zy, xz - zx),
        (xz + zx, yz + zy, 1 + 2 * zz - trace, yx - xy),
        (zy - yz, xz - zx, yx - xy, 1 + trace),
    )
    largest = max(range(4), key=lambda i: multiples[i][i])
    length = math.copysign(math.hypot(*multiples[largest]), multiples[largest][3])
    return np.array([value / length for value in multiples[largest]])


def rotation_from_quat_xyzw(quat_xyzw: NDArray[Any]) -> Array:
    """Quaternion (x, y, z, w), of any length above 0 -> rotation matrix."""
    x, y, z, w = np.asarray(quat_xyzw, np.float64) / np.linalg.norm(quat_xyzw)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def rotation_angle(R: Array) -> float:
    """Angle of a rotation matrix, radians."""
    return float(np.linalg.norm(rotation_log(R)))


def triangulate(bearings0: Array, bearings1: Array, cam1_from_cam0: Array) -> Array:
    """Points (N, 3) in camera 0 seen along bearings (N, 2), (x, y) at z = 1, of two cameras.

    The nearest point to both rays, at the depth along ray 0; NaN where the rays are parallel.
    """
    R, t = cam1_from_cam0[:3, :3], cam1_from_cam0[:3, 3]
    ray0 = np.column_stack([bearings0, np.ones(len(bearings0))]) @ R.T  # in camera 1
    ray1 = np.column_stack([bearings1, np.ones(len(bearings1))])
    # depth0 * ray0 + t is parallel to ray1: cross products with ray1 are equal
    a, b = np.cross(ray1, ray0), -np.cross(ray1, np.broadcast_to(t, ray1.shape))
    norm = (a * a).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        depth0 = np.where(norm > 1e-18, (a * b).sum(1) / norm, np.nan)
    return np.asarray(depth0[:, None] * np.column_stack([bearings0, np.ones(len(bearings0))]))


def parallax_deg(points: Array, centre0: Array, centre1: Array) -> Array:
    """Angles (N,) between the rays from two camera centres (3,) to points (N, 3), degrees."""
    ray0, ray1 = points - centre0, points - centre1
    product, square0, square1 = (
        np.einsum("nd,nd->n", a, b) for a, b in ((ray0, ray1), (ray0, ray0), (ray1, ray1))
    )
    cosine = product / np.sqrt(square0 * square1)
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
