"""OpenCV's SIFT and ORB with the same call as the learned features, to compare with."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from alike_ros.features import Features, check_image

MAX_KEYPOINTS = 5000
_OPENCV: Any = cv2  # not every version's type stubs know SIFT_create and ORB_create


class SiftExtractor:
    """SIFT with descriptors of unit length; `root` takes RootSIFT instead."""

    def __init__(self, top_k: int = 0, root: bool = False) -> None:
        self._top_k, self._root = top_k or MAX_KEYPOINTS, root
        self._sift = _OPENCV.SIFT_create(nfeatures=self._top_k)
        self.description = f"{'RootSIFT' if root else 'SIFT'} in OpenCV {cv2.__version__}"

    def __call__(self, image: NDArray[np.uint8]) -> Features:
        """Features of an image: (H, W, 3) uint8 RGB or (H, W) uint8 grey, 64x64 or larger."""
        found, descriptors = self._sift.detectAndCompute(_grey(image), None)
        if not found:
            return _features(found, np.zeros((0, 128)))
        if self._root:  # Arandjelovic and Zisserman 2012: unit L1 norm, then square roots
            descriptors = np.sqrt(descriptors / descriptors.sum(axis=1, keepdims=True))
        descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
        return _features(found, descriptors).top(self._top_k)


class OrbExtractor:
    """ORB; bits become +-1/16, so that the dot product falls linearly with Hamming distance."""

    def __init__(self, top_k: int = 0) -> None:
        self._top_k = top_k or MAX_KEYPOINTS
        self._orb = _OPENCV.ORB_create(nfeatures=self._top_k)
        self.description = f"ORB in OpenCV {cv2.__version__}"

    def __call__(self, image: NDArray[np.uint8]) -> Features:
        """Features of an image: (H, W, 3) uint8 RGB or (H, W) uint8 grey, 64x64 or larger."""
        found, packed = self._orb.detectAndCompute(_grey(image), None)
        bits = np.unpackbits(packed, axis=1) if found else np.zeros((0, 256))
        return _features(found, (2 * bits.astype(np.float32) - 1) / 16).top(self._top_k)


def _grey(image: NDArray[np.uint8]) -> Any:
    check_image(image)
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _features(found: Any, descriptors: NDArray[Any]) -> Features:
    """Best first; a score is the response as a share of the image's best."""
    keypoints = np.array([k.pt for k in found], np.float32).reshape(-1, 2)
    response = np.array([k.response for k in found], np.float32)
    order = np.argsort(-response, kind="stable")
    scores = np.clip(response / max(response.max(initial=0), 1e-12), 0, 1)
    return Features(keypoints[order], scores[order], descriptors[order].astype(np.float32))
