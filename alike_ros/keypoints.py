"""Keypoint detection on the CPU: what `network/detection.py` does, in NumPy and OpenCV.

It works on logits, the scores before the sigmoid: the sigmoid keeps order, so it is needed in the
windows around keypoints only.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from alike_ros.config import DetectorConfig

Float = NDArray[np.float32]
Int = NDArray[np.int64]

RADIUS = 2  # half the window of non-maximum suppression and of the soft-argmax, pixels
T_DET = 0.1  # temperature of the soft-argmax
MAX_KEYPOINTS = 5000
_WINDOW = np.ones((2 * RADIUS + 1, 2 * RADIUS + 1), np.uint8)
_STEPS = np.arange(-RADIUS, RADIUS + 1)
#: Of so few pixels, the windows are gathered; from more on, an image of them is dilated. A photo
#: has 500, noise 6000: the second and third time of non-maximum suppression took 0.35 : 0.60 ms on
#: the photo.
_FEW = 2000
#: x, y and 1 of each pixel of a window (25, 3).
_MOMENTS = np.stack(
    [np.tile(_STEPS, len(_STEPS)), np.repeat(_STEPS, len(_STEPS)), np.ones(len(_STEPS) ** 2)],
    axis=1,
).astype(np.float32)


def detect(
    logits: Float, config: DetectorConfig, scratch: Scratch | None = None
) -> tuple[Float, Float]:
    """Keypoints (N, 2) and scores (N,), best first, of a map of logits (H, W)."""
    logits = np.ascontiguousarray(logits)  # of a padded image
    centres = best_maxima(logits, config, scratch or Scratch(logits.shape))
    windows = _sigmoid(_windows(logits, centres))  # (N, 5, 5)
    offsets = soft_argmax(windows) if config.sub_pixel else np.zeros((len(centres), 2), np.float32)
    scores = _sample(windows, offsets)
    order = np.argsort(-scores)
    return (centres + offsets)[order].astype(np.float32), scores[order]


def best_maxima(logits: Float, config: DetectorConfig, scratch: Scratch) -> NDArray[np.int64]:
    """Pixels (N, 2), (x, y), of the best maxima away from the border, best first.

    Non-maximum suppression keeps the maxima of 5x5 windows and, twice more, the maxima among the
    pixels that no kept one covers. A pixel is beaten by better ones only: after the first time,
    none matters that is worse than all that will be returned, and few are left to look at.
    """
    limit = config.top_k or MAX_KEYPOINTS
    lowest = logit(config.min_score)
    pixels = scratch.maxima(logits)
    values = np.take(logits, pixels)
    if len(values) > limit:
        kth = len(values) - limit
        lowest = max(lowest, float(np.partition(values, kth)[kth]))
    more = scratch.uncovered_maxima(logits, lowest)
    pixels = np.concatenate([pixels[values >= lowest], more])
    values = np.take(logits, pixels)
    order = np.argsort(-values)[:limit]
    order = order[values[order] > logit(config.min_score)]
    return np.stack(np.divmod(pixels[order], logits.shape[1])[::-1], axis=1)


class Scratch:
    """Images that non-maximum suppression works on: making them took longer than using them.

    Pixels are flat indices, y W + x.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._dilated = np.empty(shape, np.float32)
        self._kept, self._open = np.empty(shape, np.bool_), np.empty(shape, np.bool_)
        self._covered = np.empty(shape, np.uint8)
        height, width = shape
        wide = height + 2 * RADIUS, width + 2 * RADIUS
        self._sparse = np.full(wide, -np.inf, np.float32)  # between calls
        self._dilated_sparse = np.empty(wide, np.float32)
        self._window = _STEPS[:, None] * wide[1] + _STEPS  # flat, in a wide image

    def maxima(self, logits: Float) -> Int:
        """Pixels (N,) away from the border that are the maxima of their 5x5 windows."""
        cv2.dilate(logits, _WINDOW, dst=self._dilated)
        np.equal(logits, self._dilated, out=self._kept)
        cv2.dilate(self._kept.view(np.uint8), _WINDOW, dst=self._covered)
        border = RADIUS + 1
        self._kept[:border] = self._kept[-RADIUS:] = False
        self._kept[:, :border] = self._kept[:, -RADIUS:] = False
        return np.flatnonzero(self._kept)

    def uncovered_maxima(self, logits: Float, lowest: float) -> Int:
        """After `maxima`: pixels (N,) above `lowest` that are kept the second and third time."""
        np.greater(logits, lowest, out=self._open)
        np.greater(self._open, self._covered.view(np.bool_), out=self._open)
        pixels = np.flatnonzero(self._open)
        values = np.take(logits, pixels)
        height, width = self.shape
        y, x = np.divmod(pixels, width)
        places = (y + RADIUS) * (width + 2 * RADIUS) + x + RADIUS  # in a wide image
        second = values == self._largest_around(places, values)
        self._open.reshape(-1)[pixels] = second  # where it was true, and nowhere else
        cv2.dilate(self._open.view(np.uint8), _WINDOW, dst=self._covered)
        free = np.take(self._covered, pixels) == 0
        third = free.copy()
        third[free] = values[free] == self._largest_around(places[free], values[free])
        border = RADIUS + 1
        inside = (y >= border) & (y < height - RADIUS) & (x >= border) & (x < width - RADIUS)
        return np.asarray(pixels[(second | third) & inside])

    def _largest_around(self, places: Int, values: Float) -> Float:
        """For each of some places in a wide image the largest of their values in its window."""
        sparse = self._sparse.reshape(-1)
        sparse[places] = values
        if len(places) <= _FEW:
            largest = sparse.take(places[:, None] + self._window.ravel()).max(axis=1)
        else:
            cv2.dilate(self._sparse, _WINDOW, dst=self._dilated_sparse)
            largest = np.take(self._dilated_sparse, places)
        sparse[places] = -np.inf
        return np.asarray(largest)


def soft_argmax(windows: Float) -> Float:
    """Offsets (N, 2) of the keypoints from the centres of score windows (N, 5, 5), eqs. 3 to 5."""
    flat = windows.reshape(-1, len(_MOMENTS))
    sums = np.exp(flat / np.float32(T_DET)) @ _MOMENTS  # of scores up to 1: no overflow
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
    width = image.shape[1]
    steps = _STEPS[:, None] * width + _STEPS
    return np.asarray(np.take(image, (centres @ (1, width))[:, None, None] + steps))


def _sample(windows: Float, offsets: Float) -> Float:
    """Windows (N, 5, 5) sampled bilinearly at offsets (N, 2) from their centres."""
    low = np.clip(np.floor(offsets).astype(np.int64), -RADIUS, RADIUS - 1)
    fx, fy = (offsets - low).astype(np.float32).T
    side = len(_STEPS)
    first = np.arange(len(windows)) * side**2 + (low + RADIUS) @ (1, side)
    left, right, below_left, below_right = (
        np.take(windows, first + step) for step in (0, 1, side, side + 1)
    )
    top, bottom = (1 - fx) * left + fx * right, (1 - fx) * below_left + fx * below_right
    return np.asarray((1 - fy) * top + fy * bottom)


def _sigmoid(logits: Float) -> Float:
    with np.errstate(over="ignore"):  # exp(-x) is inf for x < -88: a score of 0, as it should
        return np.asarray(1 / (1 + np.exp(-logits)))


def logit(score: float) -> float:
    """The inverse of the sigmoid; infinite at 0 and 1."""
    if score in (0, 1):
        return math.inf if score else -math.inf
    return math.log(score) - math.log1p(-score)
