"""What every source of images offers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from alike_ros.camera import Camera, StereoCamera
from alike_ros.trajectory import Trajectory


@dataclass(frozen=True)
class CameraFrame:
    """What the cameras saw at one time.

    image and right: (H, W, 3) RGB or (H, W) grey uint8; depth: (H, W) float32 metres along z,
    registered to image, NaN where unknown. `right` and `depth` are None where the source has none.
    """

    stamp_ns: int
    image: NDArray[np.uint8]
    depth: NDArray[np.float32] | None = None
    right: NDArray[np.uint8] | None = None


class Sequence(Protocol):
    """Frames in the order of their stamps, which ascend strictly.

    Unreadable, duplicate and late frames are left out and counted in `skipped`, by reason.
    """

    name: str
    camera: Camera
    stereo: StereoCamera | None  # None: no right images
    truth: Trajectory | None  # of the (left) camera; its stamps need not be those of the frames
    skipped: Counter[str]

    def __len__(self) -> int:
        """Frames to expect; 0 where only the end of the stream tells."""
        ...

    def __iter__(self) -> Iterator[CameraFrame]:
        """The frames, from the start at each call where the source allows it."""
        ...
