"""Mutual nearest neighbours near an expected place, compiled by numba: no pairs are listed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from alike_ros.compiling import compiled
from alike_ros.geometry import Array
from alike_ros.matching import MOST_CELLS

Float = NDArray[np.float32]
Int = NDArray[np.int64]


def match_near(
    points0: NDArray[Any],
    points1: NDArray[Any],
    radius: float,
    descriptors0: Float,
    descriptors1: Float,
    min_similarity: float,
) -> Int:
    """See `matching.match_near`."""
    if not len(points0) or not len(points1):
        return np.empty((0, 2), np.int64)
    here, there = (np.ascontiguousarray(points, np.float64) for points in (points0, points1))
    mine, theirs = (np.ascontiguousarray(d, np.float32) for d in (descriptors0, descriptors1))
    if mine.shape[1] != theirs.shape[1] or not np.isfinite(there).all():
        # compiled code would read and write beside its arrays
        raise ValueError("descriptors of different lengths, or points that are not finite")
    nearest1, best = nearest(here, there, radius, mine, theirs)
    found = np.nonzero((nearest1 >= 0) & (best >= min_similarity))[0]
    found = found[np.argsort(-best[found], kind="stable")]
    return np.stack([found, nearest1[found]], axis=1)


@compiled
def nearest(
    points0: Array, points1: Array, radius: float, descriptors0: Float, descriptors1: Float
) -> tuple[Int, Float]:
    """For each of N the one of M that it is mutually most alike with, -1: none; and how alike.

    By a grid with cells as large as the radius, or larger: those within it are in nine.
    """
    left, top = points1[:, 0].min(), points1[:, 1].min()
    wide, high = points1[:, 0].max() - left, points1[:, 1].max() - top
    side = max(radius, max(wide, high) / MOST_CELLS)
    width, height = int(wide / side) + 1, int(high / side) + 1
    order, start = _sorted_into_cells(points1, left, top, side, width, height)
    nearest1, best0 = np.full(len(points0), -1), np.full(len(points0), np.float32(-np.inf))
    nearest0, best1 = np.full(len(points1), -1), np.full(len(points1), np.float32(-np.inf))
    for i in range(len(points0)):
        x, y = points0[i]
        column, row = np.floor((x - left) / side), np.floor((y - top) / side)
        if not (-1 <= column <= width and -1 <= row <= height):
            continue
        first, last = max(int(column) - 1, 0), min(int(column) + 1, width - 1)
        for r in range(max(int(row) - 1, 0), min(int(row) + 1, height - 1) + 1):
            for place in range(start[r * width + first], start[r * width + last + 1]):
                j = order[place]
                dx, dy = x - points1[j, 0], y - points1[j, 1]
                if not dx * dx + dy * dy < radius * radius:
                    continue
                alike = _dot(descriptors0[i], descriptors1[j])
                if alike > best0[i]:
                    nearest1[i], best0[i] = j, alike
                if alike > best1[j]:
                    nearest0[j], best1[j] = i, alike
    for i in range(len(points0)):
        if nearest1[i] >= 0 and nearest0[nearest1[i]] != i:
            nearest1[i] = -1
    return nearest1, best0


@compiled
def _sorted_into_cells(
    points: Array, left: float, top: float, side: float, width: int, height: int
) -> tuple[Int, Int]:
    """Points (M,) in the order of their cells, and where in it each cell starts."""
    cell = np.empty(len(points), np.int64)
    start = np.zeros(width * height + 1, np.int64)
    for j in range(len(points)):
        x, y = points[j]
        cell[j] = int((y - top) / side) * width + int((x - left) / side)
        start[cell[j] + 1] += 1
    for c in range(width * height):
        start[c + 1] += start[c]
    order, free = np.empty(len(points), np.int64), start.copy()
    for j in range(len(points)):
        order[free[cell[j]]] = j
        free[cell[j]] += 1
    return order, start


@compiled
def _dot(a: Float, b: Float) -> Any:
    total = np.float32(0)
    for k in range(len(a)):
        total += a[k] * b[k]
    return total
