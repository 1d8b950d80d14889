"""What a pose takes over from the keyframe by which it is tracked: how far that is off itself."""

from __future__ import annotations

import numpy as np

from alike_ros.geometry import Array, adjoint, inverse, rotation_exp, rotation_log, skew
from alike_ros.odometry.local_map import Keyframe


def carried(reference: Keyframe, world_from_cam: Array) -> Array:
    """Covariance (6, 6) of a keyframe's pose, in the frame of a camera that is tracked by it."""
    to_cam = adjoint(inverse(world_from_cam) @ reference.world_from_cam)
    return np.asarray(to_cam @ reference.covariance @ to_cam.T)


def stretch(reference: Keyframe, world_from_cam: Array) -> Array:
    """Error (6, 5) of a camera's pose by what all steps have in common that is wrong with them.

    Columns: shifts too short by their whole; turns too short by theirs; shifts into another
    direction, turned by a radian about each axis of the camera. A calibration may be off like
    that, and keypoints may lie beside what they mark, on the same side of all: with the published
    weights, by 0.4 to 0.6 pixels where the scale of a rendered scene changes, a thousandth of a
    radian. No residual tells it, it only adds up while the camera moves on, and is undone on the
    way back. Covariances consider it without estimating it (Schmidt 1966).
    """
    keyframe_from_cam = inverse(reference.world_from_cam) @ world_from_cam
    R, t = keyframe_from_cam[:3, :3], keyframe_from_cam[:3, 3]
    turn = rotation_log(R)
    errors = adjoint(inverse(keyframe_from_cam)) @ reference.stretch
    errors[:3, 0] += R.T @ t
    half = rotation_exp(turn / 2)  # on average, it moves after half of the turn
    errors[:3, 1] += R.T @ skew(turn) @ t / 2
    errors[3:, 1] += turn
    errors[:3, 2:] -= R.T @ half @ skew(half.T @ t)
    return errors
