"""torch weights -> ONNX inference graph.

The graph takes a uint8 RGB image (H, W, 3) and gives score logits (H, W) of the image padded to
multiples of 32, and the maps (1, h, w, C) that descriptors are sampled from. It is built node by
node, for what a tracer would not do: batch norm folded into the convolutions, uint8 in, the
factored score path, few outputs. The descriptor head travels as metadata: it runs where the
keypoints are.

onnxruntime convolves 16 channels at a time and fills up what is missing with zeros. The 8 channels
of alike-t's and alike-s's first block are therefore *packed*: two pixels of a row beside each
other, so that a map (8, H, W) becomes one of (16, H, W/2), and the weights act on pairs. Between
the block's convolutions the pairs are shifted by a pixel, (-1, 0), (1, 2)...: the four pixels that
a pair of 3x3 windows covers are then two whole pairs, and a kernel 3x2 does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from alike_ros.backends.forms import GRAPH_VERSION, SCORE
from alike_ros.backends.onnx_graph import Graph, mark_sides
from alike_ros.descriptors import DescriptorHead
from alike_ros.errors import ModelError
from alike_ros.network.alike import ALIKE
from alike_ros.network.alnet import STRIDE

Float = NDArray[np.float32]
#: Largest difference of the score map to torch that passes, in [0, 1].
MAX_DIFFERENCE = 1e-4
#: Channels that are convolved at once.
_LANES = 16
#: Far below anything that a convolution gives.
_NEGATIVE = -1e4


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
    channels = network.block1.conv2.out_channels
    pack = max(_LANES // channels, 1)
    block1 = _block1(graph, _image(graph, pack), pack)
    levels = _levels(graph, block1, pack)
    names = ["block1", "level2", "level3", "level4"]
    for x, name in zip([block1, *levels], names, strict=True):
        _channels_last(graph, x, name)
    if network.convhead1 is None:
        _factored_scores(graph, block1, levels, pack)
    else:
        _dense_scores(graph, block1, levels)
    image = helper.make_tensor_value_info(
        "image", TensorProto.UINT8, [height or "height", width or "width", 3]
    )
    outputs = [_output("logits", [], (1, 1), height, width)]
    outputs.append(_output("block1", [channels * pack], (1, pack), height, width))
    for name, stride in (("level2", 2), ("level3", 8), ("level4", 32)):
        outputs.append(_output(name, [network.dim // 4], (stride, stride), height, width))
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


def _output(
    name: str, channels: list[int | str], strides: tuple[int, int], height: int, width: int
) -> Any:
    """A map (h, w), or (1, h, w, channels), of the padded image at strides of rows and columns."""
    shape: list[int | str] = [1] if channels else []
    for side, size, stride in (("height", height, strides[0]), ("width", width, strides[1])):
        padded = size + -size % STRIDE
        shape.append(padded // stride if size else f"padded_{side}/{stride}")
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape + channels)


class _Graph(Graph):
    """The nodes of a network with these weights."""

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
    ) -> str:
        """With the pads given, or those that keep the size."""
        weights = [self.constant(w.astype(np.float32)) for w in (weight, bias) if w is not None]
        kernel = list(weight.shape[2:])
        pads = pads or [size // 2 for size in kernel] * 2
        return self.node("Conv", x, *weights, output=output, kernel_shape=kernel, pads=pads)

    def relu_conv(
        self,
        x: str,
        weight: NDArray[Any],
        bias: NDArray[Any] | None = None,
        pads: list[int] | None = None,
    ) -> str:
        return self.node("Relu", self.conv(x, weight, bias, pads))

    def folded(self, block: str, i: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Weight and bias of convolution i of a block with its batch norm (epsilon as torch's)."""
        w = {
            name: self.weights[f"{block}.bn{i}.{name}"].astype(np.float64)
            for name in ("weight", "bias", "running_mean", "running_var")
        }
        gain = w["weight"] / np.sqrt(w["running_var"] + 1e-5)
        weight = self.weights[f"{block}.conv{i}.weight"] * gain[:, None, None, None]
        return weight, w["bias"] - w["running_mean"] * gain


def _image(graph: _Graph, pack: int) -> str:
    """uint8 (H, W, 3) -> float (1, 3, H, W) in 0..255, padded at the bottom and right.

    Packed, it has a pair more at either side and a channel that marks them, see `mark_sides`.
    """
    shape = graph.node("Slice", graph.node("Shape", "image"), graph.ints(0), graph.ints(2))
    rest = graph.node("Mod", graph.node("Neg", shape), graph.ints(STRIDE))  # of the divisor's sign
    side = pack if pack > 1 else 0
    before, after = graph.ints(0, side, 0), graph.node("Add", rest, graph.ints(0, side))
    pads = graph.node("Concat", before, after, graph.ints(0), axis=0)
    x = graph.node("Reshape", graph.node("Pad", "image", pads), graph.ints(0, -1, 3 * pack))
    x = graph.node("Transpose", x, perm=[2, 0, 1])
    if pack > 1:
        x = mark_sides(graph, x, TensorProto.UINT8)
    return graph.node("Unsqueeze", graph.node("Cast", x, to=TensorProto.FLOAT), graph.ints(0))


def _block1(graph: _Graph, image: str, pack: int) -> str:
    """Block 1."""
    (weight1, bias1), (weight2, bias2) = (graph.folded("block1", i) for i in (1, 2))
    if pack == 1:
        return graph.relu_conv(graph.relu_conv(image, weight1 / 255, bias1), weight2, bias2)
    rows = [1, 0, 1, 0]
    x = graph.relu_conv(image, _marked(_packed(weight1 / 255)), np.tile(bias1, 2), pads=rows)
    return graph.relu_conv(x, _packed(weight2), np.tile(bias2, 2), pads=rows)


def _packed(weight: NDArray[Any]) -> NDArray[Any]:
    """A kernel (out, in, 3, 3) as one that shifts pairs of pixels by one: (2 out, 2 in, 3, 2)."""
    c_out, c_in = weight.shape[:2]
    packed = np.zeros((2, c_out, 2, c_in, 3, 2))
    for pixel in range(2):
        for column in range(3):
            pair, source = divmod(pixel + column, 2)
            packed[pixel, :, source, :, :, pair] = weight[..., column]
    return packed.reshape(2 * c_out, 2 * c_in, 3, 2)


def _marked(weight: NDArray[Any]) -> NDArray[Any]:
    """A kernel of `_packed` that gives nothing (after a ReLU) at pixels -1 and W."""
    half = len(weight) // 2
    marks = np.zeros((len(weight), 1, 3, 2))
    marks[:half, 0, 1, 0] = marks[half:, 0, 1, 1] = _NEGATIVE
    return np.concatenate([weight, marks], axis=1)


def _levels(graph: _Graph, block1: str, pack: int) -> list[str]:
    """Blocks 2 to 4, and what of them is aggregated: levels 2 to 4, (1, dim/4, h, w)."""
    levels, x = [], _halved(graph, block1, pack)
    for i in (2, 3, 4):
        # where block 1 is packed, block 2 adds up the two halves of what it gets
        repeat = pack if i == 2 else 1
        (weight1, bias1), second = (graph.folded(f"block{i}", k) for k in (1, 2))
        y = graph.relu_conv(x, np.tile(weight1, (1, repeat, 1, 1)), bias1)
        skip, bias = (graph.weights[f"block{i}.downsample.{name}"] for name in ("weight", "bias"))
        skipped = graph.conv(x, np.tile(skip, (1, repeat, 1, 1)), bias)
        block = graph.node("Relu", graph.node("Add", graph.conv(y, *second), skipped))
        levels.append(graph.relu_conv(block, graph.weights[f"conv{i}.weight"]))
        x = graph.node("MaxPool", block, kernel_shape=[4, 4], strides=[4, 4]) if i < 4 else ""
    return levels


def _halved(graph: _Graph, block1: str, pack: int) -> str:
    """The maximum of 2x2 pixels; where pixels are packed, two maps whose sum it is.

    max(a, b) = relu(a - b) + b, and b, of a ReLU, is relu(b): a convolution, which leaves the maps
    in the layout that they have.
    """
    if pack == 1:
        return graph.node("MaxPool", block1, kernel_shape=[2, 2], strides=[2, 2])
    rows = graph.node("MaxPool", block1, kernel_shape=[2, 1], strides=[2, 1])
    one = np.eye(len(graph.weights["block1.conv2.weight"]))
    return graph.relu_conv(rows, np.block([[one, -one], [0 * one, one]])[:, :, None, None])


def _channels_last(graph: _Graph, x: str, name: str = "") -> str:
    """(1, C, h, w) -> (1, h, w, C): what a keypoint needs lies together.

    Sampling took 1.8 : 2.4 ms. OpenVINO computes in this layout, and gives such an output for
    nothing if nothing else in the graph reads it; onnxruntime has to leave its own layout anyway.
    """
    return graph.node("Transpose", x, perm=[0, 2, 3, 1], output=name)


def _factored_scores(graph: _Graph, block1: str, levels: list[str], pack: int) -> None:
    """One channel per level, upsampled and added."""
    first, *weights = np.split(graph.weights["convhead2.weight"][-1, :, 0, 0], 4)
    size = graph.node("Mul", _size_of(graph, block1), graph.ints(1, pack))
    logits = _project_level1(graph, block1, first, pack)
    total = graph.node("Reshape", logits, size)
    small = []
    for i, (level, weight) in enumerate(zip(levels, weights, strict=True)):
        logits = graph.conv(level, weight[None, :, None, None], output=f"{SCORE}_level{i + 2}")
        small.append(graph.node("Reshape", logits, _size_of(graph, level)))
    total = graph.node("Add", total, _upsample(graph, small[0], size))
    _add_upsampled(graph, small[1:], size, total)


def _add_upsampled(graph: _Graph, maps: list[str], size: str, total: str) -> None:
    """Adds small maps (h, w) to the logits: rows are upsampled, columns by a product for all.

    onnxruntime resizes one channel in one thread, and then adds; products take all threads.
    """
    height, width = (graph.node("Slice", size, graph.ints(i), graph.ints(i + 1)) for i in (0, 1))
    tall, matrices = [], []
    for small in maps:
        columns = graph.node("Slice", graph.node("Shape", small), graph.ints(1), graph.ints(2))
        to_rows = graph.node("Concat", height, columns, axis=0)
        tall.append(_upsample(graph, small, to_rows))
        square = graph.node("ConstantOfShape", graph.node("Concat", columns, columns, axis=0))
        to_columns = graph.node("Concat", columns, width, axis=0)
        matrices.append(_upsample(graph, graph.node("EyeLike", square), to_columns))
    rows, columns = (
        graph.node("Concat", *found, axis=axis) for found, axis in ((tall, 1), (matrices, 0))
    )
    graph.node("Gemm", rows, columns, total, output="logits")


def _project_level1(graph: _Graph, block1: str, weight: Float, pack: int) -> str:
    """Block 1 to level 1 to one channel (1, H, W / pack, pack).

    By convolutions, here as at the other levels, though they fill the channel up to 16: products
    would have to bring the maps into their layout first, at 38.8 : 41.9 ms for the network of
    alike-n with onnxruntime.
    """
    to_level1 = graph.weights["conv1.weight"][:, :, 0, 0]
    pairs = [np.kron(np.eye(pack), w)[:, :, None, None] for w in (to_level1, weight[None])]
    logits = graph.conv(graph.relu_conv(block1, pairs[0]), pairs[1], output=f"{SCORE}_level1")
    return _channels_last(graph, logits)


def _dense_scores(graph: _Graph, block1: str, levels: list[str]) -> None:
    """alike-l: its head is not linear, so it runs at full resolution, for the scores only."""
    level1 = graph.node("Relu", graph.conv(block1, graph.weights["conv1.weight"]))
    channels = graph.ints(1, len(graph.weights["conv1.weight"]))
    size = _size_of(graph, block1)
    shape = graph.node("Concat", channels, size, axis=0)
    maps = [level1, *(_upsample(graph, level, shape) for level in levels)]
    features = graph.conv(graph.node("Concat", *maps, axis=1), graph.weights["convhead1.weight"])
    weight = graph.weights["convhead2.weight"][-1:, :, 0, 0]  # (1, dim)
    flat = graph.node("Reshape", graph.node("Relu", features), graph.ints(weight.size, -1))
    logits = graph.node("MatMul", graph.constant(weight), flat, output=f"{SCORE}_head")
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
    return float(np.abs(torch.sigmoid(torch.from_numpy(logits)).numpy() - scores).max())
