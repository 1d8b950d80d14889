"""The network in torch and the inference graph give what the authors' released code gives."""

import numpy as np
import pytest
from references import IMAGES, MODES, VARIANTS, assert_reference, read_rgb

from alike_ros.backends.onnx import OnnxExtractor
from alike_ros.config import DetectorConfig

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def network(shared, variant):
    from alike_ros.network import load_alike

    network = load_alike(shared / "weights" / f"{variant}.pth")
    assert network.variant == variant
    return network


@pytest.fixture(scope="module")
def graph(network, variant, tmp_path_factory):
    from alike_ros.network.export import export

    path = tmp_path_factory.mktemp("graphs") / f"{variant}.onnx"
    export(network, path)
    return path


@pytest.fixture
def runner(variant, graph, on_cpu) -> OnnxExtractor:
    compiled_not = (variant, on_cpu) == ("alike-l", "numba")  # `auto` then takes the next
    return OnnxExtractor(graph, provider="auto" if compiled_not else on_cpu)


@pytest.mark.parametrize("image", IMAGES)
def test_torch(shared, variant, network, image):
    rgb = read_rgb(shared, image)
    x = torch.from_numpy(rgb).permute(2, 0, 1).float() / 255
    for mode, settings in MODES.items():
        assert_reference(
            shared, variant, image, mode, [v.numpy() for v in network.extract(x, **settings)]
        )


@pytest.mark.parametrize("image", IMAGES)
def test_onnx(shared, variant, runner, image):
    for mode, settings in MODES.items():
        runner.detector = DetectorConfig(**settings)
        found = runner(read_rgb(shared, image))
        features = (found.keypoints, found.scores, found.descriptors)
        assert_reference(shared, variant, image, mode, features)


@pytest.mark.parametrize("image", IMAGES)
def test_score_map(shared, variant, runner, image):
    rgb = read_rgb(shared, image)
    height, width = rgb.shape[:2]
    logits = runner.run(rgb)["logits"][:height, :width]
    with np.load(shared / "reference" / f"{variant}_{image}_scoremap.npz") as reference:
        wanted = reference["score_map"].astype(np.float32)
    # float16 has 11 bits: 2.4e-4 below 1 (measured 2.5e-4)
    assert np.abs(1 / (1 + np.exp(-logits)) - wanted).max() < 3e-4
