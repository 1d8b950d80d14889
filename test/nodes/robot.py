"""A node under test and one that talks to it, in this process, over DDS."""

from __future__ import annotations

import time
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from alike_ros.camera import Camera
from alike_ros.data import CameraFrame
from alike_ros.nodes.conversions import (
    camera_info_messages,
    image_message,
    stamp_from_ns,
    stamp_to_ns,
    values_of_status,
)
from alike_ros.nodes.topics import OUTPUT


class Robot:
    """Both are turned by hand: nothing happens between the calls of a test."""

    def __init__(self, node: Any, mode: str, camera: Camera) -> None:
        self.node, self.mode, self.camera = node, mode, camera
        self.talker = rclpy.create_node("talker")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(node)
        self.executor.add_node(self.talker)
        self.received: dict[str, list[Any]] = {}
        prefix = {"mono": "", "rgbd": "rgb/", "stereo": "left/"}[mode]
        self.image = self.talker.create_publisher(Image, f"{prefix}image", OUTPUT)
        self.info = self.talker.create_publisher(CameraInfo, f"{prefix}camera_info", OUTPUT)
        self.depth = self.talker.create_publisher(Image, "depth/image", OUTPUT)
        self.listen(DiagnosticStatus, f"{node.get_name()}/status", OUTPUT)
        self.listen(Odometry, "odom", OUTPUT)

    def listen(self, kind: type, topic: str, qos: Any) -> None:
        self.received[topic] = []
        self.talker.create_subscription(kind, topic, self.received[topic].append, qos)

    def statuses(self) -> list[dict[str, str]]:
        messages = self.received[f"{self.node.get_name()}/status"]
        return [values_of_status(message) | {"message": message.message} for message in messages]

    def spin(self, until: Any, seconds: float = 10.0) -> bool:
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() > end:
                return False
            self.executor.spin_once(0.02)
        return True

    def connect(self) -> None:
        raw = self.node.config.image_transport == "raw"
        publisher = self.image if raw else self.info
        assert self.spin(lambda: publisher.get_subscription_count() > 0)
        self.spin(lambda: False, 0.2)

    def calibrate(self) -> None:
        self.info.publish(camera_info_messages(header(0), self.camera)[0])
        self.spin(lambda: False, 0.2)

    def show(self, frame: CameraFrame, image: Any = None) -> None:
        if frame.depth is not None:
            self.show_depth(frame)
        self.show_image(frame, image)

    def show_image(self, frame: CameraFrame, image: Any = None) -> None:
        shown = frame.image if image is None else image
        self.image.publish(image_message(header(frame.stamp_ns), shown))

    def show_depth(self, frame: CameraFrame) -> None:
        self.depth.publish(image_message(header(frame.stamp_ns), frame.depth))

    def status_of(self, stamp_ns: int) -> dict[str, str]:
        """The newest status of a stamp, which may be on its way."""

        def found() -> list[dict[str, str]]:
            return [item for item in self.statuses() if item["stamp_ns"] == str(stamp_ns)]

        assert self.spin(found), self.statuses()
        return found()[-1]

    def call(self, kind: type, name: str) -> Any:
        client = self.talker.create_client(kind, name)
        assert self.spin(client.service_is_ready)
        future = client.call_async(kind.Request())
        assert self.spin(future.done)
        self.talker.destroy_client(client)
        return future.result()

    def track(
        self, frame: CameraFrame, image: Any = None, following: CameraFrame | None = None
    ) -> Odometry:
        """The odometry of one frame.

        following: the next one, whose depth shows that the clock was set back.
        """

        def answers() -> list[Odometry]:
            messages = self.received["odom"]
            return [item for item in messages if stamp_to_ns(item.header.stamp) == frame.stamp_ns]

        before = len(answers())  # a bag that loops brings its stamps again
        self.show(frame, image)
        if following is not None:
            self.show_depth(following)
        assert self.spin(lambda: len(answers()) > before), self.statuses()[-1:]
        return answers()[-1]

    def close(self) -> None:
        self.executor.shutdown()
        self.talker.destroy_node()
        self.node.close()


def header(stamp_ns: int) -> Header:
    return Header(stamp=stamp_from_ns(stamp_ns), frame_id="camera")
