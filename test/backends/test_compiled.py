"""The network that numba compiles: on any processor, in any number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from blocks import blocks

pytest.importorskip("numba", reason="numba is not installed")

from alike_ros import compiling
from alike_ros.backends import kernels, load_extractor
from alike_ros.backends.compiled import CompiledRuntime
from alike_ros.backends.compiled_head import describe_keypoints
from alike_ros.backends.forms import FEATURES_VERSION
from alike_ros.backends.kernels import Axis, fourths, halve, pitch
from alike_ros.backends.onnx import OnnxExtractor
from alike_ros.backends.strips import strips
from alike_ros.config import DetectorConfig
from alike_ros.errors import ModelError
from alike_ros.resources import share_path

MODEL = str(share_path("models/alike-t.onnx"))
#: Vectors of 8 in 16 registers, and of 4.
OTHERS = {
    "haswell": "+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2",
    "nehalem": "+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt",
}
RUN = """
import sys
import numpy as np
from blocks import blocks
from alike_ros.backends.onnx import OnnxExtractor
from alike_ros.backends.simd import LANES
found = OnnxExtractor(sys.argv[1], provider="numba", num_threads=2)(blocks(96, 130))
np.savez(sys.argv[2], lanes=LANES, **vars(found))
"""


@pytest.mark.parametrize(("processor", "lanes"), [("haswell", 8), ("nehalem", 4)])
def test_older_processors(tmp_path, processor, lanes):
    """What is compiled for them runs here, too."""
    told = {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": OTHERS[processor]}
    told |= {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    out = tmp_path / "found.npz"
    subprocess.run([sys.executable, "-c", RUN, MODEL, out], env=os.environ | told, check=True)
    wanted = OnnxExtractor(MODEL, provider="cpu")(blocks(96, 130))
    with np.load(out) as found:
        assert found["lanes"] == lanes
        np.testing.assert_allclose(found["keypoints"], wanted.keypoints, atol=1e-3)
        np.testing.assert_allclose(found["descriptors"], wanted.descriptors, atol=1e-4)


@pytest.mark.parametrize("size", [(64, 64), (97, 130), (66, 1000)])
def test_maps_are_those_of_onnxruntime(size):
    """In strips by one thread and by five, which is more than the last block has rows."""
    image = blocks(*size)
    wanted = OnnxExtractor(MODEL, provider="cpu").run(image)
    block1 = wanted["block1"].reshape(1, len(wanted["logits"]), -1, 8)[:, :, 1:-1]
    for num_threads in (1, 5):
        runtime = CompiledRuntime(MODEL, num_threads)
        for _ in range(2):  # what a call leaves in its buffers does not matter
            found = runtime.run(np.ascontiguousarray(image))
            np.testing.assert_allclose(found["block1"], block1, atol=1e-3)
            for name in ("logits", "level2", "level3", "level4"):  # of up to 50: measured 4e-4
                np.testing.assert_allclose(found[name], wanted[name], atol=1e-3)
            runtime.run(255 - image)


def test_strips_are_whole_units_of_all_rows():
    for rows, unit, count in ((480, 2, 2), (15, 1, 4), (60, 4, 7), (4, 4, 3), (0, 1, 2)):
        found = strips(rows, unit, count)
        assert [row for s in found for row in range(s.start, s.end)] == list(range(rows))
        assert all(s.start % unit == 0 and s.end > s.start for s in found)
        assert [s.number for s in found] == list(range(len(found)))
        assert len(found) <= count


def test_largest_of_pixels():
    rng = np.random.default_rng(0)
    rows = np.zeros((2, 3, pitch(24)), np.float32)
    pixels = rng.normal(size=(2, 3, 24))
    rows[:, :, kernels.MARGIN : kernels.MARGIN + 24] = pixels
    half, quarter = np.zeros((2, 3, pitch(12)), np.float32)
    halve(rows, half, 12)
    fourths(rows[0], quarter, 6)
    inside = slice(kernels.MARGIN, kernels.MARGIN + 12)
    wanted = pixels.reshape(2, 3, 12, 2).max(axis=(0, 3))
    np.testing.assert_allclose(half[:, inside], wanted, rtol=1e-6)
    wanted = pixels[0].reshape(3, 6, 4).max(axis=2)
    np.testing.assert_allclose(quarter[:, inside][:, :6], wanted, rtol=1e-6)
    assert not quarter[:, kernels.MARGIN + 6 :].any()


def test_axis_is_that_of_aligned_corners():
    axis = Axis.between(20, 640)
    np.testing.assert_allclose(axis.cell + axis.fraction, np.linspace(0, 19, 640), atol=1e-5)
    assert axis.cell.max() < 20


def test_nothing_is_compiled_for_an_image_later_on():
    """Images of messages may not be written to, and come in all sizes."""
    extractor = OnnxExtractor(MODEL, provider="numba")
    compiled = [kernels.first_block, kernels.residual_block, describe_keypoints]
    before = [len(function.signatures) for function in compiled]
    image = blocks(70, 90)
    image.flags.writeable = False
    for pixels in (image, image[:, ::-1], image[..., 0], np.zeros((64, 80, 3), np.uint8)):
        extractor(pixels)
    extractor.detector = DetectorConfig(sub_pixel=False)
    assert len(extractor(image)) > 20
    assert before == [len(function.signatures) for function in compiled] == [1, 1, 1]


@pytest.mark.parametrize("kernel", ["kernels.first_block", "compiled_head.describe_keypoints"])
def test_auto_goes_on_where_it_does_not_compile(monkeypatch, caplog, kernel):
    """An llvmlite of another version, a file that is kept but broken."""

    def fail(*_):
        raise EOFError("Ran out of input")

    monkeypatch.setattr(f"alike_ros.backends.{kernel}", fail)
    monkeypatch.setattr("alike_ros.compiling.is_kept", lambda _: True)
    with pytest.raises(ModelError, match=r"numba .* does not compile: EOFError: Ran out"):
        OnnxExtractor(MODEL, provider="numba")
    extractor = load_extractor()
    assert extractor.provider != "numba"
    assert len(extractor(blocks(90, 134))) > 50
    assert "provider numba does not start" in caplog.text


def test_a_graph_of_one_size_for_gpus_is_refused(tmp_path):
    model = onnx.load(MODEL)
    entry = next(item for item in model.metadata_props if item.key == "graph")
    entry.value = FEATURES_VERSION
    onnx.save(model, tmp_path / "features.onnx")
    with pytest.raises(ModelError, match="numba runs graphs for images of any size"):
        OnnxExtractor(tmp_path / "features.onnx", provider="numba")


def test_what_was_compiled_of_other_sources_is_not_taken():
    root = Path(compiling.__file__).parent
    compiled = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if "@compiled" in path.read_text(encoding="utf-8")
    }
    assert len(compiled) == 4
    assert compiled < set(compiling._SOURCES)


def test_what_cannot_be_kept_is_compiled_all_the_same():
    """Of a source that is no file, as where no folder can be written to."""
    names = {}
    exec("def twice(x):\n    return 2 * x", names)
    twice = compiling.compiled(names["twice"])
    assert twice(21) == 42
    assert not compiling.can_be_kept(twice)
    assert not compiling.is_kept(twice)


def test_it_says_that_it_compiles_once(monkeypatch, caplog):
    CompiledRuntime(MODEL, 1)
    caplog.clear()
    CompiledRuntime(MODEL, 1)
    assert not caplog.text
    monkeypatch.setattr("alike_ros.compiling.is_kept", lambda _: False)
    CompiledRuntime(MODEL, 1)
    assert "compiling the network for this processor, once" in caplog.text
    monkeypatch.setattr("alike_ros.compiling.can_be_kept", lambda _: False)
    CompiledRuntime(MODEL, 1)
    assert "as at every start" in caplog.text
