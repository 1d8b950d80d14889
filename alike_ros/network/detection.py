"""Differentiable keypoint detection, DKD (Zhao et al. 2022, section III-B)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

#: Half the width of the window of non-maximum suppression and of the soft-argmax, in pixels.
RADIUS = 2
#: Temperature of the soft-argmax.
T_DET = 0.1
#: Most keypoints of one image, whatever the threshold.
MAX_KEYPOINTS = 5000


class Detection(NamedTuple):
    """Keypoints of one image, best first; differentiable with respect to the score map."""

    keypoints: Tensor  # (N, 2) pixels (x, y), (0, 0) is the centre of the top-left pixel
    scores: Tensor  # (N,) score map sampled at the keypoints
    dispersity: Tensor  # (N,) spread of the scores around the keypoints, eq. 6


def detect(
    score_map: Tensor, top_k: int = 0, min_score: float = 0.2, sub_pixel: bool = True
) -> Detection:
    """Keypoints of one score map (H, W): local maxima above `min_score`, at most `top_k`.

    `top_k` 0 keeps all, at most 5000. Unlike the released code, nothing above the threshold means
    no keypoints, rather than every maximum above the mean score.
    """
    candidates = remove_border(suppress_non_maxima(score_map)).flatten()  # (H * W,)
    limit = min(top_k or MAX_KEYPOINTS, MAX_KEYPOINTS, candidates.numel())
    values, pixels = candidates.topk(limit)
    pixels = pixels[values > min_score]
    width = score_map.shape[1]
    centres = torch.stack([pixels % width, pixels // width], dim=1)  # (N, 2)
    keypoints, dispersity = soft_argmax(score_map, centres)
    if not sub_pixel:
        keypoints = centres.to(score_map.dtype)
    scores = sample_scores(score_map, keypoints)
    order = scores.detach().argsort(descending=True, stable=True)
    return Detection(keypoints[order], scores[order], dispersity[order])


@torch.no_grad()
def suppress_non_maxima(score_map: Tensor) -> Tensor:
    """Scores (H, W) with all but the maxima of their 5x5 windows set to 0.

    Twice more, maxima among the pixels that no kept pixel covers are added.
    """
    scores = score_map[None, None]
    kept = scores == _max_in_window(scores)
    for _ in range(2):
        covered = _max_in_window(kept.to(scores.dtype)) > 0
        rest = scores.masked_fill(covered, 0)
        kept = kept | ((rest == _max_in_window(rest)) & ~covered)
    return scores.masked_fill(~kept, 0)[0, 0]


def remove_border(scores: Tensor) -> Tensor:
    """Scores (H, W), 0 in the first RADIUS + 1 and the last RADIUS rows and columns."""
    inside = torch.zeros_like(scores)
    rows = slice(RADIUS + 1, -RADIUS)
    inside[rows, rows] = scores[rows, rows]
    return inside


def soft_argmax(score_map: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Sub-pixel keypoints (N, 2) and dispersity (N,) around `centres` (N, 2), eqs. 3 to 6."""
    steps = torch.arange(-RADIUS, RADIUS + 1, device=score_map.device)
    dy, dx = torch.meshgrid(steps, steps, indexing="ij")
    offsets = torch.stack([dx, dy], dim=-1).reshape(-1, 2)  # (25, 2)
    window = centres[:, None] + offsets  # (N, 25, 2)
    scores = score_map[window[..., 1], window[..., 0]]  # (N, 25)
    top = scores.detach().amax(1, keepdim=True)
    weights = ((scores - top) / T_DET).softmax(1)
    offset = weights @ offsets.to(score_map.dtype)  # (N, 2)
    spread = ((offsets - offset[:, None]) / RADIUS).square().sum(-1)  # (N, 25)
    return centres + offset, (weights * spread).sum(1)


def sample_scores(score_map: Tensor, keypoints: Tensor) -> Tensor:
    """Score map (H, W) sampled bilinearly at keypoints (N, 2) -> (N,)."""
    height, width = score_map.shape
    grid = keypoints * keypoints.new_tensor([2 / (width - 1), 2 / (height - 1)]) - 1
    return F.grid_sample(
        score_map[None, None], grid[None, None], align_corners=True, padding_mode="border"
    )[0, 0, 0]


def released_pixels(keypoints: Tensor, height: int, width: int) -> Tensor:
    """Pixel keypoints (N, 2) as the released code looks descriptors up without sub-pixels.

    It scales to [-1, 1] and back in float32 and truncates, which moves some by a pixel; the
    published numbers of the pixel mode depend on it.
    """
    extent = keypoints.new_tensor([width - 1, height - 1])
    return ((keypoints / extent * 2 - 1 + 1) / 2 * extent).trunc()


def _max_in_window(x: Tensor) -> Tensor:
    """As max_pool2d of 5x5 windows with stride 1; separable, on a CPU ten times as fast."""
    x = F.pad(x, (RADIUS,) * 4, value=-torch.inf)
    for axis in (-1, -2):
        length = x.shape[axis] - 2 * RADIUS
        top = x.narrow(axis, 0, length)
        for start in range(1, 2 * RADIUS + 1):
            top = torch.maximum(top, x.narrow(axis, start, length))
        x = top
    return x
