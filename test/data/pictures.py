"""Images that the tests of the readers write, and find again."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

HEIGHT, WIDTH = 48, 64


def picture(index: int) -> np.ndarray:
    """(H, W, 3) RGB noise that belongs to a number."""
    return np.random.default_rng(index).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def save(path: Path, image: np.ndarray) -> None:
    """Writes RGB, grey or 16-bit depth."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)


def truncate(path: Path, share: float = 0.7) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
