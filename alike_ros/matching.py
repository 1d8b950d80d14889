"""Mutual nearest neighbours among descriptors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def match_mutual(
    descriptors0: NDArray[np.float32],
    descriptors1: NDArray[np.float32],
    min_similarity: float,
    allowed: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Pairs that are each other's nearest neighbour, at least `min_similarity` alike.

    descriptors0 (N, D) and descriptors1 (M, D) have unit norm; `allowed` (N, M), if given, marks
    the pairs that may match at all. Returns (K, 2) indices, most similar first; (0, 2) when either
    side is empty.
    """
    if not len(descriptors0) or not len(descriptors1):
        return np.empty((0, 2), np.int64)
    similarity = descriptors0 @ descriptors1.T  # (N, M)
    if allowed is not None:
        similarity[~allowed] = -np.inf
    nearest1 = similarity.argmax(axis=1)
    nearest0 = similarity.argmax(axis=0)
    rows = np.arange(len(descriptors0))
    best = similarity[rows, nearest1]
    # NaN compares false, and -inf is no match however low the floor is.
    keep = (nearest0[nearest1] == rows) & (best >= min_similarity) & np.isfinite(best)
    matches = np.stack([rows[keep], nearest1[keep]], axis=1)
    return matches[np.argsort(-best[keep], kind="stable")]
