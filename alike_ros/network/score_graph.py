"""The score path as ONNX nodes: one channel per level, or alike-l's dense head.

Rows of a small map are interpolated between the two that are nearest, columns by a product with
the weights that each cell has in each pixel, all levels in one. Runtimes resize one channel in one
thread; products take all. Each pixel sees two cells of a level: in blocks of columns, the products
leave out most of those that have no weight.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from alike_ros.backends.forms import SCORE
from alike_ros.network.network_graph import Float, NetworkGraph

#: Blocks of columns.
_BLOCKS = 4


def level1_logits(graph: NetworkGraph, block1: str, pack: int) -> str:
    """Block 1 to level 1 to one channel; that of pairs is (1, 2, h, w / 2).

    By convolutions, here as at the other levels, though they fill the channel up to 16: products
    would have to bring the maps into their layout first, at 38.8 : 41.9 ms for the network of
    alike-n with onnxruntime.
    """
    to_level1 = graph.weights["conv1.weight"][:, :, 0, 0]
    weight = _score_weights(graph)[0]
    pairs = [np.kron(np.eye(pack), w)[:, :, None, None] for w in (to_level1, weight[None])]
    level1 = graph.relu_conv(block1, pairs[0])
    name = f"{SCORE}_level1_{len(graph.nodes)}"
    return graph.conv(level1, pairs[1], output=name)


def factored_scores(graph: NetworkGraph, strips: list[str], levels: list[str], pack: int) -> None:
    """`logits` (H, W) of the strips of `level1_logits` and the levels 2 to 4."""
    first = graph.channels_last(graph.node("Concat", *strips, axis=2))
    height, pairs = graph.side(first, 1), graph.side(first, 2)
    row = graph.node("Mul", pairs, graph.ints(pack))
    first = graph.node("Reshape", first, graph.node("Concat", height, row, axis=0))
    margin = pack - 1
    width = graph.node("Sub", row, graph.ints(2 * margin)) if margin else row
    if margin:
        end = graph.node("Add", width, graph.ints(margin))
        first = graph.slice(first, graph.ints(margin), end, axis=1)
    tall = []
    for i, (level, weight) in enumerate(zip(levels, _score_weights(graph)[1:], strict=True), 2):
        logits = graph.conv(level, weight[None, :, None, None], output=f"{SCORE}_level{i}")
        small = graph.node("Squeeze", logits, graph.ints(0, 1))
        tall.append(_to_rows(graph, small, height))
    blocks = [_block(graph, tall, width, i) for i in range(_BLOCKS)]
    graph.node("Add", first, graph.node("Concat", *blocks, axis=1), output="logits")


def _score_weights(graph: NetworkGraph) -> list[Float]:
    """What the score takes of each of the four levels."""
    return np.split(graph.weights["convhead2.weight"][-1, :, 0, 0], 4)


def _to_rows(graph: NetworkGraph, small: str, height: str) -> str:
    """(h, w) -> (H, w), bilinear with aligned corners."""
    count = graph.side(small, 0)
    position = _positions(graph, graph.ints(0), height, count, height)
    above = graph.node("Floor", position)
    fraction = graph.node("Unsqueeze", graph.node("Sub", position, above), graph.ints(1))
    index = graph.node("Cast", above, to=TensorProto.INT64)
    last = graph.node("Sub", count, graph.ints(1))
    index = graph.node("Min", index, last)  # rounding
    below = graph.node("Min", graph.node("Add", index, graph.ints(1)), last)
    upper, lower = (graph.node("Gather", small, i, axis=0) for i in (index, below))
    change = graph.node("Mul", graph.node("Sub", lower, upper), fraction)
    return graph.node("Add", upper, change)


def _block(graph: NetworkGraph, tall: list[str], width: str, block: int) -> str:
    """A block of columns of the sum of levels (H, w), of which all but the last are sliced."""
    start, end = (_share(graph, width, block + i) for i in (0, 1))
    cells, weights = [], []
    for i, level in enumerate(tall):
        count = graph.side(level, 1)
        first, last = graph.ints(0), count
        if i < len(tall) - 1:
            if block > 0:
                first = graph.node("Sub", _share(graph, count, block), graph.ints(1))
            if block < _BLOCKS - 1:
                last = graph.node("Add", _share(graph, count, block + 1), graph.ints(1))
            level = graph.slice(level, first, last, axis=1)
        cells.append(level)
        position = _positions(graph, start, end, count, width)
        weights.append(_tents(graph, position, _range(graph, first, last)))
    columns, matrix = graph.node("Concat", *cells, axis=1), graph.node("Concat", *weights, axis=0)
    return graph.node("MatMul", columns, matrix)


def _share(graph: NetworkGraph, size: str, block: int) -> str:
    """Where a block begins."""
    part = graph.node("Div", size, graph.ints(_BLOCKS))
    return graph.node("Mul", part, graph.ints(block))


def _positions(graph: NetworkGraph, start: str, end: str, cells: str, size: str) -> str:
    """Positions of pixels [start, end) of an axis of `size` among its cells, as torch rounds."""
    spans = (graph.node("Sub", n, graph.ints(1)) for n in (cells, size))
    scale = graph.node("Div", *(_single(graph, span) for span in spans))
    return graph.node("Mul", _range(graph, start, end), scale)


def _tents(graph: NetworkGraph, position: str, cells: str) -> str:
    """Weights (cells, positions) of cells at positions: 1 - distance, if that is positive."""
    distance = graph.node(
        "Sub",
        graph.node("Unsqueeze", cells, graph.ints(1)),
        graph.node("Unsqueeze", position, graph.ints(0)),
    )
    one = _single(graph, graph.ints(1))
    return graph.node("Relu", graph.node("Sub", one, graph.node("Abs", distance)))


def _range(graph: NetworkGraph, start: str, end: str) -> str:
    """start, start + 1, ... end - 1, as single precision."""
    scalars = (graph.node("Squeeze", n, graph.ints(0)) for n in (start, end))
    step = graph.constant(np.array(1, np.int64))
    return _single(graph, graph.node("Range", *scalars, step))


def _single(graph: NetworkGraph, x: str) -> str:
    """Integers in single precision: that, whatever precision the network is brought to."""
    return graph.node("Cast", x, to=TensorProto.FLOAT)


def dense_scores(graph: NetworkGraph, block1: str, levels: list[str]) -> None:
    """alike-l: its head is not linear, so it runs at full resolution, for the scores only."""
    level1 = graph.node("Relu", graph.conv(block1, graph.weights["conv1.weight"]))
    size = graph.slice(graph.node("Shape", block1), graph.ints(2), graph.ints(4))
    channels = graph.ints(1, len(graph.weights["conv1.weight"]))
    shape = graph.node("Concat", channels, size, axis=0)
    maps = [level1, *(_upsample(graph, level, shape) for level in levels)]
    features = graph.conv(graph.node("Concat", *maps, axis=1), graph.weights["convhead1.weight"])
    weight = graph.weights["convhead2.weight"][-1:, :, 0, 0]  # (1, dim)
    flat = graph.node("Reshape", graph.node("Relu", features), graph.ints(weight.size, -1))
    logits = graph.node("MatMul", graph.constant(weight), flat, output=f"{SCORE}_head")
    graph.node("Reshape", logits, size, output="logits")


def _upsample(graph: NetworkGraph, x: str, size: str) -> str:
    return graph.node(
        "Resize", x, "", "", size, mode="linear", coordinate_transformation_mode="align_corners"
    )
