"""Descriptors where keypoints are, in NumPy: the factored head of `network/alnet.py`.

Sampling the dense descriptor map at a keypoint needs the head's output at the four pixels around
it; upsampling commutes with the linear part of the head, so every level is sampled at those four
pixels at its own resolution. No map of dim x H x W is ever made.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Int = NDArray[np.int64]

#: Multiply-adds of a product that OpenBLAS surely leaves in one thread. Where its threads have to
#: wait for cores, 4000x64x64 took 16 ms instead of 0.6, and 4000x128x128 16 instead of 1.8; on
#: idle cores threads would save some 0.3 and 0.9 ms.
_ONE_THREAD = 2**16


@dataclass(frozen=True)
class DescriptorHead:
    """What the network does to its encoder's maps, as matrices (out, in).

    level1 (dim/4, c1) makes the first level of the encoder's full-resolution map; head1 (dim, dim)
    is there in alike-l only; head2 (dim, dim).
    """

    level1: Float
    head1: Float | None
    head2: Float

    def describe(self, maps: Sequence[Float], keypoints: Float, margin: int = 0) -> Float:
        """Unit descriptors (N, dim) at keypoints (N, 2).

        maps: block 1's output (H, margin + W + margin, c1), then levels 2 to 4, (h, w, dim/4), all
        of the padded image.
        """
        height, row = maps[0].shape[:2]
        width = row - 2 * margin
        low = np.clip(np.floor(keypoints).astype(np.int64), 0, (width - 2, height - 2))  # (N, 2)
        x, y = low.T
        corners = (y * row + margin + x)[:, None] + np.array([0, 1, row, row + 1])  # (N, 4)
        dim = len(self.head2)
        features = np.empty((len(keypoints), 4, dim), np.float32)
        level1 = _product(_take(maps[0], corners.ravel()), self.level1)  # (4N, dim/4)
        np.maximum(level1.reshape(-1, 4, dim // 4), 0, out=features[..., : dim // 4])
        for i, level in enumerate(maps[1:], start=1):
            rows = Cells.around(y, height, level.shape[0])
            cols = Cells.around(x, width, level.shape[1])
            features[..., i * dim // 4 : (i + 1) * dim // 4] = _sample(level, rows, cols)
        rows_of_features = features.reshape(-1, dim)
        if self.head1 is not None:
            rows_of_features = np.maximum(_product(rows_of_features, self.head1), 0)
        dense = _product(rows_of_features, self.head2).reshape(-1, 4, dim)  # not yet unit vectors
        fx, fy = (keypoints - low).astype(np.float32).T
        weights = np.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], axis=1)
        weights /= _norms(dense)
        return _normalised(np.matmul(weights[:, None], dense)[:, 0])

    def to_json(self) -> str:
        """Text for the metadata of an ONNX file."""
        return json.dumps({name: _encode(matrix) for name, matrix in vars(self).items()})

    @classmethod
    def from_json(cls, text: str) -> DescriptorHead:
        """The inverse of `to_json`."""
        return cls(**{name: _decode(item) for name, item in json.loads(text).items()})


@dataclass(frozen=True)
class Cells:
    """The three cells (3, N) of a coarser axis around neighbouring pixels p and p + 1.

    weights (2, 3, N): share of each cell in the value at p and at p + 1, bilinear with aligned
    corners. Three are enough: on a coarser axis p + 1 is less than a cell further than p.
    """

    index: Int
    weights: Float

    @classmethod
    def around(cls, pixel: Int, size: int, cells: int) -> Cells:
        """Cells around pixels of an axis of `size`, which has `cells` of them."""
        position = np.stack([pixel, pixel + 1]) * ((cells - 1) / (size - 1))  # (2, N)
        index = np.floor(position[0]).astype(np.int64) + np.arange(3)[:, None]  # (3, N)
        weights = np.maximum(1 - np.abs(position[:, None] - index), 0)
        return cls(np.minimum(index, cells - 1), weights.astype(np.float32))


def _sample(level: Float, rows: Cells, cols: Cells) -> Float:
    """Level (h, w, C) at pixels (p, q) and those right, below and right below -> (N, 4, C)."""
    count, channels = rows.index.shape[1], level.shape[2]
    cells = rows.index[:, None] * level.shape[1] + cols.index[None]  # (3, 3, N)
    patch = _take(level, cells.transpose(2, 0, 1).ravel()).reshape(count, 9, channels)
    weights = np.einsum("ian,jbn->nijab", rows.weights, cols.weights).reshape(count, 4, 9)
    return np.asarray(np.matmul(weights, patch))


def _take(level: Float, pixels: Int) -> Float:
    """Level (h, w, C) at flat indices (N,), which are valid -> (N, C)."""
    return level.reshape(-1, level.shape[2]).take(pixels, axis=0, mode="clip")


def _product(x: Float, matrix: Float) -> Float:
    """The rows of x (N, in) times a matrix (out, in) -> (N, out), in this thread."""
    rows = max(_ONE_THREAD // matrix.size, 1)
    whole = len(x) // rows * rows
    out = np.empty((len(x), len(matrix)), np.float32)
    blocks = out[:whole].reshape(-1, rows, len(matrix))
    np.matmul(x[:whole].reshape(-1, rows, x.shape[1]), matrix.T, out=blocks)
    np.matmul(x[whole:], matrix.T, out=out[whole:])
    return out


def _norms(x: Float) -> Float:
    """Lengths of the vectors (..., D) -> (...), at least 1e-12."""
    return np.asarray(np.maximum(np.sqrt(np.einsum("...d,...d->...", x, x)), 1e-12))


def _normalised(x: Float) -> Float:
    return np.asarray(x / _norms(x)[..., None])


def _encode(matrix: Float | None) -> dict[str, Any] | None:
    if matrix is None:
        return None
    data = base64.b64encode(matrix.astype("<f4").tobytes()).decode("ascii")
    return {"shape": matrix.shape, "float32": data}


def _decode(item: dict[str, Any] | None) -> Any:
    if item is None:
        return None
    data = np.frombuffer(base64.b64decode(item["float32"]), "<f4")
    return data.reshape(item["shape"]).astype(np.float32)
