"""The robot's frame: where the camera sits on it, and odom -> base on /tf."""

from __future__ import annotations

from typing import Any

import numpy as np
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header

from alike_ros.config import NodeConfig
from alike_ros.geometry import Array, inverse
from alike_ros.nodes.conversions import pose_from_message, transform_message

try:
    import tf2_ros
except ImportError:  # not in the wheels; apt: ros-<distribution>-tf2-ros-py
    tf2_ros = None


#: The newest transform of wheels may be a little older than the image: it is waited for.
_WAIT = Duration(seconds=0.1)


class Frames:
    """Looks up what is fixed to the robot once and keeps it: cameras, an IMU.

    `problem` says why something is unknown. With an empty `frame_id` the base is the camera
    itself.
    """

    def __init__(self, node: Node, config: NodeConfig) -> None:
        self.problem = ""
        self._node = node
        self._frame_id = config.frame_id
        self._guess_frame_id = config.guess_frame_id
        self._inverted = config.invert_tf
        self._known: dict[tuple[str, str], Array] = {}  # by target and source
        self._buffer = self._listener = self._broadcaster = None
        if tf2_ros is None:
            return
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)
        if config.publish_tf:
            self._broadcaster = tf2_ros.TransformBroadcaster(node)

    @property
    def broadcasts(self) -> bool:
        """Whether /tf is published."""
        return self._broadcaster is not None

    def child_frame(self, camera_frame: str) -> str:
        """The frame whose pose is published."""
        return self._frame_id or camera_frame or "camera"

    def base_from_cam(self, camera_frame: str) -> Array | None:
        """Pose of the camera on the base; None, with `problem` set, while it is unknown."""
        pose = self.fixed(self._frame_id or camera_frame, camera_frame)
        if pose is None:
            self.problem += (
                "; nothing is published before it is known: publish it, or set frame_id"
            )
        return pose

    def fixed(self, target: str, source: str) -> Array | None:
        """Pose of one part of the robot on another, target_from_source; None while unknown."""
        if target == source:
            return np.eye(4)
        if (target, source) not in self._known:
            pose = self._look_up(target, source)
            if pose is None:
                return None
            self._known[target, source] = pose
        return self._known[target, source]

    def guess_from_base(self, stamp: Any, base_frame: str) -> Array | None:
        """Pose of the base by guess_frame_id; None, with `problem` set, where it is unknown."""
        if not self._guess_frame_id:
            return None
        if self._buffer is None:
            self.problem = "guess_frame_id has no effect without tf2_ros"
            return None
        try:
            message = self._buffer.lookup_transform(
                self._guess_frame_id, base_frame, Time.from_msg(stamp), _WAIT
            )
        except tf2_ros.TransformException as error:
            self.problem = f"no guess {self._guess_frame_id!r} <- {base_frame!r} on /tf ({error})"
            return None
        return pose_from_message(message.transform)

    def broadcast(
        self,
        header: Header,
        child_frame_id: str,
        odom_from_base: Array,
        guess_from_base: Array | None,
    ) -> None:
        """Sends odom -> base, where tf2_ros is installed and publish_tf is set.

        A base that has a parent already gets no second one: with a guess frame, odom -> that frame
        is sent, and nothing where the guess is unknown.
        """
        if self._broadcaster is None or (self._guess_frame_id and guess_from_base is None):
            return
        if guess_from_base is not None:
            child_frame_id = self._guess_frame_id
            odom_from_base = odom_from_base @ inverse(guess_from_base)
        if self._inverted:
            parent = Header(stamp=header.stamp, frame_id=child_frame_id)
            message = transform_message(parent, header.frame_id, inverse(odom_from_base))
        else:
            message = transform_message(header, child_frame_id, odom_from_base)
        self._broadcaster.sendTransform(message)

    def forget(self) -> None:
        """The clock was set back: newer transforms than what comes would have the say."""
        if self._buffer is not None:
            self._buffer.clear()

    def close(self) -> None:
        """Ends the subscriptions to /tf, and the publisher."""
        if self._listener is not None:
            self._listener.unregister()
        if self._broadcaster is not None:
            self._node.destroy_publisher(self._broadcaster.pub_tf)
        self._listener = self._buffer = self._broadcaster = None

    def _look_up(self, target: str, source: str) -> Array | None:
        if self._buffer is None:
            self.problem = (
                f"the pose of {source!r} on {target!r} cannot be looked up without tf2_ros: "
                "install it (apt: ros-$ROS_DISTRO-tf2-ros-py), or set frame_id to '' for the "
                "odometry of the camera itself"
            )
            return None
        try:
            message = self._buffer.lookup_transform(target, source, Time())
        except tf2_ros.TransformException as error:
            self.problem = f"no transform {target!r} <- {source!r} on /tf or /tf_static ({error})"
            return None
        return pose_from_message(message.transform)
