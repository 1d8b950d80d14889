"""Providers, their options, engines and what serves while one is built; the GPU is pretended."""

import importlib.util
import platform
import sys
import threading

import numpy as np
import onnxruntime
import pytest
from blocks import blocks

from alike_ros.backends import load_extractor, providers
from alike_ros.backends.engines import Machine, engine_folder, engine_key, is_built, mark_built
from alike_ros.backends.forms import FeaturesForm
from alike_ros.backends.gpu import GpuExtractor, SwapExtractor
from alike_ros.backends.onnx import OnnxExtractor
from alike_ros.backends.providers import NAMES, provider_options
from alike_ros.backends.together import Together
from alike_ros.cli import main
from alike_ros.config import Config, DetectorConfig
from alike_ros.errors import ConfigError, ModelError
from alike_ros.resources import share_path

MODEL = share_path("models/alike-t.onnx")
FORM = FeaturesForm(480, 640, 1000)
MACHINE = Machine("NVIDIA Orin, 8.7", "100300", "1.23.0")


@pytest.fixture
def gpu(monkeypatch):
    """A machine on which the CPU passes for the GPU; the list of (provider, options) started."""
    start, started = providers.open_session, []

    def pretend(model, provider, num_threads, options, size=()):
        if not size:  # else it is started for the second time
            started.append((provider, options))
        if provider == "tensorrt":
            assert pretend.build.wait(20)
        return start(model, "cpu", num_threads, {}, size)

    pretend.build = threading.Event()
    pretend.build.set()
    for module in ("gpu", "runtimes"):
        monkeypatch.setattr(f"alike_ros.backends.{module}.open_session", pretend)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(NAMES.values()))
    pretend.started = started
    return pretend


def test_missing_provider_names_those_there_are(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [NAMES["cpu"]])
    with pytest.raises(ModelError, match=r"there is .*cpu; pip install onnxruntime-gpu"):
        load_extractor(Config(provider="cuda"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="there is cpu; pip install openvino"):
        load_extractor(Config(provider="openvino"))


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_auto_goes_on_where_a_provider_does_not_start(monkeypatch, caplog):
    """A driver is missing: onnxruntime lists CUDA, but its session runs on the CPU."""
    listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    extractor = load_extractor(Config(provider="auto"))
    assert extractor.provider == providers.best_on_cpu()
    assert "provider cuda does not start" in caplog.text
    with pytest.raises(ModelError, match="cuda"):
        load_extractor(Config(provider="cuda"))


def test_auto_goes_on_where_openvino_cannot_be_imported(monkeypatch, caplog):
    """It is installed, but made for another system."""
    monkeypatch.setitem(sys.modules, "alike_ros.backends.openvino", None)
    monkeypatch.setattr(providers, "available", lambda: ["openvino", "cpu"])
    monkeypatch.setattr(providers, "best_on_cpu", lambda: "openvino")
    assert load_extractor(Config(provider="auto")).provider == "cpu"
    assert "provider openvino does not start" in caplog.text
    with pytest.raises(ModelError, match="openvino cannot be imported"):
        load_extractor(Config(provider="openvino"))


@pytest.mark.parametrize(
    ("machine", "order"),
    [
        ("x86_64", ["tensorrt", "cuda", "numba", "openvino", "cpu"]),
        ("aarch64", ["tensorrt", "cuda", "cpu"]),
    ],
)
def test_auto_prefers_gpus_then_what_is_faster_on_the_cpu(monkeypatch, machine, order):
    tried = []

    def start(provider):
        tried.append(provider)
        raise ModelError("no")

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(NAMES.values()))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(ModelError, match="no"):
        providers.first_that_starts("auto", start)
    assert tried == order


def test_provider_options(tmp_path):
    options = provider_options("tensorrt", precision="fp16", folder=tmp_path)
    assert options == {
        "trt_fp16_enable": "True",
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(tmp_path),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(tmp_path),
    }
    assert provider_options("tensorrt") == {"trt_fp16_enable": "False"}
    assert provider_options("cuda")["arena_extend_strategy"] == "kSameAsRequested"
    assert provider_options("cuda")["use_tf32"] == "0"
    assert provider_options("cpu") == {}


def test_cuda_takes_what_tensorrt_leaves(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(NAMES.values()))
    options = {"use_tf32": "0"}
    assert [name for name, _ in providers.chain("tensorrt", options)] == [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
    ]
    assert providers.chain("cuda", options) == [("CUDAExecutionProvider", options)]


def test_engine_key():
    key = engine_key("a" * 64, FORM, MACHINE)
    assert key == engine_key("a" * 64, FeaturesForm(480, 640, 1000), MACHINE)
    assert key.startswith("480x640-top1000-fp32-")
    others = [
        engine_key("b" * 64, FORM, MACHINE),
        *(
            engine_key("a" * 64, form, MACHINE)
            for form in (
                FeaturesForm(640, 480, 1000),
                FeaturesForm(480, 640, 500),
                FeaturesForm(480, 640, 1000, sub_pixel=False),
                FeaturesForm(480, 640, 1000, precision="fp16"),
            )
        ),
        engine_key("a" * 64, FORM, Machine("NVIDIA Xavier, 7.2", "100300", "1.23.0")),
        engine_key("a" * 64, FORM, Machine("NVIDIA Orin, 8.7", "100400", "1.23.0")),
        engine_key("a" * 64, FORM, Machine("NVIDIA Orin, 8.7", "100300", "1.24.0")),
    ]
    assert len({key, *others}) == 9
    assert "/" not in key


def test_engine_folder(tmp_path, caplog):
    folder = engine_folder(tmp_path / "cache", "key")
    assert folder.is_dir()
    assert not is_built(folder)
    mark_built(folder, FORM, MACHINE)
    assert is_built(folder)
    assert not caplog.records
    (tmp_path / "file").touch()  # root may write anywhere but below a file
    assert engine_folder(tmp_path / "file", "key") is None
    assert "will be built again at every start; set engine_cache_dir" in caplog.text
    mark_built(None, FORM, MACHINE)
    assert not is_built(None)
    mark_built(
        tmp_path / "gone", FORM, MACHINE
    )  # or the disk is full: the engine serves all the same
    assert "built again at the next start" in caplog.text


class Fake:
    def __init__(self, name):
        self.description = name
        self.detector = DetectorConfig()

    def __call__(self, image):
        return self.description, self.detector.top_k


def test_swap_when_ready():
    ready = threading.Event()

    def make():
        assert ready.wait(20)
        return Fake("fast")

    extractor = SwapExtractor(Fake("slow"), make, "the engine")
    assert extractor(None) == ("slow", 1000)
    assert extractor.description == "slow, while the engine is being built"
    ready.set()
    extractor._thread.join(20)
    extractor.detector = DetectorConfig(top_k=7)
    assert extractor(None) == ("fast", 7)
    assert extractor.description == "fast"


def test_swap_that_fails(caplog):
    def make():
        raise ModelError("no memory")

    extractor = SwapExtractor(Fake("slow"), make, "the engine")
    extractor._thread.join(20)
    assert extractor(None) == ("slow", 1000)
    assert extractor.description == "slow, as the engine failed"
    assert "going on with slow: no memory" in caplog.text


def test_cuda_makes_a_graph_for_each_size(gpu):
    extractor = load_extractor(Config(provider="cuda", precision="fp32"))
    assert isinstance(extractor, GpuExtractor)
    assert extractor.description == "alike-t.onnx on cuda, made for the first image"
    reference = OnnxExtractor(MODEL, provider="cpu")
    for size, detector in (
        ((96, 128), DetectorConfig()),
        ((97, 130), DetectorConfig()),
        ((96, 128), DetectorConfig(top_k=50, min_score=0.5)),
        ((96, 128), DetectorConfig(top_k=60, sub_pixel=False)),
    ):
        extractor.detector = reference.detector = detector
        a, b = extractor(blocks(*size)), reference(blocks(*size))
        np.testing.assert_allclose(a.keypoints, b.keypoints, atol=1e-3)
        np.testing.assert_allclose(a.descriptors, b.descriptors, atol=1e-3)
    assert "alike-t in fp32 on cuda" in extractor.description


def test_a_gpu_takes_one_image_after_the_other(gpu):
    together = Together(Config(provider="cuda"), 2)
    left, right = together([blocks(), blocks()], DetectorConfig())
    np.testing.assert_array_equal(left.keypoints, right.keypoints)
    assert len(gpu.started) == 2  # the probe, and one graph for both cameras
    assert "at once" not in together.description
    assert not together.any_top_k


def test_cuda_serves_while_the_engine_is_built(gpu, tmp_path):
    config = Config(provider="tensorrt", precision="fp16", engine_cache_dir=str(tmp_path))
    extractor = load_extractor(config)
    gpu.build.clear()
    first = extractor(blocks(192, 256))
    assert len(first) > 100
    assert "on cuda" in extractor.description
    assert "while the TensorRT engine is being built" in extractor.description
    gpu.build.set()
    (swap,) = extractor._extractors.values()
    swap._thread.join(20)
    np.testing.assert_array_equal(extractor(blocks(192, 256)).keypoints, first.keypoints)
    assert extractor.description.startswith("alike-t in fp16 on tensorrt")
    (options,) = [
        o for name, o in gpu.started if name == "tensorrt" and "trt_engine_cache_path" in o
    ]
    assert options["trt_fp16_enable"] == "True"
    assert is_built(tmp_path / "tensorrt" / options["trt_engine_cache_path"])

    again = load_extractor(config)  # the engine is there: nothing else serves
    again(blocks(192, 256))
    assert again.description.startswith("alike-t in fp16 on tensorrt")
    assert not isinstance(next(iter(again._extractors.values())), SwapExtractor)


def test_cpu_serves_where_there_is_no_cuda(gpu, monkeypatch, tmp_path):
    listed = [NAMES["tensorrt"], NAMES["cpu"]]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    extractor = load_extractor(Config(provider="tensorrt", engine_cache_dir=str(tmp_path)))
    gpu.build.clear()
    assert len(extractor(blocks(192, 256))) > 100  # 233 measured
    assert f"alike-t (alike-t.onnx) on {providers.best_on_cpu()}" in extractor.description
    gpu.build.set()


def test_tensorrt_without_a_cache(gpu, caplog, tmp_path):
    (tmp_path / "file").touch()
    extractor = load_extractor(
        Config(provider="tensorrt", engine_cache_dir=str(tmp_path / "file"))
    )
    assert len(extractor(blocks(192, 256))) > 100  # 233 measured
    assert "built again at every start" in caplog.text


def test_too_many_keypoints_for_tensorrt(gpu, tmp_path):
    config = Config(
        provider="tensorrt", detector=DetectorConfig(top_k=0), engine_cache_dir=str(tmp_path)
    )
    with pytest.raises(ConfigError, match=r"at most 3840 keypoints, detector\.top_k is 5000"):
        load_extractor(config)(blocks())


def test_fp16_is_for_gpus(caplog, monkeypatch):
    with pytest.raises(ConfigError, match="fp16 is for the providers tensorrt and cuda"):
        load_extractor(Config(provider="cpu", precision="fp16"))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [NAMES["cpu"]])
    load_extractor(Config(precision="fp16"))
    assert f"{providers.best_on_cpu()} runs in fp32" in caplog.text


@pytest.mark.parametrize("size", [(), ("--size", "480by640")])
def test_export_for_a_gpu_needs_a_size(size, capsys):
    assert main(["export", str(MODEL), "--provider", "cuda", *size]) == 1
    assert "size" in capsys.readouterr().err


def test_export_for_cuda(tmp_path, capsys):
    output = tmp_path / "graph.onnx"
    arguments = ["export", str(MODEL), "--provider", "cuda", "--size", "96x128"]
    arguments += ["--set", "detector.top_k=200", "--output", str(output)]
    assert main(arguments) == 0
    assert "200 keypoints of 96x128, fp32" in capsys.readouterr().out
    detector = DetectorConfig(top_k=200, min_score=0.0)
    features = load_extractor(Config(model=str(output), provider="cpu", detector=detector))(
        blocks()
    )
    assert len(features) == 200


def test_export_for_tensorrt_without_it(tmp_path, capsys):
    if NAMES["tensorrt"] in onnxruntime.get_available_providers():
        pytest.skip("TensorRT is there")
    assert main(["export", str(MODEL), "--provider", "tensorrt", "--size", "96x128"]) == 1
    assert "pip install onnxruntime-gpu, and TensorRT" in capsys.readouterr().err


def test_export_builds_the_engine_that_is_looked_for(gpu, tmp_path, capsys):
    arguments = ["export", str(MODEL), "--provider", "tensorrt", "--size", "96x128"]
    for _ in range(2):  # the second time it is there
        assert main([*arguments, "--set", f"engine_cache_dir={tmp_path}"]) == 0
        assert "the TensorRT engine for 96x128, fp32" in capsys.readouterr().out
    built = [o for name, o in gpu.started if "trt_engine_cache_path" in o]
    assert len(built) == 1
    extractor = load_extractor(Config(provider="tensorrt", engine_cache_dir=str(tmp_path)))
    extractor(blocks())
    assert extractor.description.startswith("alike-t in fp32 on tensorrt")
