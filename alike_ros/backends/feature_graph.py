"""The inference graph for a GPU: what `keypoints.py` and `descriptors.py` do is in it.

Made from the graph that `network/export.py` writes, without torch. All shapes are fixed, as
TensorRT wants them, and nothing of image size leaves.

No float needs more than half precision: positions are integers, what lies between pixels is an
offset of at most 2, and how pixels lie among the cells of a coarser level is looked up in tables.
A provider that takes float16 for everything (TensorRT may) keeps the positions exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from alike_ros.backends.forms import (
    FEATURES_VERSION,
    GRAPH_VERSION,
    PADDED,
    SCORE,
    STRIDE,
    FeaturesForm,
)
from alike_ros.backends.onnx_graph import Graph
from alike_ros.descriptors import Cells, DescriptorHead
from alike_ros.errors import ModelError
from alike_ros.keypoints import RADIUS, T_DET, released_pixels

#: Stands for "no keypoint" among logits; half precision ends at 65504.
_NONE = -1e4
#: In how many parts the best are looked for.
_PARTS = 16
#: Block 1, of which a CPU makes several strips.
_BLOCK1 = "block1_0"
_BORDER = RADIUS + 1  # first row and column that may hold a keypoint


def feature_graph(maps: onnx.ModelProto, form: FeaturesForm) -> onnx.ModelProto:
    """The graph of a form for the graph `maps` of the form MapsForm. Raises ModelError."""
    metadata = {item.key: item.value for item in maps.metadata_props}
    if metadata.get("graph") != GRAPH_VERSION:
        raise ModelError("not an inference graph of alike_ros: make it with `alike export`")
    head = DescriptorHead.from_json(metadata["descriptor_head"])
    graph = Graph("features_")
    block1 = next(output for output in maps.graph.output if output.name == _BLOCK1)
    pack = block1.type.tensor_type.shape.dim[3].dim_value // head.level1.shape[1]
    _network(graph, maps.graph, form)
    pixels, peaks = _best_maxima(graph, form)
    if form.sub_pixel:
        windows = _windows(graph, pixels, form)
        offsets = _soft_argmax(graph, windows)
        scores = _sample_windows(graph, windows, offsets)
        limits = (graph.constant(np.array(x, np.float32)) for x in (-RADIUS, RADIUS - 1))
        cell = graph.node("Clip", graph.node("Floor", offsets), *limits)
        low = graph.node("Add", pixels, graph.node("Cast", cell, to=TensorProto.INT64))
        dense = _describe_pixels(graph, head, low, form, pack - 1)
        weights = _corner_weights(graph, graph.node("Sub", offsets, cell))
        total = graph.node("Mul", dense, weights)  # (K, 4, D)
        descriptors = _normalised(graph, _sum(graph, total, 1))
        graph.node("Identity", offsets, output="offsets")
    else:
        scores = graph.node("Sigmoid", peaks)
        looked_up = _released_pixels(graph, pixels, form)
        dense = _describe_pixels(graph, head, looked_up, form, pack - 1)
        descriptors = graph.node("Squeeze", dense, graph.ints(1))
    graph.node("Cast", pixels, to=TensorProto.INT32, output="pixels")
    for name, source in (("peaks", peaks), ("scores", scores), ("descriptors", descriptors)):
        graph.node("Identity", source, output=name)
    return _model(graph, maps, form, len(head.head2), metadata["variant"])


def _model(
    graph: Graph, maps: onnx.ModelProto, form: FeaturesForm, dim: int, variant: str
) -> onnx.ModelProto:
    k, single = form.top_k, TensorProto.FLOAT
    outputs = [("pixels", TensorProto.INT32, [k, 2]), ("peaks", single, [k])]
    outputs += [("offsets", single, [k, 2])] if form.sub_pixel else []
    outputs += [("scores", single, [k]), ("descriptors", single, [k, dim])]
    image = ("image", TensorProto.UINT8, [form.height, form.width, 3])
    used = {name for node in graph.nodes for name in node.input}
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            variant,
            [helper.make_tensor_value_info(*image)],
            [helper.make_tensor_value_info(*output) for output in outputs],
            [item for item in graph.initializers if item.name in used],
        ),
        producer_name="alike_ros",
        opset_imports=maps.opset_import,
        ir_version=maps.ir_version,
    )
    names = {"variant": variant, "graph": FEATURES_VERSION}
    helper.set_model_props(model, names | form.metadata())
    onnx.checker.check_model(model, full_check=True)
    return model


def _network(graph: Graph, maps: onnx.GraphProto, form: FeaturesForm) -> None:
    """Image to maps, as exported, for one size; with fp16 in half precision up to the logits."""
    exported = [dim.dim_value for dim in maps.input[0].type.tensor_type.shape.dim[:2]]
    if all(exported) and exported != [form.height, form.width]:
        raise ModelError(
            f"the model was exported for {exported[0]}x{exported[1]} only, "
            f"not for {form.height}x{form.width}"
        )
    start = next(i for i, node in enumerate(maps.node) if node.output[0] == PADDED)
    graph.initializers += maps.initializer
    _image(graph, form)
    network = _in_one_strip(maps.node[start + 1 :])
    graph.nodes += network if form.precision == "fp32" else _in_half(graph, network)


def _image(graph: Graph, form: FeaturesForm) -> None:
    """What `network/encoder_graph.py` does, after a Cast: TensorRT takes bytes only before one."""
    kind = TensorProto.FLOAT if form.precision == "fp32" else TensorProto.FLOAT16
    x = graph.node("Cast", "image", to=kind)
    height, width = _padded(form)
    after = height - form.height, width - form.width
    x = graph.node("Pad", x, graph.ints(0, 0, 0, *after, 0)) if any(after) else x
    graph.node("Identity", x, output=PADDED)


def _in_one_strip(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes without the cut into strips of rows, which is for the caches of a CPU.

    The first strip becomes the whole image; what is made of the others is left out.
    """
    whole, left_out = {PADDED}, set[str]()
    result = []
    for original in nodes:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        is_cut = node.op_type == "Slice" and node.input[0] == PADDED
        if (is_cut and len(whole) > 1) or (
            node.op_type != "Concat" and left_out.intersection(node.input)
        ):
            left_out.update(node.output)
            continue
        if is_cut or (node.op_type == "Cast" and node.input[0] in whole):
            whole.update(node.output)
            node = helper.make_node("Identity", node.input[:1], node.output)
        elif node.op_type == "Concat":
            node.input[:] = [name for name in node.input if name not in left_out]
        elif node.op_type == "Conv":
            pads = next(item for item in node.attribute if item.name == "pads")
            pads.ints[2] = pads.ints[0]  # below as above
        result.append(node)
    return result


def _in_half(graph: Graph, nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes in half precision; in single from the products that make the logits on.

    Logits in half precision would tie with their neighbours, and maxima are told by equality.
    """
    weights = {
        item.name: item for item in graph.initializers if item.data_type == TensorProto.FLOAT
    }
    logits: set[str] = set()  # and what is made of them
    result = []
    for original in nodes:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        if node.output[0].startswith(SCORE):
            i = next(i for i, name in enumerate(node.input) if name not in weights)
            single = f"{node.input[i]}_single"
            cast = helper.make_node("Cast", [node.input[i]], [single], to=TensorProto.FLOAT)
            result.append(cast)
            node.input[i] = single
            logits.update(node.output)
        elif logits.intersection(node.input):
            logits.update(node.output)
        else:
            for i, name in enumerate(node.input):
                if name in weights:
                    half = numpy_helper.to_array(weights[name]).astype(np.float16)
                    node.input[i] = graph.constant(half)
        result.append(node)
    return result


def _best_maxima(graph: Graph, form: FeaturesForm) -> tuple[str, str]:
    """Pixels (K, 2), (x, y), of the best maxima away from the border, best first; their logits."""
    x = graph.node("Slice", "logits", graph.ints(0, 0), graph.ints(form.height, form.width))
    scores = graph.node("Unsqueeze", x, graph.ints(0, 1), output="features_map")
    none = graph.floats(_NONE)
    kept = graph.node("Equal", scores, _max_in_window(graph, scores))
    for _ in range(2):
        covered = _max_in_window(graph, graph.node("Cast", kept, to=TensorProto.FLOAT))
        covered = graph.node("Greater", covered, graph.floats(0.5))
        rest = graph.node("Where", covered, none, scores)
        fresh = graph.node("Equal", rest, _max_in_window(graph, rest))
        kept = graph.node("Or", kept, graph.node("And", fresh, graph.node("Not", covered)))
    inside = graph.ints(_BORDER, _BORDER), graph.ints(-RADIUS, -RADIUS), graph.ints(2, 3)
    maxima = graph.node("Slice", graph.node("Where", kept, scores, none), *inside)
    maxima = graph.node("Reshape", maxima, graph.ints(-1))
    inner = [side - _BORDER - RADIUS for side in (form.height, form.width)]
    peaks, index = _largest(graph, maxima, inner[0] * inner[1], form.top_k)
    columns = graph.ints(inner[1])
    row = graph.node("Div", index, columns)
    column = graph.node("Sub", index, graph.node("Mul", row, columns))
    xy = [graph.node("Unsqueeze", x, graph.ints(1)) for x in (column, row)]
    pixels = graph.node("Add", graph.node("Concat", *xy, axis=1), graph.ints(_BORDER))
    return pixels, peaks


def _largest(graph: Graph, values: str, count: int, k: int) -> tuple[str, str]:
    """The k largest of `count` values, (k,) each: values, largest first, and their indices.

    Those of each of several parts first: onnxruntime looks for the largest of one row with one of
    a GPU's multiprocessors, which took 1.6 of 2.5 ms of the whole graph (640x480, H200).
    """
    parts = min(_PARTS, count // (2 * k))
    if parts < 2:
        return graph.two("TopK", values, graph.ints(k), axis=0)
    length = -(-count // parts)
    padding = graph.ints(0, parts * length - count)
    padded = graph.node("Pad", values, padding, graph.constant(np.array(_NONE, np.float32)))
    rows = graph.node("Reshape", padded, graph.ints(parts, length))
    best, place = graph.two("TopK", rows, graph.ints(k), axis=1)
    starts = graph.constant(np.arange(parts)[:, None] * length)
    flat = graph.ints(-1)
    candidates = graph.node("Reshape", graph.node("Add", place, starts), flat)
    largest, chosen = graph.two("TopK", graph.node("Reshape", best, flat), graph.ints(k), axis=0)
    index = graph.node("Gather", candidates, chosen)
    # what was padded may be taken where nothing else is left
    return largest, graph.node("Min", index, graph.ints(count - 1))


def _max_in_window(graph: Graph, x: str) -> str:
    side = 2 * RADIUS + 1
    return graph.node("MaxPool", x, kernel_shape=[side, side], pads=[RADIUS] * 4)


def _windows(graph: Graph, pixels: str, form: FeaturesForm) -> str:
    """Scores (K, 25) around pixels."""
    dx, dy = _steps().T.astype(np.int64)
    flat = graph.node("Reshape", "features_map", graph.ints(-1))
    around = graph.constant(dy * form.width + dx)
    index = graph.node("Add", _flat_index(graph, pixels, form.width), around)
    return graph.node("Sigmoid", graph.node("Gather", flat, index))


def _soft_argmax(graph: Graph, windows: str) -> str:
    """Offsets (K, 2) of the keypoints from the centres of score windows, eqs. 3 to 5."""
    weights = graph.node("Softmax", graph.node("Mul", windows, graph.floats(1 / T_DET)), axis=1)
    return graph.node("MatMul", weights, graph.constant(_steps()))


def _sample_windows(graph: Graph, windows: str, offsets: str) -> str:
    """Windows (K, 25) sampled bilinearly at offsets from their centres -> (K,)."""
    distance = graph.node("Unsqueeze", offsets, graph.ints(1))
    distance = graph.node("Sub", distance, graph.constant(_steps()))  # (K, 25, 2)
    weights = graph.node("Sub", graph.floats(1), graph.node("Abs", distance))
    x, y = _columns(graph, graph.node("Relu", weights))  # (K, 25) each
    return _sum(graph, graph.node("Mul", windows, graph.node("Mul", x, y)), 1)


def _corner_weights(graph: Graph, fraction: str) -> str:
    """Bilinear weights (K, 4, 1) of the pixels around keypoints at fractions (K, 2) of them."""
    upper = graph.node("Unsqueeze", fraction, graph.ints(1))  # (K, 1, 2)
    lower = graph.node("Sub", graph.floats(1), upper)
    x, y = _columns(graph, graph.node("Concat", lower, upper, axis=1))  # (K, 2) each
    x, y = (graph.node("Unsqueeze", v, graph.ints(axis)) for v, axis in ((x, 1), (y, 2)))
    return graph.node("Reshape", graph.node("Mul", y, x), graph.ints(-1, 4, 1))


def _released_pixels(graph: Graph, pixels: str, form: FeaturesForm) -> str:
    """Where the released code looks up the descriptors of pixels: a table for each axis."""
    every = np.arange(max(form.height, form.width), dtype=np.float32)[:, None].repeat(2, axis=1)
    tables = released_pixels(every, form.height, form.width).astype(np.int64).T
    moved = [
        graph.node("Gather", graph.constant(table), column)
        for table, column in zip(tables, _columns(graph, pixels), strict=True)
    ]
    return graph.node(
        "Concat", *(graph.node("Unsqueeze", x, graph.ints(1)) for x in moved), axis=1
    )


def _describe_pixels(
    graph: Graph, head: DescriptorHead, pixels: str, form: FeaturesForm, margin: int
) -> str:
    """The dense descriptor map (K, C, D) at pixels (K, 2) and, if refined, their neighbours.

    C is 1, or 4 as in `descriptors.py`: the pixel and those right, below, and right below. Block 1
    has columns more at either side: the margin.
    """
    height, width = _padded(form)
    row = width + 2 * margin
    side = 2 if form.sub_pixel else 1
    corners = graph.ints(*(dy * row + margin + dx for dy in range(side) for dx in range(side)))
    index = graph.node("Add", _flat_index(graph, pixels, row), corners)
    channels, c1 = head.level1.shape  # of a level, of block 1
    taken = _take(graph, _BLOCK1, c1, graph.node("Reshape", index, graph.ints(-1)), form)
    level1 = graph.node("MatMul", taken, graph.constant(head.level1.T))
    levels = [graph.node("Relu", level1)]  # (CK, dim/4)
    x, y = _columns(graph, pixels)
    for name, stride in (("level2", 2), ("level3", 8), ("level4", 32)):
        columns = width // stride
        rows = _cells(graph, y, height, height // stride, columns, side)
        cols = _cells(graph, x, width, columns, 1, side)
        levels.append(_sample_level(graph, name, channels, rows, cols, side, form))
    features = graph.node("Concat", *levels, axis=1)  # (CK, dim)
    if head.head1 is not None:
        features = graph.node("MatMul", features, graph.constant(head.head1.T))
        features = graph.node("Relu", features)
    dense = _normalised(graph, graph.node("MatMul", features, graph.constant(head.head2.T)))
    return graph.node("Reshape", dense, graph.ints(-1, side**2, len(head.head2)))


def _cells(
    graph: Graph, pixel: str, size: int, cells: int, step: int, side: int
) -> tuple[str, str]:
    """Cells of a coarser axis around pixels (K,): flat index (K, 3) and weights (K, side, 3)."""
    table = Cells.around(np.arange(size - 1), size, [cells])
    index = graph.constant(table.index[0].T * step)
    weights = graph.constant(table.weights[0, :side].transpose(2, 0, 1))
    return graph.node("Gather", index, pixel), graph.node("Gather", weights, pixel)


def _sample_level(
    graph: Graph,
    level: str,
    channels: int,
    rows: tuple[str, str],
    cols: tuple[str, str],
    side: int,
    form: FeaturesForm,
) -> str:
    """A level at the pixels and their neighbours (side^2 K, C)."""
    row_index, col_index = (
        graph.node("Unsqueeze", x, graph.ints(axis)) for x, axis in ((rows[0], 2), (cols[0], 1))
    )
    cells = graph.node("Add", row_index, col_index)  # (K, 3, 3)
    cells = graph.node("Reshape", cells, graph.ints(-1, 9))
    patch = _take(graph, level, channels, cells, form)  # (K, 9, C)
    row_weights, col_weights = (
        graph.node("Unsqueeze", x, graph.ints(*axes))
        for x, axes in ((rows[1], (2, 4)), (cols[1], (1, 3)))
    )
    weights = graph.node("Mul", row_weights, col_weights)  # (K, side, side, 3, 3)
    weights = graph.node("Reshape", weights, graph.ints(-1, side**2, 9))
    sampled = graph.node("MatMul", weights, patch)  # (K, side^2, C)
    return graph.node("Flatten", sampled, axis=2)


def _take(graph: Graph, level: str, channels: int, index: str, form: FeaturesForm) -> str:
    """A map (1, h, w, C) at flat indices (...) -> (..., C), single precision."""
    flat = graph.node("Reshape", level, graph.ints(-1, channels))
    taken = graph.node("Gather", flat, index, axis=0)
    return graph.node("Cast", taken, to=TensorProto.FLOAT) if form.precision != "fp32" else taken


def _flat_index(graph: Graph, pixels: str, width: int) -> str:
    """(K, 2) -> (K, 1), in an image of a width."""
    index = graph.node("Mul", pixels, graph.ints(1, width))
    return graph.node("ReduceSum", index, graph.ints(1), keepdims=1)


def _columns(graph: Graph, pairs: str) -> list[str]:
    """The two of (..., 2)."""
    indices = (graph.constant(np.array(i, np.int64)) for i in range(2))
    return [graph.node("Gather", pairs, i, axis=-1) for i in indices]


def _sum(graph: Graph, x: str, axis: int) -> str:
    return graph.node("ReduceSum", x, graph.ints(axis), keepdims=0)


def _normalised(graph: Graph, x: str) -> str:
    norm = graph.node("ReduceL2", x, axes=[-1], keepdims=1)
    return graph.node("Div", x, graph.node("Max", norm, graph.floats(1e-6)))


def _steps() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Offsets (25, 2), (x, y), of the pixels of a window."""
    y, x = np.mgrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)


def _padded(form: FeaturesForm) -> tuple[int, int]:
    return form.height + -form.height % STRIDE, form.width + -form.width % STRIDE
