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
        image.
        """
        height, width = maps[0].shape[1:]
        low = np.clip(np.floor(keypoints).astype(np.int64), 0, (width - 2, height - 2))  # (N, 2)
        x, y = low.T
        corners = np.stack([y, y, y + 1, y + 1]) * width + np.stack([x, x + 1, x, x + 1])  # (4, N)
        levels = [np.maximum(_take(maps[0], corners).T @ self.level1.T, 0)]  # (4N, dim/4)
        for level in maps[1:]:
            rows = _Cells.around(y, height, level.shape[1])
            cols = _Cells.around(x, width, level.shape[2])
            levels.append(_sample(level, rows, cols))
        features = np.concatenate(levels, axis=1)  # (4N, dim)
        if self.head1 is not None:
            features = np.maximum(features @ self.head1.T, 0)
        dense = _normalised(features @ self.head2.T).reshape(4, len(keypoints), len(self.head2))
        fx, fy = (keypoints - low).astype(np.float32).T
        weights = np.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy])
        return _normalised(np.einsum("kn,knd->nd", weights, dense))

    def to_json(self) -> str:
        """Text for the metadata of an ONNX file."""
        return json.dumps({name: _encode(matrix) for name, matrix in vars(self).items()})

    @classmethod
    def from_json(cls, text: str) -> DescriptorHead:
        """The inverse of `to_json`."""
        return cls(**{name: _decode(item) for name, item in json.loads(text).items()})


@dataclass(frozen=True)
class _Cells:
    """The three cells (3, N) of a coarser axis around neighbouring pixels p and p + 1.

    weights (2, 3, N): share of each cell in the value at p and at p + 1, bilinear with aligned
    corners. Three are enough: on a coarser axis p + 1 is less than a cell further than p.
    """

    index: Int
    weights: Float

    @classmethod
    def around(cls, pixel: Int, size: int, cells: int) -> _Cells:
        position = np.stack([pixel, pixel + 1]) * ((cells - 1) / (size - 1))  # (2, N)
        index = np.floor(position[0]).astype(np.int64) + np.arange(3)[:, None]  # (3, N)
        weights = np.maximum(1 - np.abs(position[:, None] - index), 0)
        return cls(np.minimum(index, cells - 1), weights.astype(np.float32))


def _sample(level: Float, rows: _Cells, cols: _Cells) -> Float:
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
