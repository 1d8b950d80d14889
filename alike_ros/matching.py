"""Mutual nearest neighbours among descriptors, anywhere or near an expected place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def match_mutual(
    descriptors0: NDArray[np.float32],
    descriptors1: NDArray[np.float32],
    min_similarity: float,
) -> NDArray[np.int64]:
    """Pairs that are each other's nearest neighbour, at least `min_similarity` alike.

    descriptors0 (N, D) and descriptors1 (M, D) have unit norm. Returns (K, 2) indices, most
    similar first; (0, 2) when either side is empty.
    """
    if not len(descriptors0) or not len(descriptors1):
        return np.empty((0, 2), np.int64)
    similarity = descriptors0 @ descriptors1.T  # (N, M)
    nearest1 = similarity.argmax(axis=1)
    nearest0 = similarity.argmax(axis=0)
    rows = np.arange(len(descriptors0))
    best = similarity[rows, nearest1]
    keep = (nearest0[nearest1] == rows) & (best >= min_similarity)  # NaN compares false
    matches = np.stack([rows[keep], nearest1[keep]], axis=1)
    return matches[np.argsort(-best[keep], kind="stable")]


def match_pairs(
    descriptors0: NDArray[np.float32],
    descriptors1: NDArray[np.float32],
    min_similarity: float,
    pairs: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Like `match_mutual`, among some pairs (P, 2): much faster where they are few."""
    similarity = np.einsum("pd,pd->p", descriptors0[pairs[:, 0]], descriptors1[pairs[:, 1]])
    alike = similarity >= min_similarity
    pairs, similarity = pairs[alike], similarity[alike]
    pairs = pairs[np.argsort(-similarity, kind="stable")]
    best0, best1 = (np.zeros(len(pairs), bool) for _ in range(2))
    best0[np.unique(pairs[:, 0], return_index=True)[1]] = True  # the first: the most similar
    best1[np.unique(pairs[:, 1], return_index=True)[1]] = True
    return pairs[best0 & best1]


def pairs_near(points0: NDArray[Any], points1: NDArray[Any], radius: float) -> NDArray[np.int64]:
    """Pairs (P, 2) of points (N, 2) and (M, 2) that are within a radius of each other.

    By a grid with cells as large as the radius: those of three neighbours in a row have successive
    numbers.
    """
    if not len(points0) or not len(points1):
        return np.empty((0, 2), np.int64)
    corner = points1.min(axis=0)
    size = np.floor((points1.max(axis=0) - corner) / radius) + 1
    # two empty cells on either side, so that no row runs into the next
    width = int(size[0]) + 4
    number0, number1 = (
        (np.clip(np.floor((points - corner) / radius), -2, size + 1).astype(np.int64) + 2)
        @ np.array([1, width])
        for points in (points0, points1)
    )
    middle = (number0[:, None] + [-width, 0, width]).ravel()
    pairs = pairs_between(middle - 1, middle + 1, number1)
    pairs[:, 0] //= 3
    distance = np.hypot(*(points0[pairs[:, 0]] - points1[pairs[:, 1]]).T)
    return np.asarray(pairs[distance < radius])


def pairs_between(
    low0: NDArray[Any], high0: NDArray[Any], values1: NDArray[Any]
) -> NDArray[np.int64]:
    """Pairs (P, 2) of intervals (N,) and the values (M,) that lie in them, by sorting."""
    order = np.argsort(values1)
    first = np.searchsorted(values1, low0, sorter=order)
    count = np.searchsorted(values1, high0, side="right", sorter=order) - first
    intervals = np.repeat(np.arange(len(low0)), count)
    start = np.repeat(first - (np.cumsum(count) - count), count)
    return np.stack([intervals, order[start + np.arange(len(intervals))]], axis=1)
