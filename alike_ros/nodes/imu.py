"""The gyroscope of an IMU, which says how the camera turned between two frames."""

from __future__ import annotations

import numpy as np
from sensor_msgs.msg import Imu

from alike_ros.geometry import Array
from alike_ros.nodes.calibration import LookUp
from alike_ros.nodes.conversions import stamp_to_ns
from alike_ros.nodes.gyro import Gyro
from alike_ros.nodes.health import Expected
from alike_ros.nodes.pipeline_node import PipelineNode
from alike_ros.nodes.topics import IMU, INPUT


class ImuInput:
    """Takes `imu`, if anybody publishes it; only its angular velocity is used."""

    def __init__(self, node: PipelineNode) -> None:
        self._node = node

    def subscribe(self) -> None:
        """Forgets what was measured, and waits for more."""
        self._gyro = Gyro()
        self._frame_id = ""
        self._node.health.subscribe(Imu, IMU, self._on_imu, INPUT, expected=Expected.NEVER)

    def turn(self, camera_frame: str, look_up: LookUp, start_ns: int, end_ns: int) -> Array | None:
        """Rotation (3, 3) of the camera, start_from_end; None where it was not measured."""
        turn = self._gyro.turn(start_ns, end_ns)
        if turn is None:
            return None
        cam_from_imu = look_up(camera_frame, self._frame_id)
        if cam_from_imu is None:
            self._ignore(f"no transform {camera_frame!r} <- {self._frame_id!r} is known")
            return None
        R = cam_from_imu[:3, :3]
        return np.asarray(R @ turn @ R.T)

    def _on_imu(self, message: Imu) -> None:
        velocity = message.angular_velocity
        angular_velocity = np.array([velocity.x, velocity.y, velocity.z])
        if message.angular_velocity_covariance[0] == -1:  # as sensor_msgs/Imu has it
            self._ignore("it measures no angular velocity")
        elif not np.isfinite(angular_velocity).all():
            self._ignore("it holds numbers that are not finite")
        else:
            self._frame_id = message.header.frame_id
            self._gyro.add(stamp_to_ns(message.header.stamp), angular_velocity)

    def _ignore(self, reason: str) -> None:
        self._node.warn(IMU, f"{IMU} is ignored: {reason}")
