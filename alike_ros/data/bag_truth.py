"""Truth from the poses in a bag."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

import numpy as np

from alike_ros.data.bag_file import Bag
from alike_ros.errors import DataError
from alike_ros.geometry import Array, from_Rt, inverse, rotation_from_quat_xyzw
from alike_ros.trajectory import Trajectory

_log = logging.getLogger(__name__)


def read_truth(bag: Bag, topic: str, camera_frame: str) -> Trajectory:
    """Poses of nav_msgs/Odometry or geometry_msgs/PoseStamped, turned into those of the camera.

    Odometry names its moving frame, and /tf_static says where the camera is on it. Where either is
    missing, the poses are taken for the camera's.
    """
    poses: dict[int, Array] = {}
    body_frame = camera_frame
    for _, stamp_ns, message in bag.messages(topic):
        body_frame = getattr(message, "child_frame_id", camera_frame)
        pose = getattr(message.pose, "pose", message.pose)  # Odometry has a covariance around it
        poses[stamp_ns] = _matrix(pose.position, pose.orientation)
    body_from_cam = _static_transform(bag, body_frame, camera_frame)
    if body_from_cam is None:
        _log.warning("no transform from %r to %r in /tf_static", body_frame, camera_frame)
        body_from_cam = np.eye(4)
    stamps_ns = sorted(poses)
    return Trajectory.from_poses(stamps_ns, [poses[s] @ body_from_cam for s in stamps_ns])


def _static_transform(bag: Bag, target: str, source: str) -> Array | None:
    """target_from_source along the tree of /tf_static."""
    neighbours: dict[str, list[tuple[str, Array]]] = {}
    for _, _, message in bag.messages("/tf_static"):
        for t in message.transforms:
            parent, child = t.header.frame_id, t.child_frame_id
            parent_from_child = _matrix(t.transform.translation, t.transform.rotation)
            neighbours.setdefault(parent, []).append((child, parent_from_child))
            neighbours.setdefault(child, []).append((parent, inverse(parent_from_child)))
    target_from = {target: np.eye(4)}
    queue = deque([target])
    while queue:
        frame = queue.popleft()
        for other, frame_from_other in neighbours.get(frame, []):
            if other not in target_from:
                target_from[other] = target_from[frame] @ frame_from_other
                queue.append(other)
    return target_from.get(source)


def _matrix(position: Any, quaternion: Any) -> Array:
    quat_xyzw = np.array([quaternion.x, quaternion.y, quaternion.z, quaternion.w])
    if not quat_xyzw.any():
        raise DataError("the bag holds a pose with quaternion 0")
    R = rotation_from_quat_xyzw(quat_xyzw)
    return from_Rt(R, np.array([position.x, position.y, position.z]))
