"""Features of images that several cameras take at the same moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from alike_ros.backends import load_extractor
from alike_ros.backends.gpu import GpuExtractor
from alike_ros.backends.providers import threads
from alike_ros.config import Config, DetectorConfig
from alike_ros.features import Features
from alike_ros.team import Team


class Together:
    """Extraction from the images of so many cameras, on a CPU all at once.

    Each then has its share of the threads, which wait for each other less: alike-t on two images
    of 640x480, two threads, in turn: 34 ms with OpenVINO, 37 one after the other (onnxruntime 36,
    48). A batch was slower than either. A GPU takes one after the other.
    """

    def __init__(self, config: Config, cameras: int) -> None:
        share = replace(config, num_threads=max(threads(config.num_threads) // cameras, 1))
        first = load_extractor(share)
        in_turn = isinstance(first, GpuExtractor)
        others = [first if in_turn else load_extractor(share) for _ in range(cameras - 1)]
        self._extractors = [first, *others]
        self._team = Team(1 if in_turn else cameras)

    @property
    def any_top_k(self) -> bool:
        """Whether detector.top_k may be another for every image."""
        return self._extractors[0].any_top_k

    @property
    def description(self) -> str:
        """What runs, in words."""
        at_once = f", {self._team.size} at once" if self._team.size > 1 else ""
        return self._extractors[0].description + at_once

    def __call__(
        self, images: Sequence[NDArray[np.uint8]], detector: DetectorConfig
    ) -> list[Features]:
        """Features of an image of each camera, see `Extractor`, with settings that may change."""
        for extractor in self._extractors:
            extractor.detector = detector
        work = list(zip(self._extractors, images, strict=True))
        return self._team.map(lambda one: one[0](one[1]), work)
