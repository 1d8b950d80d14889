"""Repeatability, matching score, matching and homography accuracy: arrays in, numbers out.

Two views: `points0_in_1` (N, 2) are the keypoints of view 0 where view 1 should show them, NaN
where it does not. A homography or depth gives them; `warp` and `covisible` are for homographies
(3, 3). Sizes are (height, width), thresholds pixels. What is not found counts as 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Size = tuple[int, int]


def warp(points: Array, homography: Array) -> Array:
    """Points (N, 2) by a homography (3, 3) -> (N, 2) float64; NaN behind the horizon."""
    homogeneous = np.column_stack([points, np.ones(len(points))]) @ homography.T
    depth = homogeneous[:, 2:]
    nowhere = np.full((len(points), 2), np.nan)
    return np.asarray(np.divide(homogeneous[:, :2], depth, out=nowhere, where=depth > 1e-9))


def covisible(points: Array, size: Size) -> Array:
    """Points (N, 2), those outside an image of `size` set to NaN."""
    limit = np.array([size[1] - 1, size[0] - 1])
    inside = np.asarray((points >= 0) & (points <= limit)).all(axis=1, keepdims=True)
    return np.asarray(np.where(inside, points, np.nan))


def repeatability(
    keypoints0: Array,
    keypoints1: Array,
    points0_in_1: Array,
    points1_in_0: Array,
    threshold: float = 3.0,
) -> float:
    """Rep: mutually nearest pairs of covisible keypoints within the threshold, by their number.

    Their number is the mean over both views; a pair's distance is the mean over both as well.
    """
    seen0, seen1 = (np.isfinite(p).all(1) for p in (points0_in_1, points1_in_0))
    if not seen0.any() or not seen1.any():
        return 0.0
    there, here = (
        (points0_in_1[seen0], keypoints1[seen1]),
        (keypoints0[seen0], points1_in_0[seen1]),
    )
    # a pair within the threshold on average is within twice the threshold in view 1
    i, j = _near(*there, 2 * threshold)
    distance = (_distances(*there, i, j) + _distances(*here, i, j)) / 2
    order = np.argsort(distance, kind="stable")
    first0, first1 = (np.unique(side[order], return_index=True)[1] for side in (i, j))
    mutual = order[np.intersect1d(first0, first1)]
    close = (distance[mutual] <= threshold).sum()
    return float(close / _mean_number(points0_in_1, points1_in_0))


def matching_errors(points0_in_1: Array, keypoints1: Array, matches: Array) -> Array:
    """Distance in view 1 of each match (K, 2) from where it should be: (K,), inf if nowhere."""
    error = np.linalg.norm(points0_in_1[matches[:, 0]] - keypoints1[matches[:, 1]], axis=1)
    return np.asarray(np.nan_to_num(error, nan=np.inf))


def matching_accuracy(errors: Array, thresholds: Sequence[float]) -> Array:
    """MMA of one pair: share of the putative matches with errors (K,) within each threshold."""
    return np.asarray(_inliers(errors, thresholds) / max(len(errors), 1))


def matching_score(
    errors: Array, points0_in_1: Array, points1_in_0: Array, thresholds: Sequence[float]
) -> Array:
    """MS of one pair: correct matches by the mean number of covisible keypoints."""
    number = max(_mean_number(points0_in_1, points1_in_0), 1.0)
    return np.asarray(_inliers(errors, thresholds) / number)


def estimate_homography(
    keypoints0: Array, keypoints1: Array, matches: Array, threshold: float = 3.0
) -> Array | None:
    """view1_from_view0 (3, 3) by RANSAC from matches (K, 2); None without a solution."""
    if len(matches) < 4:
        return None
    points0 = keypoints0[matches[:, 0]].astype(np.float64)
    points1 = keypoints1[matches[:, 1]].astype(np.float64)
    homography, _ = cv2.findHomography(points0, points1, cv2.RANSAC, threshold)
    return None if homography is None else np.asarray(homography)


def corner_error(estimated: Array | None, view1_from_view0: Array, size0: Size) -> float:
    """Mean distance by which the corners of view 0 are misplaced in view 1; inf without one."""
    if estimated is None:
        return np.inf
    right, bottom = size0[1] - 1, size0[0] - 1
    corners = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]])
    error = np.linalg.norm(warp(corners, estimated) - warp(corners, view1_from_view0), axis=1)
    return float(np.nan_to_num(error.mean(), nan=np.inf))


def homography_accuracy(corner_errors: Array, thresholds: Sequence[float]) -> Array:
    """MHA: share of the pairs with corner errors (P,) within each threshold."""
    within = np.asarray(corner_errors)[:, None] <= np.asarray(thresholds)
    return np.asarray(within.mean(0)) if len(within) else np.zeros(len(thresholds))


def _inliers(errors: Array, thresholds: Sequence[float]) -> Array:
    return np.asarray((errors[:, None] <= np.asarray(thresholds)).sum(0))


def _mean_number(points0_in_1: Array, points1_in_0: Array) -> float:
    return float(sum(np.isfinite(p).all(1).sum() for p in (points0_in_1, points1_in_0)) / 2)


def _near(points0: Array, points1: Array, radius: float) -> tuple[Array, Array]:
    """Indices i, j of the points that are at most `radius` apart, in x and in y."""
    order = np.argsort(points1[:, 0])
    first = np.searchsorted(points1[order, 0], points0[:, 0] - radius, "left")
    last = np.searchsorted(points1[order, 0], points0[:, 0] + radius, "right")
    counts = last - first
    i = np.repeat(np.arange(len(points0)), counts)
    before = np.cumsum(counts) - counts  # candidates of earlier points
    j = order[np.arange(len(i)) + np.repeat(first - before, counts)]
    near = np.abs(points0[i, 1] - points1[j, 1]) <= radius
    return i[near], j[near]


def _distances(points0: Array, points1: Array, i: Array, j: Array) -> Array:
    return np.asarray(np.linalg.norm(points0[i] - points1[j], axis=1))
