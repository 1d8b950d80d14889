"""Keypoint detection on the CPU: what `network/detection.py` does, in NumPy and OpenCV.

It works on logits, the scores before the sigmoid: the sigmoid keeps order, so it is needed in the
windows around keypoints only.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from alike_ros.config import DetectorConfig
from alike_ros.team import Team

Float = NDArray[np.float32]

RADIUS = 2  # half the window of non-maximum suppression and of the soft-argmax, pixels
#: Rows around a pixel that say whether it is kept: two windows for each time, one for the first.
_REACH = 5 * RADIUS
T_DET = 0.1  # temperature of the soft-argmax
MAX_KEYPOINTS = 5000
_WINDOW = np.ones((2 * RADIUS + 1, 2 * RADIUS + 1), np.uint8)
_STEPS = np.arange(-RADIUS, RADIUS + 1)
#: x, y and 1 of each pixel of a window (25, 3).
_MOMENTS = np.stack(
    [np.tile(_STEPS, len(_STEPS)), np.repeat(_STEPS, len(_STEPS)), np.ones(len(_STEPS) ** 2)],
    axis=1,
).astype(np.float32)


def detect(
    logits: Float, config: DetectorConfig, scratch: Scratch | None = None
) -> tuple[Float, Float]:
    """Keypoints (N, 2) and scores (N,), best first, of a map of logits (H, W)."""
    centres = best_maxima(logits, config, scratch or Scratch(logits.shape))
    windows = _sigmoid(_windows(logits, centres))  # (N, 5, 5)
    offsets = soft_argmax(windows) if config.sub_pixel else np.zeros((len(centres), 2), np.float32)
    scores = _sample(windows, offsets)
    order = np.argsort(-scores, kind="stable")
    return (centres + offsets)[order].astype(np.float32), scores[order]


def best_maxima(logits: Float, config: DetectorConfig, scratch: Scratch) -> NDArray[np.int64]:
    """Pixels (N, 2), (x, y), of the best maxima away from the border, best first."""
    kept = scratch.maxima(logits, logit(config.min_score))
    border = RADIUS + 1
    found = cv2.findNonZero(kept[border:-RADIUS, border:-RADIUS])
    if found is None:
        return np.empty((0, 2), np.int64)
    pixels = found.reshape(-1, 2).astype(np.int64) + border
    values = logits[pixels[:, 1], pixels[:, 0]]
    limit = config.top_k or MAX_KEYPOINTS
    if len(values) > limit:
        part = np.argpartition(-values, limit)[:limit]
        pixels, values = pixels[part], values[part]
    return np.asarray(pixels[np.argsort(-values, kind="stable")])


class Scratch:
    """Non-maximum suppression, by a team: strips of the image, each with some rows around it."""

    def __init__(self, shape: tuple[int, ...], team: Team | None = None) -> None:
        self.shape = shape
        self._team = team or Team()
        self._kept = np.empty(shape, np.uint8)
        height, width = shape
        edges = np.linspace(0, height, self._team.size + 1).astype(int)
        self._strips = [
            _Strip(max(top - _REACH, 0), top, bottom, min(bottom + _REACH, height), width)
            for top, bottom in pairwise(edges.tolist())
        ]

    def maxima(self, logits: Float, lowest: float) -> NDArray[np.uint8]:
        """Mask (H, W), 255 at the maxima of 5x5 windows that are above `lowest`.

        Twice more, maxima among the pixels that no kept pixel covers are added.
        """
        self._team.map(lambda strip: strip.maxima(logits, lowest, self._kept), self._strips)
        return self._kept


class _Strip:
    """Rows `top` to `bottom`, of which those from `first` to `last` tell.

    Its images are used again: making them took longer than using them.
    """

    def __init__(self, first: int, top: int, bottom: int, last: int, width: int) -> None:
        self._around, self._rows = slice(first, last), slice(top, bottom)
        self._inner = slice(top - first, bottom - first)
        shape = (last - first, width)
        self._dilated, self._rest = np.empty(shape, np.float32), np.empty(shape, np.float32)
        self._kept, self._free, self._equal = (np.empty(shape, np.uint8) for _ in range(3))

    def maxima(self, logits: Float, lowest: float, out: NDArray[np.uint8]) -> None:
        """Writes its rows of the mask."""
        logits = logits[self._around]
        kept, free, equal = self._kept, self._free, self._equal
        cv2.dilate(logits, _WINDOW, dst=self._dilated)
        cv2.compare(logits, self._dilated, cv2.CMP_EQ, dst=kept)
        for _ in range(2):
            cv2.dilate(kept, _WINDOW, dst=free)
            cv2.bitwise_not(free, dst=free)
            self._rest.fill(-np.inf)
            cv2.copyTo(logits, free, self._rest)
            cv2.dilate(self._rest, _WINDOW, dst=self._dilated)
            cv2.compare(self._rest, self._dilated, cv2.CMP_EQ, dst=equal)
            cv2.bitwise_and(equal, free, dst=equal)
            cv2.bitwise_or(kept, equal, dst=kept)
        cv2.compare(logits, lowest, cv2.CMP_GT, dst=equal)  # type: ignore[call-overload]
        cv2.bitwise_and(kept[self._inner], equal[self._inner], dst=out[self._rows])


def soft_argmax(windows: Float) -> Float:
    """Offsets (N, 2) of the keypoints from the centres of score windows (N, 5, 5), eqs. 3 to 5."""
    flat = windows.reshape(-1, len(_MOMENTS))
    weights = np.exp((flat - flat.max(axis=1, keepdims=True)) / np.float32(T_DET))
    sums = weights @ _MOMENTS
    return np.asarray(sums[:, :2] / sums[:, 2:])


def released_pixels(keypoints: Float, height: int, width: int) -> Float:
    """Pixel keypoints (N, 2) as the released code looks descriptors up without sub-pixels.

    It scales to [-1, 1] and back in float32 and truncates, which moves some by a pixel; the
    published numbers of the pixel mode depend on it.
    """
    extent = np.array([width - 1, height - 1], np.float32)
    return np.trunc((keypoints / extent * 2 - 1 + 1) / 2 * extent)


def _windows(image: Float, centres: NDArray[np.int64]) -> Float:
    """(N, 5, 5) around centres (N, 2), none of which is nearer to the edge than RADIUS."""
    rows = centres[:, 1, None, None] + _STEPS[:, None]
    return np.asarray(image[rows, centres[:, 0, None, None] + _STEPS])


def _sample(windows: Float, offsets: Float) -> Float:
    """Windows (N, 5, 5) sampled bilinearly at offsets (N, 2) from their centres."""
    low = np.clip(np.floor(offsets).astype(np.int64), -RADIUS, RADIUS - 1)
    fx, fy = (offsets - low).astype(np.float32).T
    rows = np.arange(len(windows))
    x, y = (low + RADIUS).T
    top = (1 - fx) * windows[rows, y, x] + fx * windows[rows, y, x + 1]
    bottom = (1 - fx) * windows[rows, y + 1, x] + fx * windows[rows, y + 1, x + 1]
    return np.asarray((1 - fy) * top + fy * bottom)


def _sigmoid(logits: Float) -> Float:
    with np.errstate(over="ignore"):  # exp(-x) is inf for x < -88: a score of 0, as it should
        return np.asarray(1 / (1 + np.exp(-logits)))


def logit(score: float) -> float:
    """The inverse of the sigmoid; infinite at 0 and 1."""
    with np.errstate(divide="ignore"):
        return float(np.log(score) - np.log1p(-score))
