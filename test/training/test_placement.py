"""Where keypoints lie, measured of detectors that put them where the tests say."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.placement import HEIGHT, SHIFT, WIDTH, Placement, placement


def photo_with_marks() -> Tensor:
    """Black, with white pixels far from each other: (3, H, W) uint8."""
    photo = torch.zeros(3, HEIGHT + SHIFT, WIDTH + SHIFT, dtype=torch.uint8)
    photo[:, 20::40, 30::40] = 255
    return photo


def marks(picture: Tensor) -> Tensor:
    """(N, 2) (x, y) of the white pixels."""
    y, x = (picture[0] == 255).nonzero(as_tuple=True)
    return torch.stack([x, y], dim=1).float()


def measure(detector: str, amount: tuple[float, float]) -> Placement:
    """Of the photo, with keypoints moved from the marks as the name says."""

    def detect(picture: Tensor) -> tuple[Tensor, Tensor]:
        found = marks(picture)
        off = torch.tensor(amount)
        if detector == "stretch":
            off = (found - torch.tensor([WIDTH - 1, HEIGHT - 1]) / 2) * off
        scores = torch.linspace(1, 0, len(found))
        return found + off, scores

    return placement([photo_with_marks(), photo_with_marks()], detect)


def test_keypoints_on_their_marks() -> None:
    found = measure("aside", (0, 0))
    assert (found.right, found.below, found.outwards) == pytest.approx((0, 0, 0), abs=1e-6)
    assert found.strong == pytest.approx(
        0.8 * len(marks(photo_with_marks()[:, :480, :640])), abs=1
    )


def test_keypoints_aside_of_their_marks() -> None:
    found = measure("aside", (0.7, -0.4))
    assert (found.right, found.below) == pytest.approx((0.7, -0.4), abs=1e-4)
    assert found.outwards == pytest.approx(0, abs=1e-4)


def test_keypoints_that_are_pulled_outwards() -> None:
    """A thousandth of the distance from the middle: 0.064 pixels within 64."""
    found = measure("stretch", (1e-3, 1e-3))
    assert found.outwards == pytest.approx(0.064, abs=1e-3)
    assert (found.right, found.below) == pytest.approx((0, 0), abs=0.05)
    assert measure("stretch", (-1e-3, -1e-3)).outwards == pytest.approx(-0.064, abs=1e-3)


def test_nothing_found_is_not_zero() -> None:
    def blind(picture: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros(0, 2), torch.zeros(0)

    found = placement([photo_with_marks()], blind)
    assert all(math.isnan(value) for value in (found.right, found.below, found.outwards))
    assert found.strong == 0
    assert all(map(math.isnan, vars(placement([], blind)).values()))
