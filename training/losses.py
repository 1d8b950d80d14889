"""The losses of the paper, section III-C, each for one pair of views and in one direction."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

#: Correspondences and peaks with a lower score are not worth moving.
MIN_SCORE = 0.1


class Correspondences(NamedTuple):
    """Indices of corresponding keypoints, one of each view: (M,) and (M,)."""

    index0: Tensor
    index1: Tensor


@torch.no_grad()
def correspondences(
    keypoints0: Tensor,
    keypoints1: Tensor,
    points0_in_1: Tensor,
    points1_in_0: Tensor,
    max_distance: float,
) -> Correspondences:
    """Pairs of keypoints (N, 2) and (M, 2) that are mutually nearest after warping.

    points0_in_1 (N, 2) and points1_in_0 (M, 2) are the keypoints in the other view, NaN where they
    are not visible there. The distance is the mean of both views', at most max_distance, pixels.
    """
    if len(keypoints0) == 0 or len(keypoints1) == 0:
        none = torch.zeros(0, dtype=torch.long, device=keypoints0.device)
        return Correspondences(none, none)
    distance = (distances(points0_in_1, keypoints1) + distances(keypoints0, points1_in_0)) / 2
    distance = distance.nan_to_num(torch.inf)
    nearest, index1 = distance.min(1)  # (N,)
    index0 = torch.arange(len(keypoints0), device=keypoints0.device)
    mutual = (distance.argmin(0)[index1] == index0) & (nearest <= max_distance)
    return Correspondences(index0[mutual], index1[mutual])


def reprojection_loss(
    keypoints0: Tensor,
    keypoints1: Tensor,
    points0_in_1: Tensor,
    points1_in_0: Tensor,
    scores0: Tensor,
    scores1: Tensor,
) -> Tensor:
    """Eq. 8: mean L1 distance of M corresponding keypoints (M, 2), over both views.

    Only correspondences with both scores above MIN_SCORE count; 0 without any.
    """
    sure = (scores0 > MIN_SCORE) & (scores1 > MIN_SCORE)
    error0 = (points1_in_0 - keypoints0)[sure].abs().sum(1)
    error1 = (points0_in_1 - keypoints1)[sure].abs().sum(1)
    return mean(error0 + error1) / 2


def dispersity_peak_loss(dispersity: Tensor, scores: Tensor) -> Tensor:
    """Eq. 9: mean dispersity (N,) of the keypoints with scores (N,) above MIN_SCORE."""
    return mean(dispersity[scores > MIN_SCORE])


def stretch_loss(keypoints: Tensor, unstretched: Tensor, scores: Tensor) -> Tensor:
    """Mean L1 distance of keypoints (N, 2) to those that levels in their true places give.

    Not in the paper. The coarse levels are stretched by up to half a cell at the borders
    (align_corners), so that what pulls a keypoint changes with its place in the picture. Only
    scores (N,) above MIN_SCORE count.
    """
    return mean((keypoints - unstretched)[scores > MIN_SCORE].abs().sum(1))


def quiet_loss(score_maps: Tensor, cell: int) -> Tensor:
    """Mean score of maps (B, H, W); of cells of that many pixels, the root of the mean square.

    Not in the paper, in which no term says how high scores are. With cells, scores that crowd cost
    more than the same scores spread over the picture. 0: no cells.
    """
    if not cell:
        return score_maps.mean()
    side = min(cell, *score_maps.shape[1:])
    return F.avg_pool2d(score_maps[:, None], side).square().mean().sqrt()


def neural_reprojection_error(
    descriptors: Tensor,
    descriptor_map: Tensor,
    points: Tensor,
    visible: Tensor,
    temperature: float,
) -> Tensor:
    """Eq. 11: -log of the matching probability at the true points, per descriptor (N,).

    The probability is a softmax over the whole map (D, H, W) and a bin "outside" of similarity 1,
    read bilinearly at points (N, 2). The bin is the target of points that are not visible, which
    have to be those that have left the picture.
    """
    logits = (descriptors @ descriptor_map.flatten(1) - 1) / temperature  # (N, H * W)
    outside = torch.zeros_like(logits[:, :1])
    total = torch.cat([logits, outside], dim=1).logsumexp(1)  # (N,)
    height, width = descriptor_map.shape[1:]
    pixels, weights = corners(points.nan_to_num(0), height, width)  # (N, 4), (N, 4)
    # log sum w p in the log domain: far from the optimum the probabilities underflow
    log_weights = weights.clamp_min(torch.finfo(weights.dtype).tiny).log()
    log_found = (logits.gather(1, pixels) + log_weights).logsumexp(1)
    return total - torch.where(visible, log_found, outside[:, 0])


def log_matching_probability(
    similarity: Tensor, similarities: Tensor, excluded: Tensor, temperature: float
) -> Tensor:
    """Eq. 11 over some places of the map instead of all, and without the minus (N,).

    `similarity` (N,) is that of the true point, `similarities` (N, M) those of other places, of
    which `excluded` (N, M) are too close to the true point to compete.
    """
    logits = (similarities / temperature).masked_fill(excluded, -torch.inf)
    true_logit = similarity / temperature
    return true_logit - torch.cat([true_logit[:, None], logits], dim=1).logsumexp(1)


def reliability_loss(reliability: Tensor, scores0: Tensor, scores1: Tensor) -> Tensor:
    """Eq. 13: unreliability (N,) weighted by the scores (N,) of a point in both views.

    Moves the scores only: no gradient goes into the reliability.
    """
    weight = scores0 * scores1
    return ((1 - reliability.detach()) * weight).sum() / weight.sum().clamp_min(1e-6)


def reliability(similarity: Tensor, temperature: float) -> Tensor:
    """Eq. 12: reliability (N,) of descriptors from the similarity (N,) at their true points."""
    return ((similarity - 1) / temperature).exp()


def triplet_loss(
    similarity: Tensor, similarities: Tensor, excluded: Tensor, margin: float = 0.5
) -> Tensor:
    """The paper's ablation: hinge on the hardest negative (N,).

    Arguments as of `log_matching_probability`.
    """
    hardest = similarities.masked_fill(excluded, -1).amax(1)
    return F.relu(margin + hardest - similarity)


@torch.no_grad()
def thin(points: Tensor, scores: Tensor, radius: float) -> Tensor:
    """Which of the points (N, 2) have no neighbour of higher score within the radius: (N,).

    Of equal scores the first stays.
    """
    order = torch.arange(len(points), device=points.device)
    better = scores[None] > scores[:, None]
    better |= (scores[None] == scores[:, None]) & (order[None] < order[:, None])
    return ~((distances(points, points) <= radius) & better).any(1)


def distances(points0: Tensor, points1: Tensor) -> Tensor:
    """Euclidean distances (N, M); exact, unlike cdist by matrix products."""
    distance: Tensor = torch.linalg.vector_norm(points0[:, None] - points1, dim=-1)
    return distance


def corners(points: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Flat indices (N, 4) of the pixels around points (N, 2) and their bilinear weights."""
    limit = points.new_tensor([width - 2, height - 2])
    low = torch.minimum(points.detach().floor().clamp(min=0), limit)
    fx, fy = (points - low).unbind(1)
    x, y = low.long().unbind(1)
    first = y * width + x
    pixels = torch.stack([first, first + 1, first + width, first + width + 1], dim=1)
    weights = torch.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], dim=1)
    return pixels, weights


def mean(values: Tensor) -> Tensor:
    """Mean, 0 (with a gradient) of nothing."""
    return values.sum() * (1 / max(values.numel(), 1))
