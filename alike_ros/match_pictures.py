"""Pictures of matches whose truth is known."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

CORRECT, WRONG = (60, 200, 60), (230, 60, 50)  # RGB
MOST_LINES = 400


def draw_matches(
    image0: NDArray[np.uint8],
    image1: NDArray[np.uint8],
    points0: NDArray[Any],
    points1: NDArray[Any],
    correct: NDArray[np.bool_],
) -> NDArray[np.uint8]:
    """Two images side by side -> (H, W, 3) RGB, matches green where correct (K,), else red.

    points0 and points1 (K, 2) match row by row; evenly spread over them, 400 are drawn at most,
    the correct ones over the wrong ones.
    """
    height, offset = max(len(image0), len(image1)), image0.shape[1]
    canvas = np.zeros((height, offset + image1.shape[1], 3), np.uint8)
    for image, left in ((image0, 0), (image1, offset)):
        view = canvas[: len(image), left : left + image.shape[1]]
        view[:] = image if image.ndim == 3 else image[..., None]
    chosen = np.unique(np.linspace(0, len(correct) - 1, min(MOST_LINES, len(correct)), dtype=int))
    for k in chosen[np.argsort(correct[chosen], kind="stable")]:
        start, end = np.rint(points0[k]), np.rint(points1[k] + [offset, 0])
        colour = CORRECT if correct[k] else WRONG
        cv2.line(canvas, start.astype(int), end.astype(int), colour, 1, cv2.LINE_AA)
    return canvas
