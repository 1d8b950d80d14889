"""RVL: what an encoder written from the same description makes comes back; nothing else passes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from alike_ros.errors import DataError
from alike_ros.images import depth_from_compressed
from alike_ros.rvl import decode_rvl


def size(width: int, height: int) -> bytes:
    return np.array([width, height], "<i4").tobytes()


def encoded(image: np.ndarray) -> bytes:
    """Pixel by pixel."""
    nibbles: list[int] = []

    def put(number: int) -> None:
        while number > 7:
            nibbles.append(number & 7 | 8)
            number >>= 3
        nibbles.append(number)

    pixels, last = image.ravel().tolist(), 0
    while pixels:
        zeros = next((i for i, pixel in enumerate(pixels) if pixel), len(pixels))
        known = next((i for i, pixel in enumerate(pixels[zeros:]) if not pixel), None)
        run = pixels[zeros:] if known is None else pixels[zeros : zeros + known]
        put(zeros)
        put(len(run))
        for pixel in run:
            step, last = pixel - last, pixel
            put(2 * step if step >= 0 else -2 * step - 1)
        pixels = pixels[zeros + len(run) :]
    nibbles += [0] * (-len(nibbles) % 8)
    words = [
        int("".join(f"{n:x}" for n in nibbles[i : i + 8]), 16) for i in range(0, len(nibbles), 8)
    ]
    height, width = image.shape
    return size(width, height) + np.array(words, "<u4").tobytes()


def surface(holes: float, seed: int = 0) -> np.ndarray:
    """Millimetres of a noisy slope, a share of them unknown."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(400, 9000, 60 * 80).reshape(60, 80) + rng.normal(0, 20, (60, 80))
    return (slope * (rng.random(slope.shape) >= holes)).astype(np.uint16)


EXTREME = np.array([[0, 65535, 1, 65535], [1, 0, 0, 65535]], np.uint16)
IMAGES = {
    "whole": surface(0),
    "some holes": surface(0.05),
    "most holes": surface(0.9),
    "nothing known": np.zeros((5, 7), np.uint16),
    "extreme": EXTREME,
    "one pixel": np.array([[1]], np.uint16),
}


@pytest.mark.parametrize("name", IMAGES)
def test_what_was_encoded_comes_back(name: str) -> None:
    image = decode_rvl(encoded(IMAGES[name]))
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image, IMAGES[name])


def test_a_stream_by_hand() -> None:
    """1 zero, 2 others: +10, that is 20, in two nibbles, and -3, that is 5; 1 zero, 0 others."""
    nibbles = "12c25100"
    stream = int(nibbles, 16).to_bytes(4, "little")
    np.testing.assert_array_equal(decode_rvl(size(2, 2) + stream), [[0, 10], [7, 0]])


@pytest.mark.parametrize("kept", [0, 7, 8, 9, 12, 100, 0.5, 0.9, 0.999])
def test_truncated_streams_are_refused(kept: float) -> None:
    whole = encoded(surface(0.05))
    with pytest.raises(DataError, match=r"truncated|within its size"):
        decode_rvl(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])


@pytest.mark.parametrize(
    ("width", "height"), [(0, 5), (5, 0), (-5, 5), (-5, -5), (2**31 - 1, 2**31 - 1)]
)
def test_impossible_sizes_are_refused(width: int, height: int) -> None:
    with pytest.raises(DataError, match=f"has size {width}x{height}"):
        decode_rvl(size(width, height) + bytes(8))


def test_damaged_streams_are_values_or_refused() -> None:
    whole = encoded(surface(0.05))
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.integers(8, len(whole))] ^= int(rng.integers(1, 256))
        try:
            assert decode_rvl(bytes(damaged)).shape == (60, 80)
        except DataError:
            refused += 1
    assert refused > 20  # 105 measured
    with pytest.raises(DataError, match="too many bits"):
        decode_rvl(size(4, 4) + b"\xff" * 8 + bytes(4))
    with pytest.raises(DataError, match="damaged"):
        decode_rvl(size(2, 2) + int("50000000", 16).to_bytes(4, "little"))  # 5 zeros


def test_messages() -> None:
    """Behind the transport's header; floats are quantised inverse depth, as in PNG."""
    sent = SimpleNamespace(format="16UC1; compressedDepth rvl", data=bytes(12) + encoded(EXTREME))
    metres = np.where(EXTREME > 0, EXTREME / 1000, np.nan)
    np.testing.assert_allclose(depth_from_compressed(sent), metres, rtol=1e-6)
    sent.data = sent.data[:-4]
    with pytest.raises(DataError, match="truncated"):
        depth_from_compressed(sent)

    a, b = 100.0, -9.0  # inverse depth = a / depth + b
    known = np.array([[1.0, np.nan, 4.0]])
    numbers = np.nan_to_num(np.round(a / known + b)).astype(np.uint16)
    header = np.array([0, a, b], "<f4").tobytes()
    sent = SimpleNamespace(format="32FC1; compressedDepth rvl", data=header + encoded(numbers))
    np.testing.assert_allclose(depth_from_compressed(sent), known, rtol=1e-6)
