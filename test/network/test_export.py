"""The inference graph equals torch for every variant and size, and says when it cannot run."""

import numpy as np
import onnx
import pytest

pytest.importorskip("torch")

from test_alnet import random_network

from alike_ros.backends.onnx import OnnxExtractor
from alike_ros.backends.torch import TorchExtractor
from alike_ros.config import DetectorConfig
from alike_ros.errors import DataError, ModelError
from alike_ros.network import VARIANTS, save_weights
from alike_ros.network.export import compare, export, export_checked


def picture(height, width, channels=3):
    rng = np.random.default_rng(height + width)
    image = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    return image if channels > 1 else image[..., 0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_dynamic_graph_equals_torch(variant, on_cpu, tmp_path):
    network = random_network(variant)
    save_weights(network, tmp_path / "weights.safetensors")
    export(network, tmp_path / "graph.onnx")
    detector = DetectorConfig(top_k=0, min_score=0.0)
    if (variant, on_cpu) == ("alike-l", "numba"):
        with pytest.raises(ModelError, match="alike-l has a head of two layers"):
            OnnxExtractor(tmp_path / "graph.onnx", detector, on_cpu)
        return
    ours = OnnxExtractor(tmp_path / "graph.onnx", detector, on_cpu)
    theirs = TorchExtractor(tmp_path / "weights.safetensors", detector)
    for height, width in ((64, 64), (97, 130), (200, 96)):
        assert compare(network, tmp_path / "graph.onnx", height, width) < 1e-5  # measured 1e-6
        for channels in (1, 3):
            image = picture(height, width, channels)
            a, b = ours(image), theirs(image)
            assert len(b) > 50
            distance = np.linalg.norm(a.keypoints[:, None] - b.keypoints[None], axis=2)
            j, same = distance.argmin(axis=1), distance.min(axis=1) < 1e-3
            # on noise, two pixels' scores may differ by no more than rounding
            assert same.sum() >= 0.995 * max(len(a), len(b))
            np.testing.assert_allclose(a.scores[same], b.scores[j[same]], atol=1e-4)
            assert (a.descriptors * b.descriptors[j]).sum(1)[same].min() > 0.9999


def test_fixed_size_graph(tmp_path, on_cpu):
    network = random_network("alike-t")
    path = tmp_path / "graph.onnx"
    assert export_checked(network, path, 96, 130) < 1e-5
    extractor = OnnxExtractor(path, DetectorConfig(min_score=0.0), on_cpu)
    assert len(extractor(picture(96, 130))) > 10
    with pytest.raises(DataError, match=r"\(64, 64, 3\).*exported for 96x130"):
        extractor(picture(64, 64))


def test_graph_takes_bytes_and_gives_maps_only(tmp_path):
    export(random_network("alike-t"), tmp_path / "graph.onnx")
    model = onnx.load(tmp_path / "graph.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [i.name for i in model.graph.input] == ["image"]
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)
    # nothing of dim x H x W leaves: the largest output is block 1's, with 8 channels
    assert [o.name for o in model.graph.output] == [
        "logits",
        "block1_0",
        "block1_1",
        "level2",
        "level3",
        "level4",
    ]


def test_wrong_graph_is_not_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("alike_ros.network.export.MAX_DIFFERENCE", 0.0)
    with pytest.raises(ModelError, match="differs from torch"):
        export_checked(random_network("alike-t"), tmp_path / "graph.onnx")
    assert list(tmp_path.iterdir()) == []


def test_two_processes_may_export_the_same_weights(tmp_path, monkeypatch):
    """As two nodes do that start together."""
    network, path = random_network("alike-t"), tmp_path / "graph.onnx"

    def compare_while_another_exports(*arguments):
        monkeypatch.setattr("alike_ros.network.export.compare", compare)
        export_checked(network, path)
        return compare(*arguments)

    monkeypatch.setattr("alike_ros.network.export.compare", compare_while_another_exports)
    assert export_checked(network, path) < 1e-5
    assert list(tmp_path.iterdir()) == [path]


def test_half_a_size_is_refused(tmp_path):
    with pytest.raises(ModelError, match="give both"):
        export(random_network("alike-t"), tmp_path / "graph.onnx", height=480)
