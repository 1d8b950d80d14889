"""Descriptors where keypoints are, as `descriptors.py` makes them, compiled by numba."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alike_ros.backends.kernels import Axis
from alike_ros.backends.simd import GROUP, PIXELS, convolve
from alike_ros.backends.strips import Strip, strips
from alike_ros.compiling import compiled
from alike_ros.descriptors import DescriptorHead
from alike_ros.team import Team

Float = NDArray[np.float32]
#: Pixels around a keypoint.
_CORNERS = 4
#: Keypoints whose corners are a group.
_TOGETHER = GROUP // _CORNERS


class CompiledHead:
    """A head whose keypoints are described by several threads."""

    def __init__(self, head: DescriptorHead, team: Team) -> None:
        self._team = team
        self._to_level1 = np.ascontiguousarray(head.level1.T)
        self._head = np.ascontiguousarray(head.head2.T)
        self._sizes: list[tuple[int, ...]] = []

    def describe(self, maps: Sequence[Float], keypoints: Float) -> Float:
        """See `DescriptorHead.describe`; block 1 has no more columns than the image."""
        block1, *levels = maps
        sizes = [level.shape for level in maps]
        if self._sizes != sizes:
            self._sizes = sizes
            height, width = block1.shape[:2]
            self._axes = tuple(
                (Axis.between(level.shape[0], height), Axis.between(level.shape[1], width))
                for level in levels
            )
        descriptors = np.empty((len(keypoints), len(self._head)), np.float32)

        def describe(strip: Strip) -> None:
            describe_keypoints(
                keypoints[strip.start : strip.end],
                block1,
                tuple(levels),
                self._axes,
                self._to_level1,
                self._head,
                descriptors[strip.start : strip.end],
            )

        self._team.map(describe, strips(len(keypoints), 1, self._team.size))
        return descriptors


@compiled
def describe_keypoints(
    keypoints: Float,
    block1: Float,
    levels: tuple[Float, ...],
    axes: tuple[tuple[Axis, Axis], ...],
    to_level1: Float,
    head: Float,
    descriptors: Float,
) -> None:
    """Unit descriptors (N, dim) of keypoints (N, 2).

    block1 (H, W, C), levels (h, w, dim/4) and the axes of their rows and columns; to_level1 (C,
    dim/4); head (dim, dim), inputs first.

    The head is a convolution with features and weights in each other's place: the features of
    GROUP corners are the kernel, and the numbers of a descriptor the pixels.
    """
    dim, count = descriptors.shape[1], len(keypoints)
    kernel, feature = np.zeros((dim, 1, GROUP), np.float32), np.empty(dim, np.float32)
    dense = np.empty((GROUP, dim), np.float32)
    none, bias, lowest = kernel[:0], np.zeros(GROUP, np.float32), np.float32(-np.inf)
    for first in range(0, count, _TOGETHER):
        last = min(first + _TOGETHER, count)
        for i in range(first, last):
            x, y = corner(keypoints[i], block1.shape)
            for k in range(_CORNERS):
                features_at(x + k % 2, y + k // 2, block1, levels, axes, to_level1, feature)
                place = (i - first) * _CORNERS + k
                for j in range(dim):
                    kernel[j, 0, place] = feature[j]
        for at in range(0, dim, PIXELS):
            convolve(head, 0, 0, 0, dim, none, head, at, dim, kernel, bias, lowest, dense, at, dim)
        for i in range(first, last):
            x, y = corner(keypoints[i], block1.shape)
            place = (i - first) * _CORNERS
            blend(dense[place:], keypoints[i, 0] - x, keypoints[i, 1] - y, descriptors[i])


@compiled
def corner(keypoint: Float, shape: tuple[int, int, int]) -> tuple[int, int]:
    """The pixel at the top left of a keypoint, that has a right and a lower neighbour."""
    x, y = max(int(keypoint[0]), 0), max(int(keypoint[1]), 0)  # NaN is far below 0
    return min(x, shape[1] - 2), min(y, shape[0] - 2)


@compiled
def features_at(
    x: int,
    y: int,
    block1: Float,
    levels: tuple[Float, ...],
    axes: tuple[tuple[Axis, Axis], ...],
    to_level1: Float,
    feature: Float,
) -> None:
    """What all levels (dim,) are at a pixel."""
    depth = to_level1.shape[1]
    level1 = feature[:depth]
    level1[:] = 0
    for channel in range(len(to_level1)):
        value = block1[y, x, channel]
        for k in range(depth):
            level1[k] += value * to_level1[channel, k]
    for k in range(depth):
        level1[k] = max(level1[k], np.float32(0))
    for i in range(len(levels)):
        level, (rows, columns) = levels[i], axes[i]
        top, left = rows.cell[y], columns.cell[x]
        bottom, right = min(top + 1, len(level) - 1), min(left + 1, level.shape[1] - 1)
        down, across = rows.fraction[y], columns.fraction[x]
        found = feature[(i + 1) * depth : (i + 2) * depth]
        a, b, c, d = level[top, left], level[top, right], level[bottom, left], level[bottom, right]
        for k in range(depth):
            upper, lower = a[k] + (b[k] - a[k]) * across, c[k] + (d[k] - c[k]) * across
            found[k] = upper + (lower - upper) * down


@compiled
def blend(dense: Float, right: float, down: float, descriptor: Float) -> None:
    """The unit vector (dim,) between those of a keypoint's corners, the first four of (_, dim)."""
    one = np.float32(1)
    shares = (one - right) * (one - down), right * (one - down), (one - right) * down, right * down
    a, b, c, d = dense[0], dense[1], dense[2], dense[3]
    e, f, g, h = (
        shares[0] / length(a),
        shares[1] / length(b),
        shares[2] / length(c),
        shares[3] / length(d),
    )
    for i in range(len(descriptor)):
        descriptor[i] = e * a[i] + f * b[i] + g * c[i] + h * d[i]
    unit = one / length(descriptor)
    for i in range(len(descriptor)):
        descriptor[i] *= unit


@compiled
def length(vector: Float) -> np.float32:
    """Of a vector, at least 1e-12."""
    total = np.float32(0)
    for i in range(len(vector)):
        total += vector[i] * vector[i]
    found: np.float32 = max(np.sqrt(total), np.float32(1e-12))
    return found
