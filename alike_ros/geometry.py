"""Rigid motions as 4x4 arrays: `points_in_a = transform(a_from_b, points_in_b)`."""

from __future__ import annotations

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
    b_from_a = np.zeros_like(a_from_b)
    b_from_a[..., :3, :3] = R
    b_from_a[..., :3, 3] = -np.einsum("...ij,...j->...i", R, a_from_b[..., :3, 3])
    b_from_a[..., 3, 3] = 1.0
    return b_from_a


def transform(a_from_b: Array, points_in_b: NDArray[Any]) -> Array:
    """Points (..., 3) of frame b in frame a."""
    return np.asarray(points_in_b @ a_from_b[:3, :3].T + a_from_b[:3, 3])


def skew(v: Array) -> Array:
    """(..., 3) -> (..., 3, 3) with `skew(v) @ x == cross(v, x)`."""
    S = np.zeros((*v.shape, 3))
    S[..., 0, 1], S[..., 0, 2], S[..., 1, 2] = -v[..., 2], v[..., 1], -v[..., 0]
    return np.asarray(S - np.swapaxes(S, -1, -2))


def adjoint(a_from_b: Array) -> Array:
    """(6, 6): carries small motions (translation, rotation) of frame b over to frame a."""
    R, t = a_from_b[:3, :3], a_from_b[:3, 3]
    Ad = np.zeros((6, 6))
    Ad[:3, :3] = Ad[3:, 3:] = R
    Ad[:3, 3:] = skew(t) @ R
    return Ad


def rotation_exp(rotvec: Array) -> Array:
    """Rotation vector (3,), radians -> rotation matrix (Rodrigues)."""
    angle = float(np.linalg.norm(rotvec))
    S = skew(rotvec)
    # sinc keeps both quotients right down to angle 0
    a = np.sinc(angle / np.pi)
    b = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    return np.asarray(np.eye(3) + a * S + b * (S @ S))


def turned(points: NDArray[Any], rotvec: Array, shares: Array) -> Array:
    """Points (3, N), each turned by its share (N,) of a small rotation (3,).

    To second order: of 0.1 rad, 0.0002 are missing.
    """
    S = skew(rotvec)
    across = S @ points
    return np.asarray(points + shares * across + shares * shares / 2 * (S @ across))


def rotation_log(R: Array) -> Array:
    """Rotation matrix -> rotation vector (3,), radians, angle in [0, pi]."""
    x, y, z, w = rotation_to_quat_xyzw(R)
    vector = np.array([x, y, z])
    sine = float(np.linalg.norm(vector))
    if sine < 1e-12:
        return np.asarray(2 * vector)
    return np.asarray(vector * (2 * np.arctan2(sine, w) / sine))


def rotation_to_quat_xyzw(R: Array) -> Array:
    """Rotation matrix -> unit quaternion (x, y, z, w), w >= 0.

    The largest component is found first (Shepperd 1978), so that nothing is divided by a small
    number.
    """
    t = np.trace(R)
    squares = np.array([*(1 + 2 * np.diag(R) - t), 1 + t])  # 4 * (x^2, y^2, z^2, w^2)
    largest = int(squares.argmax())
    cross = np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]])
    if largest == 3:
        quat = np.array([*cross, squares[3]])
    else:
        quat = np.array([*(R[largest] + R[:, largest]), cross[largest]])
        quat[largest] = squares[largest]
    quat = quat / np.linalg.norm(quat)
    return np.asarray(quat if quat[3] >= 0 else -quat)


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
    cosine = (ray0 * ray1).sum(1) / np.linalg.norm(ray0, axis=1) / np.linalg.norm(ray1, axis=1)
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
