"""The encoder as ONNX nodes: an image to block 1 and the levels that are aggregated.

Runtimes convolve 16 channels at a time, and fill up what is missing with zeros. The 8 channels of
alike-t's and alike-s's first block are therefore *packed*: two pixels of a row beside each other,
so that a map (8, H, W) becomes one of (16, H, W/2), and the weights act on pairs. A pair of 3x3
windows covers 3x4 pixels: of the image, in steps of two; of the first convolution's pairs (0, 1),
(2, 3)..., two whole ones, if the second gives the pairs (-1, 0), (1, 2)... by a kernel 3x2. So
block 1 has a column more at either side, which means nothing.

Block 1 runs in *strips* of rows, up to where it is halved and scored: what its second convolution
reads may then still be in the cache. alike-t's network, 640x480, two threads on an AMD EPYC: with
onnxruntime two strips took 0.96 : 1 of the time of one, four 1.00; with OpenVINO all the same on
one day, and on another two 0.91 : 1, four no less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from alike_ros.backends.forms import PADDED, STRIDE
from alike_ros.network.network_graph import NetworkGraph

#: Channels that are convolved at once.
_LANES = 16


@dataclass(frozen=True)
class Strip:
    """Rows [start, end) of the padded image; both are tensors of one."""

    start: str
    end: str
    is_first: bool
    is_last: bool

    def pads(self, columns: int) -> list[int]:
        """Of a kernel with 3 rows: zeros only beyond the image, not where the next strip is."""
        return [int(self.is_first), columns, int(self.is_last), columns]


def pixels_together(channels: int) -> int:
    """How many pixels block 1 takes as one: 2 where its channels are few."""
    return 2 if 2 * channels <= _LANES else 1


def pad_image(graph: NetworkGraph) -> str:
    """uint8 (H, W, 3), padded at the bottom and right."""
    shape = graph.slice(graph.node("Shape", "image"), graph.ints(0), graph.ints(2))
    rest = graph.node("Mod", graph.node("Neg", shape), graph.ints(STRIDE))  # of the divisor's sign
    pads = graph.node("Concat", graph.ints(0, 0, 0), rest, graph.ints(0), axis=0)
    return graph.node("Pad", "image", pads, output=PADDED)


def strips(graph: NetworkGraph, pixels: str, count: int) -> list[Strip]:
    """A padded image cut into so many strips of the same number of rows."""
    rows = graph.node("Div", graph.side(pixels, 0), graph.ints(count))
    bounds = [graph.node("Mul", rows, graph.ints(i)) for i in range(count + 1)]
    return [Strip(bounds[i], bounds[i + 1], i == 0, i == count - 1) for i in range(count)]


def block1(graph: NetworkGraph, pixels: str, strip: Strip, pack: int) -> str:
    """Block 1 of a strip, (1, C, h, w); of pairs of pixels (1, 2 C, h, w/2 + 1)."""
    x = _rows_around(graph, pixels, strip)
    x = graph.node("Unsqueeze", graph.node("Cast", x, to=TensorProto.FLOAT), graph.ints(0))
    x = graph.node("Transpose", x, perm=[0, 3, 1, 2])
    (weight1, bias1), (weight2, bias2) = (graph.folded("block1", i) for i in (1, 2))
    if pack == 1:
        x = graph.relu_conv(x, weight1 / 255, bias1, strip.pads(1))
        return graph.relu_conv(x, weight2, bias2, strip.pads(1))
    first, second = _for_pairs(weight1 / 255), _of_pairs(_for_pairs(weight2))
    x = graph.relu_conv(x, first, np.tile(bias1, 2), strip.pads(1), strides=[1, 2])
    return graph.relu_conv(x, second, np.tile(bias2, 2), strip.pads(1))


def _rows_around(graph: NetworkGraph, pixels: str, strip: Strip) -> str:
    """A strip and the two rows above and below it that its convolutions see."""
    start = strip.start if strip.is_first else graph.node("Sub", strip.start, graph.ints(2))
    end = strip.end if strip.is_last else graph.node("Add", strip.end, graph.ints(2))
    return graph.slice(pixels, start, end)


def _for_pairs(weight: NDArray[Any]) -> NDArray[Any]:
    """A kernel (out, in, 3, 3) for two pixels beside each other at once: (2 out, in, 3, 4)."""
    return np.concatenate([np.pad(weight, [(0, 0)] * 3 + [side]) for side in ((0, 1), (1, 0))])


def _of_pairs(weight: NDArray[Any]) -> NDArray[Any]:
    """A kernel (out, in, 3, 4) of pixels as one of their pairs: (out, 2 in, 3, 2)."""
    c_out, c_in = weight.shape[:2]
    pairs = weight.reshape(c_out, c_in, 3, 2, 2)  # (..., pair, pixel)
    return np.asarray(pairs.transpose(0, 4, 1, 2, 3).reshape(c_out, 2 * c_in, 3, 2))


def halved(graph: NetworkGraph, block1: str, pack: int) -> str:
    """The maximum of 2x2 pixels.

    Of pairs, max(a, b) = relu(a - b) + b, by convolutions, which leave the maps in the layout that
    they have: a is the second of a pair, b the first of the next.
    """
    if pack == 1:
        return graph.node("MaxPool", block1, kernel_shape=[2, 2], strides=[2, 2])
    rows = graph.node("MaxPool", block1, kernel_shape=[2, 1], strides=[2, 1])
    one = np.eye(len(graph.weights["block1.conv2.weight"]))
    a, b = np.zeros((2, len(one), 2 * len(one), 1, 2))  # kernels (C, 2 C, 1, 2)
    a[:, len(one) :, 0, 0] = b[:, : len(one), 0, 1] = one
    no_pads = [0] * 4
    more = graph.relu_conv(rows, a - b, pads=no_pads)
    return graph.node("Add", graph.conv(rows, b, pads=no_pads), more)


def levels(graph: NetworkGraph, half: str) -> list[str]:
    """Blocks 2 to 4, and what of them is aggregated: levels 2 to 4, (1, dim/4, h, w)."""
    found, x = [], half
    for i in (2, 3, 4):
        first, second = (graph.folded(f"block{i}", k) for k in (1, 2))
        skip, bias = (graph.weights[f"block{i}.downsample.{name}"] for name in ("weight", "bias"))
        y = graph.conv(graph.relu_conv(x, *first), *second)
        block = graph.node("Relu", graph.node("Add", y, graph.conv(x, skip, bias)))
        found.append(graph.relu_conv(block, graph.weights[f"conv{i}.weight"]))
        x = graph.node("MaxPool", block, kernel_shape=[4, 4], strides=[4, 4]) if i < 4 else ""
    return found
