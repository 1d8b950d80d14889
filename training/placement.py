"""Where a network puts its keypoints: aside of what they mark, outwards, and how many strong ones.

Pairs of upright views tell hardly any of it: what is off by as much in both views is not off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.losses import correspondences

#: Picture (3, H, W) uint8 RGB -> keypoints (N, 2), best first, and scores (N,).
Detect = Callable[[Tensor], tuple[Tensor, Tensor]]

#: Size of the pictures that keypoints are found in, pixels.
HEIGHT, WIDTH = 480, 640
#: How far apart two pieces of a photo are along each axis, pixels; whole cells of all levels.
SHIFT = 64
#: Nearest keypoints farther apart than this mark different things, pixels.
NEAR, NEAR_MIRRORED = 2.0, 3.0
#: So many of the best are compared.
BEST = 1000
#: Score of a strong keypoint: the threshold of the published detector.
STRONG = 0.2


@dataclass(frozen=True)
class Placement:
    """Means over photos."""

    right: float  # from what is marked to the keypoint, pixels
    below: float
    outwards: float  # how far keypoints move away from the middle within 64 pixels, pixels
    strong: float  # keypoints with scores above 0.2


def placement(photos: Sequence[Tensor], detect: Detect) -> Placement:
    """Measures on photos (3, H, W), at least `SHIFT` larger than the pictures.

    NaN where a photo has no keypoints to compare, or there are no photos.
    """
    rows = []
    for photo in photos:
        picture, moved = photo[:, :HEIGHT, :WIDTH], photo[:, SHIFT:, SHIFT:][:, :HEIGHT, :WIDTH]
        found, scores = detect(picture)
        keypoints, mirrored = found[:BEST], detect(picture.flip(1, 2))[0][:BEST]
        further = detect(moved)[0][:BEST]
        strong = float((scores > STRONG).sum())
        rows.append((*aside(keypoints, mirrored), outwards(keypoints, further), strong))
    return Placement(*torch.tensor(rows).reshape(-1, 4).mean(0).tolist())


def aside(keypoints: Tensor, mirrored: Tensor) -> tuple[float, float]:
    """How far keypoints (N, 2) are from what they mark, to the right and below, medians.

    `mirrored` (M, 2) are those of the picture mirrored along both axes: what is to the right in
    one is to the left in the other, and half the difference is how far.
    """
    there = keypoints.new_tensor([WIDTH - 1, HEIGHT - 1]) - mirrored
    right, below = (moves(there, keypoints, NEAR_MIRRORED) / 2).median(0).values.tolist()
    return right, below


def outwards(keypoints: Tensor, further: Tensor) -> float:
    """Mean move of keypoints (N, 2) away from the middle, along an axis.

    `further` (M, 2) are those of the piece of the photo that begins `SHIFT` further right and
    below. What both show is further from the middle, or less far on its other side, in the first.
    """
    return float(moves(further + SHIFT, keypoints, NEAR).mean())


def moves(before: Tensor, after: Tensor, near: float) -> Tensor:
    """From keypoints (N, 2) to those of (M, 2) that are mutually nearest, (K, 2); NaN if none."""
    from_, to = correspondences(before, after, before, after, near)
    return after[to] - before[from_] if len(to) else before.new_full((1, 2), math.nan)
