"""`tracking_node`: keypoints (and depth, or right keypoints) -> odometry."""

from __future__ import annotations

import sys
from typing import Any

from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from alike_ros.nodes.calibration import Rig
from alike_ros.nodes.commands import Commands
from alike_ros.nodes.conversions import features_from_cloud
from alike_ros.nodes.depth import depth_from, depth_inputs
from alike_ros.nodes.pipeline_node import PipelineNode, run
from alike_ros.nodes.topics import INPUTS
from alike_ros.nodes.tracking import Tracking


class TrackingNode(PipelineNode):
    """What `features_node` publishes in, `odom` out."""

    def __init__(self) -> None:
        super().__init__("tracking")
        self._tracking = Tracking(self)
        self._commands = Commands(self, self._tracking)

    def set_up(self) -> None:
        """Starts at the origin."""
        self._tracking.load()

    def tear_down(self) -> None:
        """Forgets the map."""
        self._tracking.unload()

    def inputs(self) -> list[tuple[type, str]]:
        """Keypoints of one image or of left and right; depth."""
        topics = INPUTS[self.config.mode]
        clouds: list[tuple[type, str]] = [(PointCloud2, topic) for topic in topics.keypoints]
        return clouds + depth_inputs(self)

    def subscribe_more(self) -> None:
        """The IMU."""
        self._tracking.subscribe_imu()

    def process(self, messages: tuple[Any, ...], rig: Rig) -> None:
        """Tracks and publishes."""
        cloud, *others = messages
        depth = depth_from(others[0]) if self.config.mode == "rgbd" else None
        right = features_from_cloud(others[0]) if self.config.mode == "stereo" else None
        self._tracking.track(cloud.header, rig, features_from_cloud(cloud), depth, right)

    def restart(self) -> None:
        """A new map."""
        self._tracking.restart()

    def unusable(self, header: Header, reason: str) -> None:
        """Says so in `~/status` too."""
        super().unusable(header, reason)
        self._tracking.unusable(header, reason)


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run(TrackingNode, args)


if __name__ == "__main__":
    sys.exit(main())
