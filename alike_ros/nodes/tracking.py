"""The second half of the pipeline: features -> odometry."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace
from functools import partial

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from nav_msgs.msg import Odometry, Path
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from alike_ros.camera import Camera, StereoCamera
from alike_ros.errors import DataError
from alike_ros.features import Features
from alike_ros.geometry import Array
from alike_ros.nodes.calibration import Rig
from alike_ros.nodes.conversions import (
    cloud_from_points,
    null_odometry,
    odometry_message,
    pose_covariance,
    pose_from_text,
    pose_of_odometry,
    stamp_to_ns,
    stamped_pose,
    status_message,
)
from alike_ros.nodes.frames import Frames
from alike_ros.nodes.imu import ImuInput
from alike_ros.nodes.pipeline_node import PipelineNode
from alike_ros.nodes.placement import Placement
from alike_ros.nodes.requests import Requests
from alike_ros.nodes.topics import LANDMARKS, ODOM, OUTPUT, PATH, POSE, STATUS
from alike_ros.nodes.twist import Timed, twist_between
from alike_ros.odometry import VisualOdometry
from alike_ros.odometry.estimate import Estimate, Status
from alike_ros.odometry.fastest import fastest

_LEVELS = {
    Status.INITIALISING: DiagnosticStatus.WARN,
    Status.TRACKING: DiagnosticStatus.OK,
    Status.DEGRADED: DiagnosticStatus.WARN,
    Status.LOST: DiagnosticStatus.ERROR,
}


class Tracking:
    """Tracks features and publishes `odom`, /tf, `~/pose`, `~/path` and `~/status`.

    The pose continues where it was when a new map starts. What others ask for, from any thread,
    waits for the next frame, so that the odometry is touched by the worker's thread alone.
    """

    def __init__(self, node: PipelineNode) -> None:
        self._node = node
        self._odom = node.health.publisher(Odometry, ODOM, OUTPUT)
        self._pose = node.health.publisher(PoseWithCovarianceStamped, POSE, OUTPUT)
        self._path = node.health.publisher(Path, PATH, OUTPUT)
        self._status = node.health.publisher(DiagnosticStatus, STATUS, OUTPUT)
        self._landmarks = node.health.publisher(PointCloud2, LANDMARKS, OUTPUT)
        self._imu = ImuInput(node)
        self._frames: Frames | None = None
        self._camera: Camera | StereoCamera | None = None
        self._odometry: VisualOdometry | None = None
        self._last: Timed | None = None  # None after frames without a pose
        self._requests = Requests()

    def load(self) -> None:
        """Starts at `initial_pose`. Raises ConfigError."""
        config = self._node.config
        fastest()  # compiles now, not at the first frame
        self._requests.clear()
        self._start_over()
        self._frames = Frames(self._node, config)
        if config.publish_tf and not self._frames.broadcasts:
            self._node.get_logger().info("tf2_ros is not installed: /tf is not published")

    @property
    def is_loaded(self) -> bool:
        """Whether there is an odometry to steer."""
        return self._frames is not None

    def unload(self) -> None:
        """Forgets the map."""
        if self._frames is not None:
            self._frames.close()
        self._frames = self._camera = self._odometry = None

    def subscribe_imu(self) -> None:
        """Between activation and deactivation."""
        self._imu.subscribe()

    def restart(self) -> None:
        """The clock was set back: a new map from the next frame on, at the last pose."""
        if self._frames is not None:
            self._frames.forget()
        self._requests.add("restart", self._continue)

    def reset(self) -> None:
        """A new map from the next frame on, at `initial_pose`."""
        self._requests.clear()
        self._requests.add("reset", self._start_over)

    def set_pose(self, odom_from_base: Array, covariance: Array) -> None:
        """The base is there; covariance (6, 6) in its axes. The map is kept.

        While frames come, where it was seen last; else where it is seen next.
        """
        move = partial(self._move, odom_from_base, covariance, self._node.takes_frames)
        self._requests.add("pose", move)

    def track(
        self,
        header: Header,
        rig: Rig,
        features: Features,
        depth: NDArray[np.float32] | None = None,
        right: Features | None = None,
        extract_ms: float | None = None,
    ) -> None:
        """Publishes what the odometry says about one frame. Raises DataError."""
        assert self._frames is not None
        base_from_cam = self._frames.base_from_cam(header.frame_id)
        if base_from_cam is None:
            raise DataError(self._frames.problem)
        odometry = self._odometry_for(header.frame_id, rig.calibrated(self._frames.fixed))
        start = time.perf_counter()
        estimate = odometry.track(stamp_to_ns(header.stamp), features, depth, right)
        track_ms = (time.perf_counter() - start) * 1e3
        self._publish_pose(header, estimate, base_from_cam)
        times = {} if extract_ms is None else {"extract_ms": extract_ms}
        self._publish_status(estimate, {"num_features": len(features), **times}, track_ms)

    def unusable(self, header: Header, reason: str) -> None:
        """Says so in `~/status`."""
        values = {
            "stamp_ns": stamp_to_ns(header.stamp),
            "status": "unusable",
            "num_matches": 0,
            "num_inliers": 0,
            "is_keyframe": False,
        }
        self._node.health.measured(values)
        self._status.publish(
            status_message(
                DiagnosticStatus.WARN,
                self._node.get_name(),
                reason,
                values | self._node.dropped,
            )
        )

    def _odometry_for(self, camera_frame: str, camera: Camera | StereoCamera) -> VisualOdometry:
        """A new one for a new camera; what was asked for is done before."""
        assert self._frames is not None
        self._requests.do()
        if self._odometry is None or self._camera is not camera:
            if self._odometry is not None:
                self._forget_map()
            self._odometry = VisualOdometry(
                camera,
                self._node.config,
                background=self._node.config.bundle.background,
                gyroscope=partial(self._imu.turn, camera_frame, self._frames.fixed),
            )
            self._camera = camera
        self._odometry.config = self._node.config  # may be set while running
        return self._odometry

    def _continue(self) -> None:
        self._placement.forget_guess()  # the guess frame may have been set back too
        self._forget_map()

    def _forget_map(self) -> None:
        self._reset()
        self._placement.start_map()

    def _start_over(self) -> None:
        config = self._node.config
        self._reset()
        self._placement = Placement(pose_from_text(config.initial_pose))
        self._poses: deque[PoseStamped] = deque(maxlen=config.path_length)

    def _reset(self) -> None:
        if self._odometry is not None:
            self._odometry.reset()
        self._last = None
        self._map_index = 0

    def _move(self, odom_from_base: Array, covariance: Array, seen: bool) -> None:
        last = self._last if seen else None
        self._placement.set_pose(odom_from_base, covariance, seen=last is not None)
        # this is no motion: the twist does not show it
        self._last = last and replace(last, odom_from_base=odom_from_base)

    def _publish_pose(self, header: Header, estimate: Estimate, base_from_cam: Array) -> None:
        assert self._frames is not None
        if estimate.map_index != self._map_index:
            self._map_index = estimate.map_index
            self._last = None  # how the maps lie to each other is not known well enough
            self._placement.new_map()
        child = self._frames.child_frame(header.frame_id)
        header = Header(stamp=header.stamp, frame_id=self._node.config.odom_frame_id)
        guess_from_base = self._guess_from_base(header, child)
        is_carried = self._placement.carry_on(guess_from_base, estimate.status)
        if estimate.world_from_cam is None:
            self._last = None
            if self._node.config.publish_null_when_lost:
                self._odom.publish(null_odometry(header, child))
            if is_carried:
                odom_from_base = self._placement.odom_from_base
                self._frames.broadcast(header, child, odom_from_base, guess_from_base)
            return
        odom_from_base, covariance = self._placement.locate(estimate, base_from_cam, is_carried)
        own = self._placement.in_base(estimate.own_covariance, base_from_cam)
        pose = Timed(estimate.stamp_ns, odom_from_base, own)
        message = odometry_message(
            header,
            child,
            odom_from_base,
            None if covariance is None else pose_covariance(odom_from_base, covariance),
            *twist_between(self._last, pose),
        )
        self._odom.publish(message)
        if self._pose.get_subscription_count():
            self._pose.publish(pose_of_odometry(message))
        self._frames.broadcast(header, child, odom_from_base, guess_from_base)
        self._last = pose
        self._poses.append(stamped_pose(header, odom_from_base))
        if self._path.get_subscription_count():
            self._path.publish(Path(header=header, poses=list(self._poses)))
        if self._landmarks.get_subscription_count() and self._odometry is not None:
            landmarks = self._placement.in_odom(self._odometry.landmarks, base_from_cam)
            self._landmarks.publish(cloud_from_points(header, landmarks))
        if guess_from_base is not None and not estimate.metric_scale:
            self._placement.measure_scale(estimate, base_from_cam, guess_from_base)

    def _guess_from_base(self, header: Header, child: str) -> Array | None:
        """The pose of the base by the guess frame, where that is known."""
        assert self._frames is not None
        guess_from_base = self._frames.guess_from_base(header.stamp, child)
        if guess_from_base is None and self._node.config.guess_frame_id:
            self._node.warn("guess", self._frames.problem)
        return guess_from_base

    def _publish_status(
        self, estimate: Estimate, measured: dict[str, object], track_ms: float
    ) -> None:
        values = {
            "stamp_ns": estimate.stamp_ns,
            "status": estimate.status.value,
            "num_matches": estimate.num_matches,
            "num_inliers": estimate.num_inliers,
            "is_keyframe": estimate.is_keyframe,
            "metric_scale": estimate.metric_scale or self._placement.is_metric,
            **measured,
            "readout_ms": self._odometry.readout_s * 1e3 if self._odometry else 0.0,
            "track_ms": track_ms,
            "wait_ms": self._node.wait_ms,
        }
        level = _LEVELS.get(estimate.status, DiagnosticStatus.WARN)
        self._node.health.report(level, estimate.status.value, values)
        self._status.publish(
            status_message(
                level,
                self._node.get_name(),
                estimate.status.value,
                values | self._node.dropped,
            )
        )
