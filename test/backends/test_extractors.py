"""What goes into an extractor, which model and which provider."""

import builtins
import shutil

import numpy as np
import pytest
from blocks import blocks

from alike_ros.backends import load_extractor
from alike_ros.backends.providers import threads
from alike_ros.config import Config, DetectorConfig
from alike_ros.errors import DataError, ModelError
from alike_ros.resources import share_path

CPU = Config(provider="cpu")


@pytest.fixture(scope="module")
def extractor(on_cpu):
    return load_extractor(Config(provider=on_cpu))


def test_default_model_finds_features_on_a_photo(extractor, on_cpu):
    skimage_data = pytest.importorskip("skimage.data")
    photo = skimage_data.astronaut()
    assert 500 < len(extractor(photo)) <= 1000  # measured 817
    features = load_extractor(Config(provider=on_cpu, detector=DetectorConfig(min_score=0.0)))(
        photo
    )
    assert len(features) == 1000
    assert features.descriptors.shape == (1000, 64)
    assert features.keypoints.dtype == features.scores.dtype == features.descriptors.dtype
    np.testing.assert_allclose(np.linalg.norm(features.descriptors, axis=1), 1, atol=1e-5)
    assert (np.diff(features.scores) <= 0).all()
    assert features.scores.max() < 1
    assert extractor.description.endswith(f"on {on_cpu}, {threads(0)} threads")


def test_the_same_image_gives_the_same_features(extractor):
    image = blocks()
    first, second = extractor(image), extractor(image)
    assert len(first) > 30  # 70 measured
    for name in ("keypoints", "scores", "descriptors"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_grey_is_rgb_with_equal_channels(extractor):
    grey = blocks(100, 70, 1)
    a, b = extractor(grey), extractor(np.repeat(grey[..., None], 3, axis=2))
    assert len(a) > 30  # 47 measured
    np.testing.assert_array_equal(a.keypoints, b.keypoints)


def test_blank_image_gives_nothing(extractor):
    features = extractor(np.zeros((64, 64), np.uint8))
    assert len(features) == 0
    assert features.descriptors.shape == (0, 64)


def test_a_view_with_strides_is_as_good_as_a_copy(extractor):
    image = blocks(128, 128)
    bgr = image[:, :, ::-1]
    a, b = extractor(bgr), extractor(bgr.copy())
    assert len(a) > 30  # 89 measured
    np.testing.assert_array_equal(a.keypoints, b.keypoints)


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.zeros((480, 640, 3), np.float32), r"float32 \(480, 640, 3\), expected uint8"),
        (np.zeros((480, 640, 4), np.uint8), r"\(480, 640, 4\)"),
        (np.zeros((480, 640, 1), np.uint8), r"\(480, 640, 1\)"),
        (np.zeros((63, 640), np.uint8), r"\(63, 640\), expected at least 64x64"),
        (np.zeros((1, 64, 64, 3), np.uint8), r"\(1, 64, 64, 3\)"),
        ([[1, 2], [3, 4]], r"list \(2, 2\)"),
    ],
)
def test_wrong_images_are_refused(extractor, image, told):
    with pytest.raises(DataError, match=told):
        extractor(image)


def test_weights_are_exported_once(tmp_path):
    pytest.importorskip("torch")
    weights = tmp_path / "mine.safetensors"
    shutil.copy(share_path("models/alike-t.safetensors"), weights)
    config = Config(model=str(weights), provider="cpu", engine_cache_dir=str(tmp_path / "cache"))
    image = blocks(channels=1)
    first = load_extractor(config)(image)
    (exported,) = (tmp_path / "cache").iterdir()
    made = exported.stat().st_mtime_ns
    second = load_extractor(config)(image)
    assert exported.stat().st_mtime_ns == made
    np.testing.assert_array_equal(first.keypoints, second.keypoints)
    # the shipped graph is the export of the shipped weights
    default = load_extractor(CPU)(image)
    np.testing.assert_allclose(first.keypoints, default.keypoints, atol=1e-4)


def test_weights_without_torch_say_what_to_do(tmp_path, monkeypatch):
    weights = tmp_path / "mine.pth"
    weights.write_bytes(b"weights")
    real_import = builtins.__import__

    def no_torch(name, *args, **kwargs):
        if name == "alike_ros.network":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_torch)
    with pytest.raises(ModelError, match=r"need torch.*pip install torch.*alike export"):
        load_extractor(Config(model=str(weights), engine_cache_dir=str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("missing.onnx", None, "no model file"),
        ("model.txt", b"", r"expected .onnx, .pth or .safetensors"),
        ("corrupt.onnx", b"\x00\x01 not a model", "cannot load the model"),
        ("empty.onnx", b"", "model"),
    ],
)
def test_bad_models(tmp_path, on_cpu, name, content, told):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=told):
        load_extractor(Config(model=str(tmp_path / name), provider=on_cpu))


def test_an_onnx_file_of_something_else_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([node], "other", [value], [out])
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), tmp_path / "other.onnx"
    )
    with pytest.raises(ModelError, match="make it with `alike export`"):
        load_extractor(Config(model=str(tmp_path / "other.onnx"), provider="cpu"))


def test_top_k(extractor, on_cpu):
    few = load_extractor(Config(provider=on_cpu, detector=DetectorConfig(top_k=10)))
    image = blocks()
    all_of_them = {tuple(point) for point in extractor(image).keypoints}
    assert len(few(image)) == 10
    assert {tuple(point) for point in few(image).keypoints} < all_of_them
