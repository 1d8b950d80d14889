"""Drawings made here, to try the trainer without any photo."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def write_drawings(folder: Path, count: int = 12) -> None:
    """Writes `count` pictures of 640x480, always the same ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        cv2.imwrite(str(folder / f"{i:02d}.png"), drawing(np.random.default_rng(i), 480, 640))


def drawing(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Coloured triangles, discs and letters on clouds of noise (height, width, 3)."""
    picture = np.zeros((height, width, 3))
    for cells in (4, 16, 64):
        clouds = rng.uniform(0, 255, (cells, cells, 3))
        picture += cv2.resize(clouds, (width, height), interpolation=cv2.INTER_CUBIC) / 3
    image = picture.clip(0, 255).astype(np.uint8)
    for _ in range(60):
        colour = rng.integers(0, 256, 3).tolist()
        place = rng.integers(0, [width, height])
        size = int(rng.integers(8, 60))
        kind = rng.integers(3)
        if kind == 0:
            triangle = place + rng.integers(-size, size + 1, (3, 2))
            cv2.fillPoly(image, [triangle.astype(np.int32)], colour, cv2.LINE_AA)
        elif kind == 1:
            cv2.circle(image, place.tolist(), size // 2, colour, -1, cv2.LINE_AA)
        else:
            letter = chr(int(rng.integers(ord("A"), ord("Z") + 1)))
            cv2.putText(image, letter, place.tolist(), 0, size / 20, colour, 2, cv2.LINE_AA)
    return image
