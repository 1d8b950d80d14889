"""A picture of what is recognised from one image to the next. No ROS here."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from alike_ros.features import Features
from alike_ros.matching import match_mutual

_NEW, _KNOWN = (255, 80, 80), (80, 255, 80)  # RGB


class Tracks:
    """Remembers the features of the image before."""

    def __init__(self) -> None:
        self._before: Features | None = None

    def forget(self) -> None:
        """The next image is the first."""
        self._before = None

    def draw(
        self, image: NDArray[np.uint8], features: Features, min_similarity: float
    ) -> NDArray[np.uint8]:
        """The image (H, W, 3) with a dot per keypoint, and a line to where it was before."""
        rgb = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image.copy()
        for point in features.keypoints:
            cv2.circle(rgb, _pixel(point), 2, _NEW)
        if self._before is not None:
            before = self._before.descriptors
            for i, j in match_mutual(before, features.descriptors, min_similarity):
                start, end = _pixel(self._before.keypoints[i]), _pixel(features.keypoints[j])
                cv2.line(rgb, start, end, _KNOWN)
                cv2.circle(rgb, end, 2, _KNOWN)
        self._before = features
        return np.asarray(rgb, np.uint8)


def _pixel(point: NDArray[Any]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
