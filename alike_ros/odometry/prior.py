"""What keyframes that have left the map saw of its landmarks: a prior of their positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alike_ros.geometry import Array
from alike_ros.odometry.noise import HUBER, Noise

#: Residuals beyond this many standard deviations are of another landmark.
_GATE = 4.0


@dataclass(frozen=True)
class Prior:
    """Of each of L landmarks: information (L, 3, 3), 0 where there is none, and vector (L, 3).

    The information times the expected position is the vector: where there is information in some
    directions only, there is no expected position, and vectors add up nevertheless.
    """

    information: Array
    vector: Array

    @staticmethod
    def none(count: int) -> Prior:
        """Of landmarks of which nothing is known."""
        return Prior(np.zeros((count, 3, 3)), np.zeros((count, 3)))

    def __getitem__(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Prior:
        """Of some of the landmarks."""
        return Prior(self.information[rows], self.vector[rows])

    def __add__(self, other: Prior) -> Prior:
        """Both together, of the same landmarks."""
        return Prior(self.information + other.information, self.vector + other.vector)

    def extended(self, count: int) -> Prior:
        """With new landmarks behind the others."""
        new = Prior.none(count)
        return Prior(
            np.concatenate([self.information, new.information]),
            np.concatenate([self.vector, new.vector]),
        )

    def replaced(self, rows: NDArray[np.int64], other: Prior) -> Prior:
        """With another one of the landmarks at rows (n,)."""
        information, vector = self.information.copy(), self.vector.copy()
        information[rows], vector[rows] = other.information, other.vector
        return Prior(information, vector)

    def moved(self, motion: Array) -> Prior:
        """After the landmarks have moved by (4, 4), to R p + t."""
        R, t = motion[:3, :3], motion[:3, 3]
        information = R @ self.information @ R.T
        return Prior(information, self.vector @ R.T + information @ t)

    def scaled(self, factor: float) -> Prior:
        """After lengths have been multiplied by a factor."""
        return Prior(self.information / factor**2, self.vector / factor)


def of_sightings(
    cam_from_world: Array, positions: Array, bearings: Array, depths: Array, noise: Noise
) -> Prior:
    """What a camera's bearings (L, 2) and depths (L,), NaN where unknown, tell of its landmarks.

    Linear around their positions (L, 3), with Huber's weights. The pose (4, 4) is taken as known,
    as are those of keyframes that a bundle adjustment holds: the marginal of a landmark, where the
    poses that saw it have been conditioned on.
    """
    R, t = cam_from_world[:3, :3], cam_from_world[:3, 3]
    in_cam = positions @ R.T + t
    J = derivatives(np.broadcast_to(R, (len(positions), 3, 3)), in_cam, depths, noise)
    with np.errstate(divide="ignore", invalid="ignore"):
        bearing = (bearings - in_cam[:, :2] / in_cam[:, 2:]) / noise.keypoint
        inverse_depth = (1 / depths - 1 / in_cam[:, 2]) / noise.inverse_depth
    residuals = np.column_stack([bearing, inverse_depth])  # (L, 3)
    fits = (np.linalg.norm(bearing, axis=1) < _GATE) & (in_cam[:, 2] > 0)
    fits = np.column_stack([fits, fits, fits & (np.abs(inverse_depth) < _GATE)])
    residuals, J = np.where(fits, residuals, 0), np.where(fits[:, :, None], J, 0)
    size = np.linalg.norm(residuals, axis=1)[:, None, None]
    weighted = J * np.minimum(1, HUBER / np.maximum(size, HUBER))
    information = weighted.swapaxes(1, 2) @ J
    vector = information @ positions[:, :, None] + weighted.swapaxes(1, 2) @ residuals[:, :, None]
    return Prior(information, vector[:, :, 0])


def derivatives(cam_from_world: Array, in_cam: Array, depths: Array, noise: Noise) -> Array:
    """Of bearings and inverse depths, in standard deviations, by positions: (K, 3, 3).

    cam_from_world (K, 3, 3): rotations; in_cam (K, 3): positions in the camera; rows of unknown
    depths (K,) are 0.
    """
    x, y, z = in_cam.T
    zero, one = np.zeros_like(z), np.ones_like(z)
    with np.errstate(divide="ignore", invalid="ignore"):
        J = np.stack(
            [
                np.stack([one / z, zero, -x / z**2], axis=1) / noise.keypoint,
                np.stack([zero, one / z, -y / z**2], axis=1) / noise.keypoint,
                np.stack([zero, zero, -one / z**2], axis=1) / noise.inverse_depth,
            ],
            axis=1,
        )
    J[~np.isfinite(depths), 2] = 0
    return np.asarray(J @ cam_from_world)
