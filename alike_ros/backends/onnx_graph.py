"""An ONNX graph that is written node by node."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper


class Graph:
    """Nodes and constants collected so far; their names begin with `prefix`."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, value: NDArray[Any]) -> str:
        """The name of a constant."""
        name = f"{self.prefix}constant{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def ints(self, *values: int) -> str:
        """The name of a vector of integers."""
        return self.constant(np.array(values, np.int64))

    def floats(self, *values: float) -> str:
        """The name of a vector of floats."""
        return self.constant(np.array(values, np.float32))

    def node(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """The name of the (first) output of a new node."""
        output = output or f"{self.prefix}{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], **attributes))
        return output

    def two(self, op: str, *inputs: str, **attributes: Any) -> tuple[str, str]:
        """The names of both outputs of a new node."""
        first, second = (f"{self.prefix}{op.lower()}{len(self.nodes)}{end}" for end in "ab")
        self.nodes.append(helper.make_node(op, list(inputs), [first, second], **attributes))
        return first, second


def mark_sides(graph: Graph, image: str, kind: int) -> str:
    """Appends a channel to a map (C, H, W/2 + 2) of type `kind`: 1 in its outermost columns.

    By it, `network/export.py` makes pixels -1 and W zero, which shifted pairs have and images
    have not: the next convolution has to see zeros there.
    """
    shape = graph.node("Shape", image)
    size = graph.node("Slice", shape, graph.ints(1), graph.ints(3))
    between = graph.node(
        "Sub", graph.node("Slice", size, graph.ints(1), graph.ints(2)), graph.ints(2)
    )
    row = graph.node(
        "Pad", graph.node("ConstantOfShape", between), graph.ints(1, 1), graph.floats(1)
    )
    row = graph.node("Cast", row, to=kind)
    marks = graph.node("Expand", row, graph.node("Concat", graph.ints(1), size, axis=0))
    return graph.node("Concat", image, marks, axis=0)
