"""How others steer the odometry: services, and a topic that sets the pose."""

from __future__ import annotations

from typing import Any

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from std_srvs.srv import Empty, Trigger

from alike_ros.nodes.conversions import base_covariance, pose_from_message
from alike_ros.nodes.pipeline_node import PipelineNode
from alike_ros.nodes.topics import OUTPUT, PAUSE_ODOM, RESET, RESET_ODOM, RESUME_ODOM, SET_POSE
from alike_ros.nodes.tracking import Tracking


class Commands:
    """Offers them from the node's start; they act from the next frame on."""

    def __init__(self, node: PipelineNode, tracking: Tracking) -> None:
        self._node = node
        self._tracking = tracking
        node.create_service(Empty, RESET_ODOM, self._on_reset_odom)
        node.create_service(Empty, PAUSE_ODOM, self._on_pause)
        node.create_service(Empty, RESUME_ODOM, self._on_resume)
        node.create_service(Trigger, RESET, self._on_reset)
        node.create_subscription(PoseWithCovarianceStamped, SET_POSE, self._on_set_pose, OUTPUT)

    def _on_reset_odom(self, request: Empty.Request, response: Empty.Response) -> Empty.Response:
        self._tracking.reset()
        self._node.get_logger().info("reset: a new map starts at initial_pose")
        return response

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._tracking.reset()
        response.success = True
        response.message = "a new map starts at initial_pose with the next frame"
        return response

    def _on_pause(self, request: Empty.Request, response: Empty.Response) -> Empty.Response:
        self._node.paused = True
        self._node.get_logger().info(f"paused until {RESUME_ODOM} is called")
        return response

    def _on_resume(self, request: Empty.Request, response: Empty.Response) -> Empty.Response:
        self._node.paused = False
        self._node.get_logger().info("resumed")
        return response

    def _on_set_pose(self, message: PoseWithCovarianceStamped) -> None:
        problem = self._problem(message)
        if problem:
            self._node.warn(SET_POSE, f"{SET_POSE} is ignored: {problem}")
            return
        pose = pose_from_message(message.pose.pose)
        self._tracking.set_pose(pose, base_covariance(pose, message.pose.covariance))

    def _problem(self, message: Any) -> str:
        """Why a pose cannot be taken; empty if it can."""
        if not self._tracking.is_loaded:
            return "the node is not configured: set initial_pose, or send it later"
        odom = self._node.config.odom_frame_id
        if message.header.frame_id not in ("", odom):
            return f"it is in frame {message.header.frame_id!r}, expected {odom!r}"
        p, q = message.pose.pose.position, message.pose.pose.orientation
        length = np.linalg.norm([q.x, q.y, q.z, q.w])
        if not np.isfinite([p.x, p.y, p.z, length, *message.pose.covariance]).all():
            return "it holds numbers that are not finite"
        if length < 1e-6:
            return "its orientation is no quaternion"
        if min(message.pose.covariance[::7]) < 0:
            return "its covariance has negative variances"
        return ""
