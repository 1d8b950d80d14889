"""The arrays that a graph's outputs go to.

Outputs NAME_0, NAME_1... are strips of one map (1, h, w, C), from top to bottom. They are laid
into one array: joining them afterwards would copy 10 MB for an image of 640x480.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

#: OpenVINO writes straight to addresses that are multiples of this.
_ALIGNMENT = 64


class Outputs:
    """Arrays for outputs of these shapes and types; `maps` are the whole of what has strips."""

    def __init__(self, kinds: Mapping[str, tuple[Sequence[int], DTypeLike]]) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}
        self.maps: dict[str, NDArray[Any]] = {}
        strips: dict[str, list[str]] = {}
        for name in kinds:
            strips.setdefault(name.partition("_")[0], []).append(name)
        for name, parts in strips.items():
            shape, kind = kinds[parts[0]]
            if parts == [name]:
                self.arrays[name] = self.maps[name] = aligned(shape, kind)
                continue
            ends = np.cumsum([kinds[part][0][1] for part in parts])
            whole = self.maps[name] = aligned([shape[0], int(ends[-1]), *shape[2:]], kind)
            self.arrays |= dict(zip(parts, np.split(whole, ends[:-1], axis=1), strict=True))


def aligned(shape: Sequence[int], kind: DTypeLike) -> NDArray[Any]:
    """An array that begins where a cache line does, with anything in it."""
    size = math.prod(shape) * np.dtype(kind).itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(kind).reshape(shape)
