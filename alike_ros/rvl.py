"""Lossless compression of depth images (Wilson, "Fast lossless depth image compression", 2017).

Pixels are told in turns: how many are 0, how many are not, and those by their differences to the
last one that was not 0. Each number is a chain of nibbles: three bits, the lowest ones first, and
a bit that says whether more follow. Eight nibbles are a little-endian word of 32 bits, the first
nibble on top.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alike_ros.errors import DataError

#: No depth camera has more; a few damaged bytes may ask for any size.
MAX_PIXELS = 1 << 26
#: Of one number, of at most 26 bits.
_MAX_NIBBLES = 9


def decode_rvl(data: bytes) -> NDArray[np.uint16]:
    """What compressed_depth_image_transport sends as rvl -> (H, W).

    Two little-endian int32, the width and the height, and then the stream. Raises DataError for a
    stream that ends too early or does not fit this size.
    """
    if len(data) < 8:
        raise DataError("depth compressed as RVL ends within its size")
    width, height = map(int, np.frombuffer(data, "<i4", 2))
    if not (width > 0 and height > 0 and width * height <= MAX_PIXELS):
        raise DataError(f"depth compressed as RVL has size {width}x{height}")
    numbers = _numbers(data)
    turns, heads = _turns(numbers, width * height)
    is_known = np.repeat(np.arange(len(turns)) % 2 == 1, turns)
    steps = np.delete(numbers[: heads[-1] + 1 + turns[-1]], heads)
    steps = (steps >> 1) ^ -(steps & 1)  # 0, 1, 2, 3, 4 stand for 0, -1, 1, -2, 2
    image = np.zeros(width * height, np.uint16)
    image[is_known] = np.cumsum(steps).astype(np.uint16)
    return image.reshape(height, width)


def _numbers(data: bytes) -> NDArray[np.int64]:
    """All numbers of the stream, those of the zeros that fill its last word too.

    All at once: a VGA image takes 8 to 13 ms, one number after the other 100 ms.
    """
    octets = np.frombuffer(data, "<u4", (len(data) - 8) // 4, 8).byteswap().view(np.uint8)
    nibbles = np.stack([octets >> 4, octets & 15], axis=1).ravel()
    ends = np.flatnonzero(nibbles < 8)
    starts = np.concatenate([[0], ends[:-1] + 1])[: len(ends)]
    lengths = ends - starts + 1
    if lengths.max(initial=0) > _MAX_NIBBLES:
        raise DataError("depth compressed as RVL is damaged: a number has too many bits")
    numbers = (nibbles[starts] & 7).astype(np.int64)
    for i in range(1, lengths.max(initial=0)):
        longer = np.flatnonzero(lengths > i)
        numbers[longer] |= (nibbles[starts[longer] + i] & 7).astype(np.int64) << (3 * i)
    return np.asarray(numbers)


def _turns(numbers: NDArray[np.int64], num_pixels: int) -> tuple[list[int], list[int]]:
    """How many pixels are 0, are not, are 0, ..., and where among the numbers this is said."""
    values, turns, heads = numbers.tolist(), [], []
    at = done = 0
    while done < num_pixels:
        if at + 2 > len(values):
            raise DataError("depth compressed as RVL is truncated")
        zeros, known = values[at : at + 2]
        turns += [zeros, known]
        heads += [at, at + 1]
        done += zeros + known
        at += 2 + known
    if done > num_pixels or at > len(values):
        raise DataError("depth compressed as RVL is truncated or damaged")
    return turns, heads
