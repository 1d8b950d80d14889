"""torch weights -> ONNX inference graph.

The graph takes a uint8 RGB image (H, W, 3) and gives score logits (H, W) of the image padded to
multiples of 32, and the maps that descriptors are sampled from. It is built node by node, for
what a tracer would not do: batch norm folded into the convolutions, uint8 in, the factored score
path, few outputs. The descriptor head travels as metadata: it runs where the keypoints are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from alike_ros.backends.forms import GRAPH_VERSION
from alike_ros.backends.onnx_graph import Graph
from alike_ros.descriptors import DescriptorHead
from alike_ros.errors import ModelError
from alike_ros.network.alike import ALIKE
from alike_ros.network.alnet import STRIDE

Float = NDArray[np.float32]
#: Largest difference of the score map to torch that passes, in [0, 1].
MAX_DIFFERENCE = 1e-4
_POOLING = (2, 4, 4)  # before blocks 2, 3 and 4


def export(network: ALIKE, path: str | Path, height: int = 0, width: int = 0) -> None:
    """Writes the inference graph; height and width 0 take images of any size.

    The file appears whole or not at all.
    """
    model = build(network, height, width)
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(model.SerializeToString())
    partial.replace(path)


def build(network: ALIKE, height: int = 0, width: int = 0) -> onnx.ModelProto:
    """The inference graph of a network, for one size or (0) for any."""
    if bool(height) != bool(width) or min(height, width) < 0:
        raise ModelError(f"size {height}x{width}: give both, or neither for images of any size")
    graph = _Graph({k: v.detach().cpu().numpy() for k, v in network.state_dict().items()})
    blocks = _encoder(graph, _image(graph))
    levels = _levels(graph, blocks)
    if network.convhead1 is None:
        _factored_scores(graph, blocks[0], levels)
    else:
        _dense_scores(graph, blocks[0], levels)
    image = helper.make_tensor_value_info(
        "image", TensorProto.UINT8, [height or "height", width or "width", 3]
    )
    outputs = [_output("logits", 0, 1, height, width)]
    outputs.append(_output("block1", network.block1.conv2.out_channels, 1, height, width))
    for name, stride in (("level2", 2), ("level3", 8), ("level4", 32)):
        outputs.append(_output(name, network.dim // 4, stride, height, width))
    model = helper.make_model(
        helper.make_graph(graph.nodes, network.variant, [image], outputs, graph.initializers),
        producer_name="alike_ros",
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,  # read by the onnxruntime of 2022 and later
    )
    metadata = {"variant": network.variant, "graph": GRAPH_VERSION}
    metadata["descriptor_head"] = descriptor_head(network).to_json()
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    return model


def descriptor_head(network: ALIKE) -> DescriptorHead:
    """The part of the network that runs at keypoints only."""

    def matrix(layer: Any) -> Float:
        return np.asarray(layer.weight.detach().cpu().numpy()[:, :, 0, 0])

    head1 = None if network.convhead1 is None else matrix(network.convhead1)
    return DescriptorHead(matrix(network.conv1), head1, matrix(network.convhead2)[:-1])


def _output(name: str, channels: int, stride: int, height: int, width: int) -> Any:
    """A map (h, w), or (channels, h, w), of the padded image at a stride."""
    shape: list[int | str] = [channels] if channels else []
    for side, size in (("height", height), ("width", width)):
        padded = size + -size % STRIDE
        shape.append(padded // stride if size else f"padded_{side}/{stride}")
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


class _Graph(Graph):
    """The nodes of a network with these weights."""

    def __init__(self, weights: dict[str, Float]) -> None:
        super().__init__()
        self.weights = weights

    def conv(self, x: str, weight: NDArray[Any], bias: NDArray[Any] | None = None) -> str:
        size = weight.shape[2]
        weights = [self.constant(w.astype(np.float32)) for w in (weight, bias) if w is not None]
        return self.node("Conv", x, *weights, kernel_shape=[size, size], pads=[size // 2] * 4)

    def conv_norm(self, x: str, block: str, i: int, scale: float = 1.0) -> str:
        """Convolution i of a block with its batch norm folded in (epsilon as in torch)."""
        w = {
            name: self.weights[f"{block}.bn{i}.{name}"].astype(np.float64)
            for name in ("weight", "bias", "running_mean", "running_var")
        }
        gain = w["weight"] / np.sqrt(w["running_var"] + 1e-5)
        weight = self.weights[f"{block}.conv{i}.weight"] * gain[:, None, None, None] * scale
        return self.conv(x, weight, w["bias"] - w["running_mean"] * gain)


def _image(graph: _Graph) -> str:
    """uint8 (H, W, 3) -> float (1, 3, H, W) in 0..255, padded at the bottom and right."""
    shape = graph.node("Slice", graph.node("Shape", "image"), graph.ints(0), graph.ints(2))
    stride = graph.ints(STRIDE)
    rest = graph.node("Mod", graph.node("Neg", shape), stride)  # Mod has the divisor's sign
    before = graph.ints(0, 0, 0)
    pads = graph.node("Concat", before, rest, graph.ints(0), axis=0)
    x = graph.node("Pad", "image", pads)
    x = graph.node("Cast", graph.node("Transpose", x, perm=[2, 0, 1]), to=TensorProto.FLOAT)
    return graph.node("Unsqueeze", x, graph.ints(0))


def _encoder(graph: _Graph, image: str) -> list[str]:
    x = graph.node("Relu", graph.conv_norm(image, "block1", 1, scale=1 / 255))
    blocks = [graph.node("Relu", graph.conv_norm(x, "block1", 2))]
    for i, pool in enumerate(_POOLING, start=2):
        x = graph.node("MaxPool", blocks[-1], kernel_shape=[pool, pool], strides=[pool, pool])
        y = graph.node("Relu", graph.conv_norm(x, f"block{i}", 1))
        y = graph.conv_norm(y, f"block{i}", 2)
        skip = (graph.weights[f"block{i}.downsample.{name}"] for name in ("weight", "bias"))
        blocks.append(graph.node("Relu", graph.node("Add", y, graph.conv(x, *skip))))
    return blocks


def _levels(graph: _Graph, blocks: list[str]) -> list[str]:
    """Levels 2 to 4 (1, dim/4, h, w); they and block 1's output leave the graph unbatched."""
    levels = []
    for i, block in enumerate(blocks[1:], start=2):
        levels.append(graph.node("Relu", graph.conv(block, graph.weights[f"conv{i}.weight"])))
        graph.node("Squeeze", levels[-1], graph.ints(0), output=f"level{i}")
    graph.node("Squeeze", blocks[0], graph.ints(0), output="block1")
    return levels


def _factored_scores(graph: _Graph, block1: str, levels: list[str]) -> None:
    """One channel per level, upsampled and added.

    As matrix products over flattened maps: a convolution to one channel is run by onnxruntime
    with its channels padded to 16, which made the whole network 1.4x slower.
    """
    to_level1 = graph.constant(graph.weights["conv1.weight"][:, :, 0, 0])
    flat = graph.node("Reshape", block1, graph.ints(len(graph.weights["conv1.weight"][0]), -1))
    flats = [graph.node("Relu", graph.node("MatMul", to_level1, flat))]
    channels = len(graph.weights["conv1.weight"])
    flats += [graph.node("Reshape", level, graph.ints(channels, -1)) for level in levels]
    weights = np.split(graph.weights["convhead2.weight"][-1, :, 0, 0], 4)
    size = _size_of(graph, block1)
    total = ""
    for source, flat, weight in zip([block1, *levels], flats, weights, strict=True):
        logits = graph.node("MatMul", graph.constant(weight[None]), flat)
        logits = graph.node("Reshape", logits, _size_of(graph, source))
        total = graph.node("Add", total, _upsample(graph, logits, size)) if total else logits
    graph.node("Identity", total, output="logits")


def _dense_scores(graph: _Graph, block1: str, levels: list[str]) -> None:
    """alike-l: its head is not linear, so it runs at full resolution, for the scores only."""
    level1 = graph.node("Relu", graph.conv(block1, graph.weights["conv1.weight"]))
    channels = graph.ints(1, len(graph.weights["conv1.weight"]))
    size = _size_of(graph, block1)
    shape = graph.node("Concat", channels, size, axis=0)
    maps = [level1, *(_upsample(graph, level, shape) for level in levels)]
    features = graph.conv(graph.node("Concat", *maps, axis=1), graph.weights["convhead1.weight"])
    weight = graph.weights["convhead2.weight"][-1:]
    flat = graph.node("Reshape", graph.node("Relu", features), graph.ints(weight.shape[1], -1))
    logits = graph.node("MatMul", graph.constant(weight[:, :, 0, 0]), flat)
    graph.node("Reshape", logits, size, output="logits")


def _size_of(graph: _Graph, x: str) -> str:
    """Height and width of a map (1, C, h, w), a tensor of two."""
    return graph.node("Slice", graph.node("Shape", x), graph.ints(2), graph.ints(4))


def _upsample(graph: _Graph, x: str, size: str) -> str:
    return graph.node(
        "Resize", x, "", "", size, mode="linear", coordinate_transformation_mode="align_corners"
    )


def export_checked(network: ALIKE, path: Path, height: int = 0, width: int = 0) -> float:
    """Exports and compares with torch on one image.

    Returns the largest difference of the score maps; raises ModelError, and leaves no file, when
    it is above 1e-4.
    """
    partial = path.with_name(f".{path.stem}.unchecked.onnx")
    try:
        export(network, partial, height, width)
        difference = compare(network, partial, height or 240, width or 320)
        if not difference < MAX_DIFFERENCE:
            raise ModelError(f"the exported graph differs from torch by {difference:.2g}")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return difference


def compare(network: ALIKE, path: Path, height: int, width: int) -> float:
    """Largest difference of the score maps of graph and network on an image of smooth noise."""
    import cv2
    import torch

    from alike_ros.backends.onnx import OnnxExtractor

    noise = np.random.default_rng(0).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3))
    image = cv2.resize(noise.astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    logits = OnnxExtractor(path, provider="cpu").run(np.asarray(image, np.uint8))[0][
        :height, :width
    ]
    with torch.inference_mode():
        x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        scores = network(x)[0][0, 0].numpy()
    return float(np.abs(1 / (1 + np.exp(-logits)) - scores).max())
