"""Descriptors where keypoints are, in NumPy: the factored head of `network/alnet.py`.

Sampling the dense descriptor map at a keypoint needs the head's output at the four pixels around
it; upsampling commutes with the linear part of the head, so every level is sampled at those four
pixels at its own resolution. No map of dim x H x W is ever made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from alike_ros import arrays

Float = NDArray[np.float32]
Int = NDArray[np.int64]

#: Multiply-adds of a product that OpenBLAS surely leaves in one thread. Where its threads have to
#: wait for cores, 4000x64x64 took 16 ms instead of 0.6, and 4000x128x128 16 instead of 1.8; on
#: idle cores threads would save some 0.3 and 0.9 ms.
_ONE_THREAD = 2**17


class Describer(Protocol):
    """What makes descriptors of the encoder's maps."""

    def describe(self, maps: Sequence[Float], keypoints: Float) -> Float:
        """See `DescriptorHead.describe`."""
        ...


@dataclass(frozen=True)
class DescriptorHead:
    """What the network does to its encoder's maps, as matrices (out, in).

    level1 (dim/4, c1) makes the first level of the encoder's full-resolution map; head1 (dim, dim)
    is there in alike-l only; head2 (dim, dim).
    """

    level1: Float
    head1: Float | None
    head2: Float

    def describe(self, maps: Sequence[Float], keypoints: Float) -> Float:
        """Unit descriptors (N, dim) at keypoints (N, 2).

        maps: block 1's output (H, W, c1), which may have columns more at either side that mean
        nothing; then levels 2 to 4, (h, w, dim/4), of which the first is half as large; all of the
        padded image.
        """
        block1, levels = maps[0], maps[1:]
        height, row = block1.shape[:2]
        width = 2 * levels[0].shape[1]
        margin = (row - width) // 2
        low = np.minimum(keypoints.astype(np.int64), np.array([width - 2, height - 2]))  # (N, 2)
        x, y = low.T
        count, dim = len(keypoints), len(self.head2)
        features = np.empty((count, 4, 4, dim // 4), np.float32)  # keypoint, corner, level
        corners = (y * row + margin + x)[:, None] + np.array([0, 1, row, row + 1])  # (N, 4)
        level1 = _product(_take(block1, corners), self.level1)
        np.maximum(level1, 0, out=features[:, :, 0])
        rows = Cells.around(y, height, [level.shape[0] for level in levels])
        cols = Cells.around(x, width, [level.shape[1] for level in levels])
        _sample(levels, rows, cols, out=features[:, :, 1:])
        joined = features.reshape(count, 4, dim)
        if self.head1 is not None:
            joined = np.maximum(_product(joined, self.head1), 0)
        dense = _product(joined, self.head2)  # not yet unit vectors
        fx, fy = (keypoints - low).astype(np.float32).T
        weights = np.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], axis=1)
        weights /= _norms(dense)
        return _normalised(np.matmul(weights[:, None], dense)[:, 0])

    def to_json(self) -> str:
        """Text for the metadata of an ONNX file."""
        return arrays.to_json(vars(self))

    @classmethod
    def from_json(cls, text: str) -> DescriptorHead:
        """The inverse of `to_json`."""
        return cls(**arrays.from_json(text))


@dataclass(frozen=True)
class Cells:
    """The three cells (L, 3, N) of L coarser axes around neighbouring pixels p and p + 1.

    weights (L, 2, 3, N): share of each cell in the value at p and at p + 1, bilinear with aligned
    corners. Three are enough: on a coarser axis p + 1 is less than a cell further than p.
    """

    index: Int
    weights: Float

    @classmethod
    def around(cls, pixel: Int, size: int, cells: Sequence[int]) -> Cells:
        """Cells around pixels of an axis of `size`, where the coarser axes have so many."""
        last = np.array(cells)[:, None, None] - 1
        scale = last.astype(np.float32) / np.float32(size - 1)
        position = np.stack([pixel, pixel + 1]).astype(np.float32) * scale  # (L, 2, N)
        index = np.floor(position[:, :1]) + np.arange(3, dtype=np.float32)[:, None]  # (L, 3, N)
        weights = np.maximum(1 - np.abs(position[:, :, None] - index[:, None]), 0)
        return cls(np.minimum(index.astype(np.int64), last), weights)


def _sample(levels: Sequence[Float], rows: Cells, cols: Cells, out: Float) -> None:
    """Levels (h, w, C) at pixels (p, q) and those right, below and right below.

    out: (N, 4, L, C), whatever its strides.
    """
    count, channels = out.shape[0], out.shape[3]
    widths = np.array([level.shape[1] for level in levels])[:, None, None, None]
    cells = rows.index[:, :, None] * widths + cols.index[:, None]  # (L, 3, 3, N)
    cells = cells.reshape(len(levels), 9, count).transpose(0, 2, 1)
    patches = np.empty((len(levels), count, 9, channels), np.float32)
    for level, index, patch in zip(levels, cells, patches, strict=True):
        _take(level, index, out=patch)
    # N innermost, in which einsum is four times as fast
    weights = np.einsum("lian,ljbn->lijabn", rows.weights, cols.weights)
    weights = weights.reshape(len(levels), 4, 9, count).transpose(0, 3, 1, 2)
    np.matmul(weights, patches, out=out.transpose(2, 0, 1, 3))


def _take(level: Float, pixels: Int, out: Float | None = None) -> Float:
    """Level (h, w, C) at flat indices (...), which are valid -> (..., C)."""
    return level.reshape(-1, level.shape[2]).take(pixels, axis=0, mode="clip", out=out)


def _product(x: Float, matrix: Float) -> Float:
    """Vectors x (..., in) times a matrix (out, in) -> (..., out), in this thread."""
    vectors, matrix = x.reshape(-1, x.shape[-1]), np.ascontiguousarray(matrix.T)
    rows = max(_ONE_THREAD // matrix.size, 1)
    whole = len(vectors) // rows * rows
    out = np.empty((len(vectors), matrix.shape[1]), np.float32)
    blocks = out[:whole].reshape(-1, rows, matrix.shape[1])
    np.matmul(vectors[:whole].reshape(-1, rows, len(matrix)), matrix, out=blocks)
    np.matmul(vectors[whole:], matrix, out=out[whole:])
    return out.reshape(*x.shape[:-1], matrix.shape[1])


def _norms(x: Float) -> Float:
    """Lengths of the vectors (..., D) -> (...), at least 1e-12."""
    return np.asarray(np.maximum(np.sqrt(np.einsum("...d,...d->...", x, x)), 1e-12))


def _normalised(x: Float) -> Float:
    return np.asarray(x / _norms(x)[..., None])
