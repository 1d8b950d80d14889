"""Validation: perfect where it must be, and pictures that show it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from alike_ros.network import ALIKE
from training.config import RunConfig, override
from training.validation import draw, match, validate

CONFIG = override(RunConfig(), ["validation={pairs: 1, top_k: 50, height: 96, width: 128}"])


@pytest.fixture
def network() -> ALIKE:
    torch.manual_seed(0)
    return ALIKE("alike-t").eval()


def pair_of(homography: Tensor) -> dict[str, Tensor]:
    """The same picture twice, said to be related by `homography`."""
    image = torch.randint(0, 256, (3, 96, 128), generator=torch.Generator().manual_seed(0))
    image = image.to(torch.uint8)
    return {"image0": image, "image1": image, "view1_from_view0": homography}


def test_equal_views_match_perfectly(network: ALIKE) -> None:
    """Any weights find the same keypoints twice in the same picture."""
    results = validate(network, [pair_of(torch.eye(3))], CONFIG)
    assert results["rep"] == 100 and results["ms@1"] == 100 and results["mha@1"] == 100
    errors = match(network, pair_of(torch.eye(3)), CONFIG).errors
    followed = np.isfinite(errors)  # not at the border
    assert len(errors) == 50 and followed.sum() > 10
    assert errors[followed].max() < 1e-3
    assert results["mma@1"] == pytest.approx(100 * followed.mean())


def test_wrong_truth_makes_every_match_wrong(network: ALIKE) -> None:
    shift = torch.tensor([[1.0, 0, 20], [0, 1, 0], [0, 0, 1]])
    results = validate(network, [pair_of(shift)], CONFIG)
    assert results["mma@5"] == 0 and results["mha@5"] == 0
    errors = match(network, pair_of(shift), CONFIG).errors
    assert np.isfinite(errors).sum() > 10
    np.testing.assert_allclose(errors[np.isfinite(errors)], 20)


def test_the_homography_leads_from_view_0_to_view_1(network: ALIKE) -> None:
    """Two pieces of one picture, to a network that sees no more than some pixels around."""
    with torch.no_grad():
        network.convhead2.weight[:, network.dim // 4 :] = 0
    picture = torch.randint(0, 256, (3, 104, 144), generator=torch.Generator().manual_seed(0))
    picture = picture.to(torch.uint8)
    shift = torch.tensor([[1.0, 0, -16], [0, 1, -8], [0, 0, 1]])
    views = {"image0": picture[:, :96, :128], "image1": picture[:, 8:, 16:]}
    results = validate(network, [views | {"view1_from_view0": shift}], CONFIG)
    # measured 92, 95 and 100
    assert results["rep"] > 80 and results["mma@1"] > 80 and results["mha@1"] == 100


def test_errors_are_pixels_of_view_1(network: ALIKE) -> None:
    found = match(network, pair_of(torch.diag(torch.tensor([1.2, 1.2, 1]))), CONFIG)
    seen = np.isfinite(found.errors)
    assert seen.sum() > 10
    off = 0.2 * np.linalg.norm(found.keypoints0[found.matches[:, 0]], axis=1)
    np.testing.assert_allclose(found.errors[seen], off[seen], rtol=1e-4)


def test_pairs_with_depth_have_no_homography_to_compare(network: ALIKE) -> None:
    K = torch.tensor([[100.0, 0, 63.5], [0, 100, 47.5], [0, 0, 1]])
    depth = torch.full((96, 128), 2.0)
    pair = pair_of(torch.eye(4)) | {"depth0": depth, "depth1": depth, "K0": K, "K1": K}
    results = validate(network, [pair], CONFIG)
    assert results["ms@1"] == 100
    assert not any("mha" in name for name in results)


def test_right_matches_are_green_and_wrong_ones_red(network: ALIKE) -> None:
    black = pair_of(torch.eye(3)) | {
        "image0": torch.zeros(3, 96, 128, dtype=torch.uint8),
        "image1": torch.zeros(3, 96, 128, dtype=torch.uint8),
    }
    right = match(network, pair_of(torch.eye(3)), CONFIG)
    right = replace(right, errors=np.zeros(50))
    picture = draw(black, right)
    assert picture.shape == (96, 256, 3)
    greener = picture[..., 1].astype(int) - picture[..., 0]
    assert (greener > 100).sum() > 1000
    assert (greener < -100).sum() == 0
    wrong = draw(black, replace(right, errors=np.full(50, 4.0)))
    assert (wrong[..., 0].astype(int) - wrong[..., 1] > 100).sum() > 1000
