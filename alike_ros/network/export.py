"""torch weights -> ONNX inference graph.

The graph takes a uint8 RGB image (H, W, 3) and gives score logits (H, W) of the image padded to
multiples of 32, and the maps (1, h, w, C) that descriptors are sampled from. It is built node by
node, for what a tracer would not do: batch norm folded into the convolutions, uint8 in, pairs of
pixels and strips of rows (`encoder_graph.py`), the factored score path (`score_graph.py`), few
outputs. The descriptor head travels as metadata: it runs where the keypoints are. So do the
encoder's weights, for code that is compiled at the place (`backends/compiled.py`).
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from alike_ros import arrays
from alike_ros.backends.forms import GRAPH_VERSION, STRIDE
from alike_ros.descriptors import DescriptorHead
from alike_ros.errors import ModelError
from alike_ros.network import encoder_graph, score_graph
from alike_ros.network.alike import ALIKE
from alike_ros.network.network_graph import NetworkGraph
from alike_ros.whole_file import write_whole

Float = NDArray[np.float32]
#: Largest difference of the score map to torch that passes, in [0, 1].
MAX_DIFFERENCE = 1e-4
#: Strips of rows, see `encoder_graph.py`.
_STRIPS = 2


def export(network: ALIKE, path: str | Path, height: int = 0, width: int = 0) -> None:
    """Writes the inference graph; height and width 0 take images of any size.

    The file appears whole or not at all. Raises DataError where it cannot be written.
    """
    write_whole(path, build(network, height, width).SerializeToString())


def build(network: ALIKE, height: int = 0, width: int = 0) -> onnx.ModelProto:
    """The inference graph of a network, for one size or (0) for any."""
    if bool(height) != bool(width) or min(height, width) < 0:
        raise ModelError(f"size {height}x{width}: give both, or neither for images of any size")
    graph = NetworkGraph({k: v.detach().cpu().numpy() for k, v in network.state_dict().items()})
    channels = network.block1.conv2.out_channels
    pack = encoder_graph.pixels_together(channels)
    count = _STRIPS if network.convhead1 is None else 1
    _network(graph, pack, count)
    image = helper.make_tensor_value_info(
        "image", TensorProto.UINT8, [height or "height", width or "width", 3]
    )
    rows, columns = (_padded(*side) for side in (("height", height), ("width", width)))
    block1 = [1, _over(rows, count), _over(columns, pack, pack - 1), channels * pack]
    outputs = {"logits": [rows, columns]} | {f"block1_{i}": block1 for i in range(count)}
    for name, stride in (("level2", 2), ("level3", 8), ("level4", 32)):
        outputs[name] = [1, _over(rows, stride), _over(columns, stride), network.dim // 4]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()]
    model = helper.make_model(
        helper.make_graph(graph.nodes, network.variant, [image], infos, graph.initializers),
        producer_name="alike_ros",
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,  # read by the onnxruntime of 2022 and later
    )
    metadata = {"variant": network.variant, "graph": GRAPH_VERSION}
    metadata["descriptor_head"] = descriptor_head(network).to_json()
    if network.convhead1 is None:
        metadata["encoder"] = arrays.to_json(encoder(graph))
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    return model


def descriptor_head(network: ALIKE) -> DescriptorHead:
    """The part of the network that runs at keypoints only."""

    def matrix(layer: Any) -> Float:
        return np.asarray(layer.weight.detach().cpu().numpy()[:, :, 0, 0])

    head1 = None if network.convhead1 is None else matrix(network.convhead1)
    return DescriptorHead(matrix(network.conv1), head1, matrix(network.convhead2)[:-1])


def encoder(graph: NetworkGraph) -> dict[str, Float]:
    """All that makes the maps and scores, for `backends/compiled.py`; pixels are from 0 to 255."""
    weights = graph.weights
    found: dict[str, Any] = {"score": weights["convhead2.weight"][-1, :, 0, 0]}
    for i in range(1, 5):
        for k in (1, 2):
            kernel, bias = graph.folded(f"block{i}", k)
            found |= {f"block{i}.kernel{k}": kernel, f"block{i}.bias{k}": bias}
        if i > 1:
            found[f"block{i}.skip"] = weights[f"block{i}.downsample.weight"]
            found[f"block{i}.bias2"] = bias + weights[f"block{i}.downsample.bias"]
        found[f"level{i}"] = weights[f"conv{i}.weight"]
    found["block1.kernel1"] = found["block1.kernel1"] / 255
    return found


def _network(graph: NetworkGraph, pack: int, count: int) -> None:
    """Image to outputs, with block 1 in so many strips."""
    pixels = encoder_graph.pad_image(graph)
    halves, logits = [], []
    for i, strip in enumerate(encoder_graph.strips(graph, pixels, count)):
        block1 = encoder_graph.block1(graph, pixels, strip, pack)
        graph.channels_last(block1, f"block1_{i}")
        halves.append(encoder_graph.halved(graph, block1, pack))
        if count > 1:
            logits.append(score_graph.level1_logits(graph, block1, pack))
    levels = encoder_graph.levels(graph, graph.node("Concat", *halves, axis=2))
    for i, level in enumerate(levels, start=2):
        graph.channels_last(level, f"level{i}")
    if logits:
        score_graph.factored_scores(graph, logits, levels, pack)
    else:
        score_graph.dense_scores(graph, block1, levels)


def _padded(name: str, size: int) -> int | str:
    """A side of the padded image, or its name where images may have any size."""
    return size + -size % STRIDE if size else f"padded_{name}"


def _over(side: int | str, stride: int, more: int = 0) -> int | str:
    """What a side is at a stride, and more; it may be a name."""
    if isinstance(side, int):
        return side // stride + more
    return f"{side}/{stride}" + (f"+{more}" if more else "")


def export_checked(network: ALIKE, path: Path, height: int = 0, width: int = 0) -> float:
    """Exports and compares with torch on one image.

    Returns the largest difference of the score maps; raises ModelError, and leaves no file, when
    it is above 1e-4.
    """
    with TemporaryDirectory(dir=path.parent, prefix=".") as folder:  # others may export the same
        unchecked = Path(folder) / path.name
        export(network, unchecked, height, width)
        difference = compare(network, unchecked, height or 240, width or 320)
        if not difference < MAX_DIFFERENCE:
            raise ModelError(f"the exported graph differs from torch by {difference:.2g}")
        unchecked.replace(path)
    return difference


def compare(network: ALIKE, path: Path, height: int, width: int) -> float:
    """Largest difference of the score maps of graph and network on an image of smooth noise."""
    import cv2
    import torch

    from alike_ros.backends.onnx import OnnxExtractor

    noise = np.random.default_rng(0).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3))
    image = cv2.resize(noise.astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    outputs = OnnxExtractor(path, provider="cpu").run(np.asarray(image, np.uint8))
    logits = outputs["logits"][:height, :width]
    with torch.inference_mode():
        x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        scores = network(x)[0][0, 0].numpy()
    return float(np.abs(torch.sigmoid(torch.from_numpy(logits)).numpy() - scores).max())
