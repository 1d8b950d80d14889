"""A picture with corners, which any model finds: noise has none for a good one."""

from __future__ import annotations

import numpy as np


def blocks(height: int = 96, width: int = 128, channels: int = 3) -> np.ndarray:
    """Squares of 6 pixels in random colours: (H, W, channels) uint8, or (H, W) for 1."""
    rows, columns = -(-height // 6), -(-width // 6)
    coarse = np.random.default_rng(0).integers(0, 256, (rows, columns, channels), np.uint8)
    image = coarse.repeat(6, axis=0).repeat(6, axis=1)[:height, :width]
    return np.ascontiguousarray(image if channels > 1 else image[..., 0])
