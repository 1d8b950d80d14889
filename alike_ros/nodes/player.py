"""Publishes frames as ROS messages and collects what the nodes say about them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from alike_ros.camera import Camera, StereoCamera
from alike_ros.data import CameraFrame
from alike_ros.errors import DataError
from alike_ros.nodes.conversions import (
    camera_info_messages,
    image_message,
    stamp_from_ns,
    stamp_to_ns,
    values_of_status,
)
from alike_ros.nodes.topics import DIAGNOSTICS, INPUTS, ODOM, OUTPUT

#: Frame of all images.
CAMERA_FRAME = "camera"
#: A node loads its model meanwhile, on a machine that may be busy.
SERVICE_TIMEOUT_S = 60.0


class Player:
    """A camera on the ROS graph, made of frames.

    `odometry` and `statuses` hold, by stamp, what came back and when it came (perf_counter);
    `published` holds when the images went out; `diagnostics` the newest values of each node.
    """

    def __init__(
        self, camera: Camera | StereoCamera, mode: str, status_topic: str, domain_id: int
    ) -> None:
        self.published: dict[int, float] = {}
        self.odometry: dict[int, tuple[Odometry, float]] = {}
        self.statuses: dict[int, tuple[dict[str, str], float]] = {}
        self.diagnostics: dict[str, dict[str, str]] = {}
        self._camera = camera
        self._mode = mode
        self._changed = threading.Condition()
        self._context = rclpy.Context()
        rclpy.init(
            args=[],
            context=self._context,
            domain_id=domain_id,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self._node = rclpy.create_node("player", context=self._context)
        topics = INPUTS[mode]
        images = [*topics.images, *filter(None, [topics.depth])]
        self._images = [self._node.create_publisher(Image, topic, OUTPUT) for topic in images]
        self._infos = [
            self._node.create_publisher(CameraInfo, topic, OUTPUT) for topic in topics.camera_infos
        ]
        self._node.create_subscription(Odometry, ODOM, self._on_odometry, OUTPUT)
        self._status = self._node.create_subscription(
            DiagnosticStatus, status_topic, self._on_status, OUTPUT
        )
        self._node.create_subscription(DiagnosticArray, DIAGNOSTICS, self._on_diagnostics, OUTPUT)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="player", daemon=True)
        self._thread.start()

    def ready(self, nodes: int) -> bool:
        """Whether so many nodes report that all their inputs have publishers, and we know them."""
        with self._changed:
            reports = list(self.diagnostics.values())
        heard = [values for values in reports if all(_publishers(values))]
        return (
            len(heard) >= nodes
            and all(item.get_subscription_count() for item in [*self._images, *self._infos])
            and self._node.count_publishers(ODOM) > 0
            and self._node.count_publishers(self._status.topic_name) > 0
        )

    def change_state(self, node: str, transition: int) -> bool:
        """Asks a node for a transition (lifecycle_msgs/Transition); whether it was made."""
        client = self._node.create_client(ChangeState, f"{node}/change_state")
        done = threading.Event()
        try:
            if not client.wait_for_service(timeout_sec=SERVICE_TIMEOUT_S):
                return False
            request = ChangeState.Request(transition=Transition(id=transition))
            future = client.call_async(request)
            future.add_done_callback(lambda _: done.set())
            return done.wait(SERVICE_TIMEOUT_S) and bool(future.result().success)
        finally:
            self._node.destroy_client(client)

    def publish_calibration(self, stamp_ns: int) -> None:
        """Sends camera_info alone."""
        header = Header(stamp=stamp_from_ns(stamp_ns), frame_id=CAMERA_FRAME)
        messages = camera_info_messages(header, self._camera)
        for publisher, message in zip(self._infos, messages, strict=True):
            publisher.publish(message)

    def publish(self, frame: CameraFrame) -> None:
        """Sends one frame. Raises DataError when it lacks what the mode needs."""
        header = Header(stamp=stamp_from_ns(frame.stamp_ns), frame_id=CAMERA_FRAME)
        arrays: dict[str, Any] = {
            "mono": [frame.image],
            "rgbd": [frame.image, frame.depth],
            "stereo": [frame.image, frame.right],
        }
        if any(array is None for array in arrays[self._mode]):
            raise DataError(f"the frame at {frame.stamp_ns} has no second image for {self._mode}")
        messages = [image_message(header, array) for array in arrays[self._mode]]
        self.publish_calibration(frame.stamp_ns)
        self.published[frame.stamp_ns] = time.perf_counter()
        for publisher, message in zip(self._images, messages, strict=True):
            publisher.publish(message)

    def answered(self, stamp_ns: int) -> bool:
        """Whether the frame's status, and its odometry if there is any, have come back."""
        if stamp_ns not in self.statuses:
            return False
        return self.statuses[stamp_ns][0]["status"] != "tracking" or stamp_ns in self.odometry

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Whether the condition came true; it is looked at whenever a message arrives."""
        with self._changed:
            return self._changed.wait_for(condition, timeout_s)

    def close(self) -> None:
        """Leaves the graph."""
        self._executor.shutdown()
        self._context.try_shutdown()
        self._thread.join()
        self._node.destroy_node()

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            while self._context.ok():
                self._executor.spin_once(timeout_sec=0.5)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        with self._changed:
            for status in message.status:
                self.diagnostics[status.name] = values_of_status(status)
            self._changed.notify_all()

    def _on_odometry(self, message: Odometry) -> None:
        with self._changed:
            stamp_ns = stamp_to_ns(message.header.stamp)
            self.odometry[stamp_ns] = message, time.perf_counter()
            self._changed.notify_all()

    def _on_status(self, message: DiagnosticStatus) -> None:
        values = values_of_status(message) | {"message": message.message}
        with self._changed:
            self.statuses[int(values["stamp_ns"])] = values, time.perf_counter()
            self._changed.notify_all()


def _publishers(values: dict[str, str]) -> list[int]:
    """How many each input of a node has."""
    return [int(value) for key, value in values.items() if key.startswith("publishers ")]
