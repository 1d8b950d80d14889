"""The nodes of a network with its weights: convolutions with the batch norm folded into them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from alike_ros.backends.onnx_graph import Graph

Float = NDArray[np.float32]


class NetworkGraph(Graph):
    """Maps are (1, C, h, w) unless said otherwise. `weights` are those of the torch module."""

    def __init__(self, weights: dict[str, Float]) -> None:
        super().__init__()
        self.weights = weights

    def conv(
        self,
        x: str,
        weight: NDArray[Any],
        bias: NDArray[Any] | None = None,
        pads: list[int] | None = None,
        output: str = "",
        **attributes: Any,
    ) -> str:
        """With the pads given, or those that keep the size; strides and the like by name."""
        weights = [self.constant(w.astype(np.float32)) for w in (weight, bias) if w is not None]
        kernel = list(weight.shape[2:])
        pads = pads or [size // 2 for size in kernel] * 2
        return self.node(
            "Conv", x, *weights, output=output, kernel_shape=kernel, pads=pads, **attributes
        )

    def relu_conv(
        self,
        x: str,
        weight: NDArray[Any],
        bias: NDArray[Any] | None = None,
        pads: list[int] | None = None,
        **attributes: Any,
    ) -> str:
        """A convolution and what of it is positive."""
        return self.node("Relu", self.conv(x, weight, bias, pads, **attributes))

    def folded(self, block: str, i: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Weight and bias of convolution i of a block with its batch norm (epsilon as torch's)."""
        w = {
            name: self.weights[f"{block}.bn{i}.{name}"].astype(np.float64)
            for name in ("weight", "bias", "running_mean", "running_var")
        }
        gain = w["weight"] / np.sqrt(w["running_var"] + 1e-5)
        weight = self.weights[f"{block}.conv{i}.weight"] * gain[:, None, None, None]
        return weight, w["bias"] - w["running_mean"] * gain

    def side(self, x: str, axis: int) -> str:
        """The size of a tensor along an axis, a tensor of one."""
        return self.slice(self.node("Shape", x), self.ints(axis), self.ints(axis + 1))

    def slice(self, x: str, start: str, end: str, axis: int = 0, output: str = "") -> str:
        """x[start:end] along an axis."""
        return self.node("Slice", x, start, end, self.ints(axis), output=output)

    def channels_last(self, x: str, output: str = "") -> str:
        """(1, C, h, w) -> (1, h, w, C): what a keypoint needs lies together.

        Sampling took 1.8 : 2.4 ms. OpenVINO computes in this layout, and gives such an output for
        nothing if nothing else in the graph reads it; onnxruntime has to leave its own layout
        anyway.
        """
        return self.node("Transpose", x, perm=[0, 2, 3, 1], output=output)
