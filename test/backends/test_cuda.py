"""Extraction on a GPU that is there: `pytest -m gpu`."""

import threading

import numpy as np
import pytest

from alike_ros.backends import load_extractor
from alike_ros.backends.providers import available
from alike_ros.benchmark import photo
from alike_ros.config import Config, DetectorConfig

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif("cuda" not in available(), reason="no onnxruntime-gpu here"),
]
SIZES = [(480, 640), (200, 333), (376, 1241)]


def features(provider, size, detector):
    return load_extractor(Config(provider=provider, detector=detector))(photo(*size))


def assert_same(a, b):
    assert len(a) == len(b) > 100
    np.testing.assert_allclose(a.scores, b.scores, atol=1e-4)
    distance = np.linalg.norm(a.keypoints[:, None] - b.keypoints[None], axis=2)
    assert distance.min(axis=1).max() < 1e-3
    cosine = (a.descriptors * b.descriptors[distance.argmin(axis=1)]).sum(axis=1)
    assert cosine.min() > 0.9999


@pytest.mark.parametrize("detector", [DetectorConfig(), DetectorConfig(0, sub_pixel=False)])
@pytest.mark.parametrize("size", SIZES)
def test_gpu_and_cpu_find_the_same(size, detector):
    assert_same(features("cuda", size, detector), features("cpu", size, detector))


def test_every_frame_is_a_new_one():
    """The GPU replays what it recorded with the first frames, on the picture of this one."""
    extractor, reference = (load_extractor(Config(provider=name)) for name in ("cuda", "cpu"))
    frames = [np.roll(photo(480, 640), 20 * i, axis=1) for i in range(6)]
    found = [extractor(frame) for frame in frames]
    for frame, features in zip(frames, found, strict=True):
        assert_same(features, reference(frame))


def test_sizes_and_settings_in_turn():
    extractor, reference = (load_extractor(Config(provider=name)) for name in ("cuda", "cpu"))
    for detector in (DetectorConfig(), DetectorConfig(top_k=300), DetectorConfig()):
        extractor.detector = reference.detector = detector
        for size in SIZES:
            assert_same(extractor(photo(*size)), reference(photo(*size)))


def test_from_another_thread():
    extractor = load_extractor(Config(provider="cuda"))
    here = [extractor(photo(480, 640)) for _ in range(3)][-1]
    there = []
    thread = threading.Thread(
        target=lambda: there.extend(extractor(photo(480, 640)) for _ in range(3))
    )
    thread.start()
    thread.join()
    assert_same(there[-1], here)


def test_auto_takes_the_gpu():
    extractor = load_extractor(Config())
    extractor(photo(480, 640))
    assert "on cuda" in extractor.description
