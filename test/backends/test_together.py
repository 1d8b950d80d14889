"""Several cameras' images at once."""

import numpy as np
import pytest
from blocks import blocks

from alike_ros.backends import load_extractor
from alike_ros.backends.together import Together
from alike_ros.config import Config, DetectorConfig
from alike_ros.errors import DataError


def test_the_same_as_one_after_the_other(on_cpu):
    """And in the order of the images, with settings that change."""
    config = Config(provider=on_cpu, num_threads=2)
    together, alone = Together(config, 2), load_extractor(config)
    images = [blocks(), blocks(96, 160)]
    for detector in (DetectorConfig(), DetectorConfig(top_k=20)):
        alone.detector = detector
        for found, image in zip(together(images, detector), images, strict=True):
            wanted = alone(image)
            assert len(wanted) >= 20
            np.testing.assert_allclose(found.keypoints, wanted.keypoints, atol=1e-3)
            np.testing.assert_allclose(found.descriptors, wanted.descriptors, atol=1e-4)
    assert together.description.endswith(f"on {on_cpu}, 1 threads, 2 at once")


def test_one_camera_has_all_threads(on_cpu):
    together = Together(Config(provider=on_cpu, num_threads=2), 1)
    assert together.description.endswith("2 threads")
    assert together.any_top_k


def test_an_image_that_is_no_use_does_not_spoil_the_next(on_cpu):
    together = Together(Config(provider=on_cpu), 2)
    good, small = blocks(), np.zeros((10, 10), np.uint8)
    for pair in ((good, small), (small, good)):
        with pytest.raises(DataError, match="at least 64x64"):
            together(pair, DetectorConfig())
    left, right = together((good, good), DetectorConfig())
    np.testing.assert_array_equal(left.keypoints, right.keypoints)
