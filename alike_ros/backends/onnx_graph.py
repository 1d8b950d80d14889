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
