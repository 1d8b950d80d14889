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

    def describe(self, maps: Sequence[Float], keypoints: Float) -> Float:
        """Unit descriptors (N, dim) at keypoints (N, 2).

        maps: block 1's output (c1, H, W), then levels 2 to 4, (dim/4, h, w), all of the padded
        image. Block 1's may be packed, (p c1, H, W/p): p pixels of a row beside each other.
        """
        pack = self.pack(len(maps[0]))
        height, width = maps[0].shape[1], maps[0].shape[2] * pack
        low = np.clip(np.floor(keypoints).astype(np.int64), 0, (width - 2, height - 2))  # (N, 2)
        x, y = low.T
        corners = np.stack([y, y, y + 1, y + 1]) * width + np.stack([x, x + 1, x, x + 1])  # (4, N)
        block1 = _take_packed(maps[0], corners.ravel(), pack)  # (4N, c1)
        levels = [np.maximum(_product(block1, self.level1), 0)]  # (4N, dim/4)
        for level in maps[1:]:
            rows = Cells.around(y, height, level.shape[1])
            cols = Cells.around(x, width, level.shape[2])
            levels.append(_sample(level, rows, cols))
        features = np.concatenate(levels, axis=1)  # (4N, dim)
        if self.head1 is not None:
            features = np.maximum(_product(features, self.head1), 0)
        dense = _normalised(_product(features, self.head2))
        dense = dense.reshape(4, len(keypoints), len(self.head2))
        fx, fy = (keypoints - low).astype(np.float32).T
        weights = np.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy])
        return _normalised(np.einsum("kn,knd->nd", weights, dense))

    def pack(self, channels: int) -> int:
        """Pixels of a row that lie beside each other in a map of block 1 with so many channels."""
        return int(channels // self.level1.shape[1])

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
    """Level (C, h, w) at the pixels (p, q), (p + 1, q), (p, q + 1), (p + 1, q + 1) -> (4N, C)."""
    cells = rows.index[:, None] * level.shape[2] + cols.index[None]  # (3, 3, N)
    patch = _take(level, cells).reshape(len(level), *cells.shape)  # (C, 3, 3, N)
    across = np.einsum("jbn,cabn->jcan", cols.weights, patch)  # (2, C, 3, N)
    corners = np.einsum("ian,jcan->ijcn", rows.weights, across)  # (2, 2, C, N)
    return np.asarray(corners.transpose(0, 1, 3, 2).reshape(4 * corners.shape[3], len(level)))


def _take(level: Float, pixels: Int) -> Float:
    """Level (C, h, w) at flat indices, which are valid -> (C, pixels.size)."""
    flat = level.reshape(len(level), level.shape[1] * level.shape[2])
    return flat.take(pixels.ravel(), axis=1, mode="clip")  # three times as fast as indexing


def _take_packed(level: Float, pixels: Int, pack: int) -> Float:
    """Packed map (p C, h, w / p) at flat indices (N,) of the map (C, h, w) -> (N, C)."""
    if pack == 1:
        return np.ascontiguousarray(_take(level, pixels).T)
    cell, pixel = np.divmod(pixels, pack)
    channels, cells = len(level) // pack, level.shape[1] * level.shape[2]
    first = pixel * (channels * cells) + cell
    index = first[:, None] + np.arange(channels) * cells
    return np.asarray(level.reshape(-1).take(index, mode="clip"))


def _product(x: Float, matrix: Float) -> Float:
    """The rows of x (N, in) times a matrix (out, in) -> (N, out), in this thread."""
    rows = max(_ONE_THREAD // matrix.size, 1)
    whole = len(x) // rows * rows
    out = np.empty((len(x), len(matrix)), np.float32)
    blocks = out[:whole].reshape(-1, rows, len(matrix))
    np.matmul(x[:whole].reshape(-1, rows, x.shape[1]), matrix.T, out=blocks)
    np.matmul(x[whole:], matrix.T, out=out[whole:])
    return out


def _normalised(x: Float) -> Float:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12))


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
