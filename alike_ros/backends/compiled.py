"""The network without a runtime: kernels of our own, compiled for the processor by numba.

Runtimes convolve 16 channels at a time; alike-t's first block has 8, and its scores one. These
kernels fill all lanes, and what is between two convolutions never leaves the cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alike_ros import arrays
from alike_ros.backends import kernels
from alike_ros.backends.compiled_head import CompiledHead, describe_keypoints
from alike_ros.backends.forms import GRAPH_VERSION, STRIDE
from alike_ros.backends.kernels import Axis, Layer, Scored, Scratch, grouped, grouped_kernel
from alike_ros.backends.outputs import aligned
from alike_ros.backends.providers import open_session, size_of, threads
from alike_ros.backends.simd import GROUP
from alike_ros.backends.strips import Strip, strips
from alike_ros.compiling import compiling
from alike_ros.descriptors import Describer, DescriptorHead
from alike_ros.errors import ModelError
from alike_ros.team import Team

Float = NDArray[np.float32]
#: The smallest image: with it, all is compiled at the start.
_BLACK = np.zeros((64, 64, 3), np.uint8)


class CompiledRuntime:
    """An exported model's network, of one head (not alike-l), for images of any size."""

    provider = "numba"

    def __init__(self, model: bytes | str, num_threads: int) -> None:
        session = open_session(model, "cpu", 1, {})  # to read the file, not to run it
        self.metadata: Mapping[str, str] = session.get_modelmeta().custom_metadata_map
        if self.metadata.get("graph") != GRAPH_VERSION:
            raise ModelError(
                "numba runs graphs for images of any size, of this version of alike_ros: "
                "make one with `alike export`"
            )
        if "encoder" not in self.metadata:
            name = self.metadata["variant"]
            raise ModelError(f"{name} has a head of two layers, which is not compiled")
        self.size = size_of(session)
        self._blocks = _blocks(arrays.from_json(self.metadata["encoder"]))
        self._team = Team(threads(num_threads))
        self._buffers: _Buffers | None = None
        with compiling("the network", 10, kernels.first_block):
            self.run(_BLACK)  # now, not at the first image

    def run(self, rgb: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        """Outputs for an image (H, W, 3); the arrays are used again by the next call."""
        if self._buffers is None or self._buffers.shape != rgb.shape[:2]:
            self._buffers = _Buffers(rgb.shape[:2], self._blocks, self._team.size)
        self._buffers.image[:] = rgb  # one that may not be written to would be compiled for anew
        self._first_block(self._buffers)
        for n in range(1, len(self._blocks)):
            self._residual_block(self._buffers, n)
        self._add_levels(self._buffers)
        return self._buffers.outputs

    def _first_block(self, buffers: _Buffers) -> None:
        block1, logits, half = buffers.levels[0], buffers.logits[0], buffers.maps[0]

        def run(strip: Strip) -> None:
            scratch = buffers.scratch[0][strip.number]
            layers = self._blocks[0]
            kernels.first_block(
                buffers.image, strip.start, strip.end, *layers, scratch, block1, logits, half
            )

        self._team.map(run, strips(len(logits), 2, self._team.size))

    def _residual_block(self, buffers: _Buffers, n: int) -> None:
        source, quarter = buffers.maps[n - 1 : n + 1]
        level, logits = buffers.levels[n], buffers.logits[n]

        def run(strip: Strip) -> None:
            scratch = buffers.scratch[n][strip.number]
            layers = self._blocks[n]
            kernels.residual_block(
                source, strip.start, strip.end, *layers, scratch, level, logits, quarter
            )

        self._team.map(run, strips(len(logits), 4 if len(quarter) else 1, self._team.size))

    def _add_levels(self, buffers: _Buffers) -> None:
        logits, *small = buffers.logits

        def run(strip: Strip) -> None:
            kernels.add_levels(logits, strip.start, strip.end, tuple(small), buffers.axes)

        self._team.map(run, strips(len(logits), 1, self._team.size))

    def describer(self, head: DescriptorHead) -> Describer:
        """The head in compiled code."""
        compiled = CompiledHead(head, self._team)
        _, *maps = (output[0] for output in self.run(_BLACK).values())
        with compiling("the descriptors", 2, describe_keypoints):
            compiled.describe(maps, np.zeros((1, 2), np.float32))
        return compiled


class _Buffers:
    """All arrays for images of one size."""

    def __init__(self, shape: tuple[int, ...], blocks: list[_Block], count: int) -> None:
        """count: of the strips."""
        self.shape = shape
        self.image = np.empty((*shape, 3), np.uint8)
        height, width = (side + -side % STRIDE for side in shape)
        channels = [len(block[1].bias) * GROUP for block in blocks]
        depth = len(blocks[0][2].weights) * GROUP
        sizes = [(height // step, width // step) for step in (1, 2, 8, 32)]
        widths = [kernels.pitch(w) for _, w in sizes]
        self.logits = [aligned(size, np.float32) for size in sizes]
        depths = [channels[0], depth, depth, depth]
        self.levels = [
            aligned((*size, d), np.float32) for size, d in zip(sizes, depths, strict=True)
        ]
        rows = [*(h + 2 for h, _ in sizes[1:]), 0]
        kinds = zip(rows, channels, [*widths[1:], widths[0]], strict=True)
        self.maps = [_zeros(*kind) for kind in kinds]
        self.scratch = [
            [
                Scratch(_zeros(3, 3, w), _zeros(3, c, w), _zeros(2, c, w), _zeros(1, depth, w))
                for _ in range(count)
            ]
            for c, w in zip(channels, widths, strict=True)
        ]
        self.axes = tuple((Axis.between(h, height), Axis.between(w, width)) for h, w in sizes[1:])
        names = ("block1", "level2", "level3", "level4")
        maps = {name: level[None] for name, level in zip(names, self.levels, strict=True)}
        self.outputs: dict[str, NDArray[Any]] = {"logits": self.logits[0], **maps}


_Block = tuple[Layer, Layer, Scored]


def _blocks(weights: dict[str, Float]) -> list[_Block]:
    """Blocks 1 to 4: their two convolutions, and what the score takes of their levels."""
    score = np.split(weights["score"], 4)
    found = []
    for i in range(1, 5):
        name = f"block{i}"
        first = _layer(weights[f"{name}.bias1"], weights[f"{name}.kernel1"])
        second = _layer(
            weights[f"{name}.bias2"], weights[f"{name}.kernel2"], weights.get(f"{name}.skip")
        )
        level = _layer(np.zeros(len(score[i - 1])), None, weights[f"level{i}"])
        found.append((first, second, Scored(level, grouped(score[i - 1]))))
    return found


def _layer(bias: NDArray[Any], kernel: Float | None, also: Float | None = None) -> Layer:
    """From kernels (out, in, 3, 3) and (out, in, 1, 1)."""
    return Layer(
        grouped_kernel(np.zeros((len(bias), 0, 3, 3)) if kernel is None else kernel),
        grouped_kernel(np.zeros((len(bias), 0, 1, 1)) if also is None else also),
        grouped(bias),
    )


def _zeros(*shape: int) -> Float:
    array = aligned(shape, np.float32)
    array[:] = 0
    return np.asarray(array)
