"""`vo_node`: camera images -> odometry in one process, features handed over as arrays."""

from __future__ import annotations

import sys
from typing import Any

from std_msgs.msg import Header

from alike_ros.nodes.calibration import Rig
from alike_ros.nodes.commands import Commands
from alike_ros.nodes.depth import depth_from, depth_inputs
from alike_ros.nodes.extraction import Extraction
from alike_ros.nodes.pipeline_node import PipelineNode, run
from alike_ros.nodes.tracking import Tracking


class VoNode(PipelineNode):
    """One image, image and depth, or left and right in; `odom` and `keypoints` out."""

    def __init__(self) -> None:
        super().__init__("vo")
        self._extraction = Extraction(self)
        self._tracking = Tracking(self)
        self._commands = Commands(self, self._tracking)

    def set_up(self) -> None:
        """Loads the network, starts at the origin."""
        self._extraction.load()
        self._tracking.load()

    def tear_down(self) -> None:
        """Frees the network, forgets the map."""
        self._extraction.unload()
        self._tracking.unload()

    def inputs(self) -> list[tuple[type, str]]:
        """Images; depth."""
        return self._extraction.inputs() + depth_inputs(self)

    def subscribe_more(self) -> None:
        """The mask and the IMU."""
        self._extraction.subscribe_mask()
        self._tracking.subscribe_imu()

    def process(self, messages: tuple[Any, ...], rig: Rig) -> None:
        """Extracts, tracks and publishes."""
        images, depth = list(messages), None
        if self.config.mode == "rgbd":
            depth = depth_from(images.pop())
        extracted = self._extraction.extract(images, rig.cameras)
        features, *right = extracted.features
        self._tracking.track(
            images[0].header,
            rig,
            features,
            depth,
            right[0] if right else None,
            extracted.extract_ms,
        )
        self._extraction.publish([item.header for item in images], extracted, rig.cameras)

    def restart(self) -> None:
        """A new map."""
        self._tracking.restart()

    def unusable(self, header: Header, reason: str) -> None:
        """Says so in `~/status` too."""
        super().unusable(header, reason)
        self._tracking.unusable(header, reason)


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run(VoNode, args)


if __name__ == "__main__":
    sys.exit(main())
