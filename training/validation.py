"""How well a network matches pairs that are held back: Rep, MS, MMA and MHA, and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from alike_ros import homography_metrics as metrics
from alike_ros.matching import match_mutual
from alike_ros.network import ALIKE
from training.config import RunConfig
from training.objective import to_float
from training.warp import warp_pair

Array = NDArray[Any]
Pairs = Dataset[dict[str, Tensor]]

#: Pixels within which a match is correct.
THRESHOLDS = (1, 2, 3, 5)


@dataclass(frozen=True)
class Matched:
    """Keypoints (N, 2) and matches (K, 2) of one pair, and how well they fit the truth."""

    keypoints0: Array
    keypoints1: Array
    matches: Array
    errors: Array  # (K,) pixels
    rep: float
    ms: Array  # at THRESHOLDS
    mma: Array
    corner_error: float  # NaN for pairs that no homography relates


def validate(network: ALIKE, pairs: Pairs, config: RunConfig) -> dict[str, float]:
    """Mean Rep, MS, MMA and MHA in percent over the validation pairs."""
    matched = [match(network, pairs[i], config) for i in range(config.validation.pairs)]
    results = {"rep": float(np.mean([pair.rep for pair in matched]))}
    corner_errors = np.array([pair.corner_error for pair in matched])
    corner_errors = corner_errors[~np.isnan(corner_errors)]  # of pairs that a homography relates
    tables = {
        "ms": np.mean([pair.ms for pair in matched], axis=0),
        "mma": np.mean([pair.mma for pair in matched], axis=0),
        "mha": metrics.homography_accuracy(corner_errors, THRESHOLDS),
    }
    for name, values in tables.items():
        for threshold, value in zip(THRESHOLDS, values, strict=True):
            results[f"{name}@{threshold}"] = float(value)
    if not len(corner_errors):
        results = {name: value for name, value in results.items() if "mha" not in name}
    return {name: 100 * value for name, value in results.items()}


@torch.inference_mode()
def match(network: ALIKE, pair: dict[str, Tensor], config: RunConfig) -> Matched:
    """Matches one pair and compares with the truth."""
    device = next(network.parameters()).device
    features = []
    for name in ("image0", "image1"):
        image = to_float(pair[name][None].to(device))[0]
        keypoints, _, descriptors = network.extract(image, config.validation.top_k, 0.0)
        features.append((keypoints.cpu(), descriptors.cpu().numpy()))
    (points0, descriptors0), (points1, descriptors1) = features
    warped = []
    for source, points in enumerate((points0, points1)):
        there, visible, _ = warp_pair(points, pair, source)
        warped.append(torch.where(visible[:, None], there, torch.nan).double().numpy())
    keypoints0, keypoints1 = points0.double().numpy(), points1.double().numpy()
    matches = match_mutual(descriptors0, descriptors1, -1.0)
    errors = metrics.matching_errors(warped[0], keypoints1, matches)
    corner_error = float("nan")
    if "depth0" not in pair:
        estimated = metrics.estimate_homography(keypoints0, keypoints1, matches)
        truth, size = pair["view1_from_view0"].double().numpy(), pair["image0"].shape[1:]
        corner_error = metrics.corner_error(estimated, truth, (size[0], size[1]))
    return Matched(
        keypoints0,
        keypoints1,
        matches,
        errors,
        metrics.repeatability(keypoints0, keypoints1, warped[0], warped[1]),
        metrics.matching_score(errors, warped[0], warped[1], THRESHOLDS),
        metrics.matching_accuracy(errors, THRESHOLDS),
        corner_error,
    )


def draw(pair: dict[str, Tensor], matched: Matched) -> NDArray[np.uint8]:
    """Both images (H, 2 W, 3) with keypoints; matches within 3 px in green, others in red."""
    images = [pair[name].permute(1, 2, 0).numpy() for name in ("image0", "image1")]
    picture = np.ascontiguousarray(np.hstack(images))
    points0 = matched.keypoints0.round().astype(int)
    points1 = matched.keypoints1.round().astype(int) + np.array([images[0].shape[1], 0])
    for point in [*points0.tolist(), *points1.tolist()]:
        cv2.circle(picture, point, 1, (255, 255, 0), -1)
    for (i, j), error in zip(matched.matches, matched.errors, strict=True):
        colour = (0, 255, 0) if error <= 3 else (255, 0, 0)
        cv2.line(picture, points0[i].tolist(), points1[j].tolist(), colour, 1, cv2.LINE_AA)
    return picture
