"""Rows as strips, one for each thread."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple


class Strip(NamedTuple):
    """Rows [start, end)."""

    number: int
    start: int
    end: int


def strips(rows: int, unit: int, count: int) -> list[Strip]:
    """Rows, a multiple of unit, in at most so many strips of nearly as many whole units each."""
    units = rows // unit
    bounds = sorted({units * i // count * unit for i in range(count + 1)})
    return [Strip(i, start, end) for i, (start, end) in enumerate(pairwise(bounds))]
