"""Whether images are good enough to find keypoints in. No ROS here."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from alike_ros.doctor import Finding, error, ok, warning

#: Mean grey levels of usable images.
DARK, BRIGHT = 30, 225
#: Share of pixels that may be black or white.
MAX_CLIPPED = 0.3
#: Variance of the Laplacian at a width of 640 below which an image counts as blurred; images of
#: TUM, EuRoC and KITTI have 150 to 1600.
MIN_SHARPNESS = 20.0
MIN_KNOWN_DEPTH = 0.2


def examine_image(area: str, image: NDArray[np.uint8]) -> Iterator[Finding]:
    """Exposure and sharpness of (H, W, 3) RGB or (H, W) grey."""
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    brightness = float(grey.mean())
    clipped = float(((grey <= 2) | (grey >= 253)).mean())
    sharpness = _sharpness(np.asarray(grey))
    yield ok(
        area,
        f"{image.shape[1]}x{image.shape[0]}, brightness {brightness:.0f} of 255, "
        f"{100 * clipped:.0f} % clipped, sharpness {sharpness:.0f}",
    )
    if not DARK <= brightness <= BRIGHT:
        text = f"the image is too {'dark' if brightness < DARK else 'bright'}"
        yield warning(area, text, "is the lens covered? set exposure and gain, or auto exposure")
    elif clipped > MAX_CLIPPED:
        text = f"{100 * clipped:.0f} % of the pixels are black or white"
        yield warning(area, text, "lower the exposure, or use auto exposure")
    if sharpness < MIN_SHARPNESS:
        yield warning(
            area,
            "the image is blurred or without texture: few keypoints",
            "focus the lens, clean it, shorten the exposure; look at something with texture",
        )


def examine_depth(area: str, depth: NDArray[np.float32]) -> Iterator[Finding]:
    """Share of known pixels, and range, of (H, W) metres with NaN where unknown."""
    known = depth[np.isfinite(depth)]
    share = known.size / depth.size
    if not known.size:
        yield error(area, "no pixel has a depth", "is the depth stream on, is its unit right?")
        return
    low, middle, high = np.percentile(known, (5, 50, 95))
    size = f"{depth.shape[1]}x{depth.shape[0]}"
    yield ok(area, f"{size}, {100 * share:.0f} % known, {low:.2f} to {high:.2f} m (5 to 95 %)")
    if share < MIN_KNOWN_DEPTH:
        text = f"only {100 * share:.0f} % of the pixels have a depth"
        yield warning(area, text, "check the emitter, sunlight and the distance to the scene")
    if not 0.05 < middle < 100:
        text = f"the median depth is {middle:.3g} m"
        yield warning(area, text, "16UC1 holds millimetres, 32FC1 metres (REP-118)")


def _sharpness(grey: NDArray[np.uint8]) -> float:
    scale = 640 / grey.shape[1]
    if scale < 1:
        grey = np.asarray(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())
