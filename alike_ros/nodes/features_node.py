"""`features_node`: camera images -> keypoints and descriptors."""

from __future__ import annotations

import sys
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus

from alike_ros.nodes.calibration import Rig
from alike_ros.nodes.extraction import Extraction
from alike_ros.nodes.pipeline_node import PipelineNode, run


class FeaturesNode(PipelineNode):
    """One image, or left and right, in; `keypoints` (and `right/keypoints`) out."""

    def __init__(self) -> None:
        super().__init__("features")
        self._extraction = Extraction(self)

    def set_up(self) -> None:
        """Loads the network."""
        self._extraction.load()

    def tear_down(self) -> None:
        """Frees it."""
        self._extraction.unload()

    def inputs(self) -> list[tuple[type, str]]:
        """Images."""
        return self._extraction.inputs()

    def subscribe_more(self) -> None:
        """The mask."""
        self._extraction.subscribe_mask()

    def process(self, messages: tuple[Any, ...], rig: Rig) -> None:
        """Extracts and publishes."""
        extracted = self._extraction.extract(list(messages), rig.cameras)
        self.health.report(DiagnosticStatus.OK, "extracting", {"status": "extracting"})
        self._extraction.publish([item.header for item in messages], extracted, rig.cameras)


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run(FeaturesNode, args)


if __name__ == "__main__":
    sys.exit(main())
