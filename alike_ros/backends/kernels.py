"""The encoder and its scores over strips of rows, compiled by numba.

A *map* is (rows, channels, pitch), with MARGIN zeros before the pixels of a row and more after
them. The maps between blocks have a row of zeros above and below, too: wherever a 3x3 kernel looks
beyond the border, it finds zeros. What is between two convolutions is never stored: the rows that
the second one sees are kept in a *ring*, row y at y % 3, and stay in the cache.

Kernels are (groups, channels, taps, GROUP) and biases (groups, GROUP), see `simd.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alike_ros.backends.simd import GROUP, LANES, PIXELS, TOGETHER, convolve, interleave, score
from alike_ros.compiling import compiled

Float = NDArray[np.float32]
#: Numbers before a row's first pixel: a cache line.
MARGIN = 16


def pitch(width: int) -> int:
    """Numbers in a row of a map: whole tiles, and the margins."""
    return -(-width // PIXELS) * PIXELS + 2 * MARGIN


class Layer(NamedTuple):
    """A convolution 3x3, and one 1x1 of another map that is added; `also` may have no channels."""

    kernel: Float
    also: Float
    bias: Float


def grouped(values: NDArray[Any]) -> Float:
    """Numbers (channels,) as (groups, GROUP)."""
    return np.ascontiguousarray(values.reshape(-1, GROUP), np.float32)


def grouped_kernel(kernel: NDArray[Any]) -> Float:
    """(out, in, h, w) as (groups, in, h w, GROUP)."""
    out, channels, *sides = kernel.shape
    groups = kernel.reshape(out // GROUP, GROUP, channels, sides[0] * sides[1])
    return np.ascontiguousarray(groups.transpose(0, 2, 3, 1), np.float32)


class Axis(NamedTuple):
    """For each pixel of an axis the cell of a coarser one before it, and how far it is on."""

    cell: NDArray[np.int64]
    fraction: Float

    @classmethod
    def between(cls, cells: int, pixels: int) -> Axis:
        """With aligned corners."""
        position = np.arange(pixels, dtype=np.float32)
        position *= np.float32(cells - 1) / np.float32(pixels - 1)
        cell = np.minimum(position.astype(np.int64), cells - 1)  # rounding
        return cls(cell, (position - cell).astype(np.float32))


class Scored(NamedTuple):
    """A 1x1 convolution to a level, and what the score takes of its channels (groups, GROUP)."""

    layer: Layer
    weights: Float


class Scratch(NamedTuple):
    """What one strip needs: maps of three, three, two and one rows."""

    pixels: Float
    ring: Float
    block: Float
    level: Float


@compiled
def first_block(
    image: NDArray[np.uint8],
    start: int,
    end: int,
    first: Layer,
    second: Layer,
    scored: Scored,
    scratch: Scratch,
    block1: Float,
    logits: Float,
    half: Float,
) -> None:
    """Block 1 in rows [start, end), multiples of 2, of a padded image (h, w, 3).

    Writes block 1 (H, W, C), level 1's logits (H, W), and the maximum of 2x2 pixels, a map.
    """
    pixels, ring, block = scratch.pixels, scratch.ring, scratch.block
    height, width = logits.shape
    for y in range(start - 2, end + 2):
        load_row(image, y, pixels[y % 3])
        if y < start:
            continue
        inner = y - 1
        if 0 <= inner < height:
            convolve_row(pixels, inner - 1, 3, first, pixels, 0, ring, inner % 3, width)
        else:
            ring[inner % 3] = 0
        if y < start + 2:
            continue
        row = y - 2
        convolve_row(ring, row - 1, 3, second, ring, 0, block, row % 2, width)
        score_row(block, row % 2, scored, logits, row)
        channels_last(block[row % 2], block1[row])
        if row % 2 == 1:
            halve(block, half[row // 2 + 1], width // 2)


@compiled
def residual_block(
    source: Float,
    start: int,
    end: int,
    first: Layer,
    second: Layer,
    scored: Scored,
    scratch: Scratch,
    level: Float,
    logits: Float,
    quarter: Float,
) -> None:
    """A block of 2 to 4 in rows [start, end).

    Writes the level (h, w, dim/4), its logits (h, w), and the maximum of 4x4 pixels, a map, unless
    that has no rows; else start and end are multiples of 4.
    """
    ring, block = scratch.ring, scratch.block
    height, width = logits.shape
    for inner in range(start - 1, end + 1):
        if 0 <= inner < height:
            convolve_row(source, inner, 0, first, source, 0, ring, inner % 3, width)
        else:
            ring[inner % 3] = 0
        row = inner - 1
        if row < start:
            continue
        convolve_row(ring, row - 1, 3, second, source, row + 1, block, 0, width)
        convolve_row(ring, 0, 3, scored.layer, block, 0, scratch.level, 0, width)
        weigh_row(scratch.level[0], scored.weights, logits[row])
        channels_last(scratch.level[0], level[row])
        if len(quarter):
            if row % 4 == 0:
                block[1] = block[0]
            else:
                np.maximum(block[1], block[0], block[1])
            if row % 4 == 3:
                fourths(block[1], quarter[row // 4 + 1], width // 4)


@compiled
def add_levels(
    logits: Float, start: int, end: int, levels: tuple[Float, ...], axes: tuple[Any, ...]
) -> None:
    """Adds levels' logits (h, w), interpolated, to rows [start, end) of logits (H, W).

    axes: of each level those of its rows and columns.
    """
    for i in range(len(levels)):
        level, (rows, columns) = levels[i], axes[i]
        line = np.empty(level.shape[1] + 1, np.float32)
        for y in range(start, end):
            upper = level[rows.cell[y]]
            lower = level[min(rows.cell[y] + 1, len(level) - 1)]
            for x in range(level.shape[1]):
                line[x] = upper[x] + (lower[x] - upper[x]) * rows.fraction[y]
            line[-1] = line[-2]
            for x in range(logits.shape[1]):
                left = line[columns.cell[x]]
                logits[y, x] += left + (line[columns.cell[x] + 1] - left) * columns.fraction[x]


@compiled
def load_row(image: NDArray[np.uint8], y: int, pixels: Float) -> None:
    """Row y of an image (h, w, 3) as (3, pitch), zeros where it has none."""
    if not 0 <= y < len(image):
        pixels[:] = 0
        return
    for channel in range(3):
        for x in range(image.shape[1]):
            pixels[channel, MARGIN + x] = image[y, x, channel]


@compiled
def convolve_row(
    source: Float,
    top: int,
    kept: int,
    layer: Layer,
    also: Float,
    also_row: int,
    target: Float,
    target_row: int,
    width: int,
) -> None:
    """A layer in one row, relu included; a kernel of no channels leaves its map unread.

    top: the row of `source` above it, of which that many are kept, row y at y % kept; 0: all.
    """
    channels, length = source.shape[1:]
    rows = top, top + 1, top + 2
    if kept > 0:
        rows = top % kept, (top + 1) % kept, (top + 2) % kept
    size = channels * length
    also_size = also.shape[1] * also.shape[2]
    target_length = target.shape[2]
    for group in range(len(layer.bias)):
        channel = (target_row * target.shape[1] + group * GROUP) * target_length
        for x in range(MARGIN, MARGIN + width, PIXELS):
            convolve(
                source,
                rows[0] * size + x,
                rows[1] * size + x,
                rows[2] * size + x,
                length,
                layer.kernel[group],
                also,
                also_row * also_size + x,
                also.shape[2],
                layer.also[group],
                layer.bias[group],
                np.float32(0),
                target,
                channel + x,
                target_length,
            )
    target[target_row, :, MARGIN + width :] = 0  # of the last tile


@compiled
def score_row(source: Float, row: int, scored: Scored, logits: Float, y: int) -> None:
    """Row y of logits (H, W): what the score takes of a level that is made of a row of a map."""
    logits[y] = 0
    length, width = source.shape[2], logits.shape[1]
    first = row * source.shape[1] * length + MARGIN
    for group in range(len(scored.weights)):
        kernel, weights = scored.layer.also[group], scored.weights[group]
        for x in range(0, width, PIXELS):
            score(source, first + x, length, kernel, weights, logits, y * width + x)


@compiled
def weigh_row(level: Float, weights: Float, logits: Float) -> None:
    """Logits (W,) of a level's row (channels, pitch)."""
    logits[:] = 0
    for group in range(len(weights)):
        for i in range(GROUP):
            channel, weight = level[group * GROUP + i], weights[group, i]
            for x in range(len(logits)):
                logits[x] += weight * channel[MARGIN + x]


@compiled
def channels_last(row: Float, target: Float) -> None:
    """A row (channels, pitch) as (W, channels)."""
    width, channels = target.shape
    for channel in range(0, channels, TOGETHER):
        first, whole = channel * row.shape[1] + MARGIN, width // LANES * LANES
        for x in range(0, whole, LANES):
            interleave(row, first + x, row.shape[1], target, x * channels + channel, channels)
        for x in range(whole, width):
            for i in range(channel, channel + TOGETHER):
                target[x, i] = row[i, MARGIN + x]


@compiled
def halve(rows: Float, target: Float, width: int) -> None:
    """The maximum of 2x2 pixels of two rows (2, channels, pitch), a row (channels, pitch)."""
    for channel in range(len(target)):
        above, below = rows[0, channel, MARGIN:], rows[1, channel, MARGIN:]
        for x in range(width):
            left = max(above[2 * x], below[2 * x])
            target[channel, MARGIN + x] = max(left, above[2 * x + 1], below[2 * x + 1])


@compiled
def fourths(row: Float, target: Float, width: int) -> None:
    """The maximum of 4 neighbouring pixels of a row (channels, pitch), as such a row."""
    for channel in range(len(target)):
        source = row[channel, MARGIN:]
        for x in range(width):
            pair = max(source[4 * x], source[4 * x + 1])
            target[channel, MARGIN + x] = max(pair, source[4 * x + 2], source[4 * x + 3])
