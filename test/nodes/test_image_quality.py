"""Images that are fit for keypoints, and those that are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from alike_ros.data import open_sequence
from alike_ros.doctor import Severity
from alike_ros.nodes.image_quality import examine_depth, examine_image


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return next(iter(open_sequence("render:room?frames=1", "mono"))).image


def said(findings: object) -> str:
    return "; ".join(f.text for f in findings if f.severity is not Severity.OK)  # type: ignore


def test_images(image: np.ndarray) -> None:
    assert said(examine_image("image", image)) == ""  # sharpness 318 measured
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    assert said(examine_image("image", grey)) == ""
    assert "too dark" in said(examine_image("image", image // 16))
    assert "too bright" in said(examine_image("image", 255 - image // 16))
    assert "blurred" in said(examine_image("image", cv2.GaussianBlur(image, (0, 0), 8)))
    clipped = image.copy()
    clipped[:160] = 255
    assert "black or white" in said(examine_image("image", clipped))


def test_depths() -> None:
    depth = np.full((48, 64), 2, np.float32)
    assert said(examine_depth("depth", depth)) == ""
    assert "is 2e+03 m" in said(examine_depth("depth", depth * 1000))
    depth[:45] = np.nan
    assert "only 6 %" in said(examine_depth("depth", depth))
    assert "no pixel" in said(examine_depth("depth", depth * np.nan))
