"""Features of one image, and what extracts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from alike_ros.errors import DataError

#: Smallest image side that the network takes, pixels.
MIN_SIDE = 64


@dataclass(frozen=True)
class Features:
    """Keypoints of one image, best first.

    keypoints (N, 2) float32, pixels (x, y), (0, 0) is the centre of the top-left pixel;
    scores (N,) float32 in [0, 1]; descriptors (N, D) float32 of unit length.
    """

    keypoints: NDArray[np.float32]
    scores: NDArray[np.float32]
    descriptors: NDArray[np.float32]

    def __post_init__(self) -> None:
        n = len(self.keypoints)
        shapes = (self.keypoints.shape, self.scores.shape, self.descriptors.shape)
        if shapes[:2] != ((n, 2), (n,)) or len(shapes[2]) != 2 or shapes[2][0] != n:
            raise DataError(
                f"keypoints, scores and descriptors have shapes {shapes}, "
                "expected (N, 2), (N,) and (N, D)"
            )
        if not np.isfinite(self.keypoints).all():
            raise DataError("some keypoints have no place: NaN or infinite")

    def __len__(self) -> int:
        return len(self.keypoints)

    def top(self, k: int) -> Features:
        """The k best."""
        return Features(self.keypoints[:k], self.scores[:k], self.descriptors[:k])

    def where(self, kept: NDArray[np.bool_]) -> Features:
        """Those of a mask (N,), in the same order."""
        if kept.all():
            return self
        return Features(self.keypoints[kept], self.scores[kept], self.descriptors[kept])


class Extractor(Protocol):
    """Anything that turns an image into features."""

    @property
    def description(self) -> str:
        """What runs, in words: model, provider, threads."""
        ...

    def __call__(self, image: NDArray[np.uint8]) -> Features:
        """Features of an image: (H, W, 3) uint8 RGB or (H, W) uint8 grey, 64x64 or larger."""
        ...


def check_image(image: NDArray[np.uint8]) -> None:
    """Raises DataError unless image is (H, W, 3) or (H, W) uint8 of at least 64x64."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = getattr(image, "dtype", type(image).__name__)
        raise DataError(f"image is {kind} {np.shape(image)}, expected uint8, RGB or grey")
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[2] == 3):
        raise DataError(f"image has shape {image.shape}, expected (H, W, 3) RGB or (H, W) grey")
    if min(image.shape[:2]) < MIN_SIDE:
        raise DataError(f"image has shape {image.shape}, expected at least {MIN_SIDE}x{MIN_SIDE}")
