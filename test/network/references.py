"""The outputs of the authors' released code, and how to compare with them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

VARIANTS = ("alike-t", "alike-s", "alike-n", "alike-l")
IMAGES = {
    "tum_fr2_desk": "data/tum_fr2_desk/rgb/1311868169.163498.png",
    "kitti00": "data/kitti00/image_0/000100.png",
    "v_graf": "data/homography/v_graf/1.png",
}
#: Mode -> settings of the detector; the released code has no threshold where it takes the top K.
MODES = {
    "threshold": {"top_k": 0, "min_score": 0.2, "sub_pixel": True},
    "top500": {"top_k": 500, "min_score": 0.0, "sub_pixel": True},
    "pixel": {"top_k": 0, "min_score": 0.2, "sub_pixel": False},
}


def read_rgb(shared: Path, image: str) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(shared / IMAGES[image])), cv2.COLOR_BGR2RGB)


def assert_reference(shared: Path, variant: str, image: str, mode: str, features) -> None:
    """Same keypoints in the same order, ties aside. Largest differences measured over all cases:
    keypoints 1.5e-4 px, scores 8.5e-5, 1 - cosine 3e-7.
    """
    keypoints, scores, descriptors = features
    with np.load(shared / "reference" / f"{variant}_{image}_{mode}.npz") as reference:
        wanted = {name: reference[name].astype(np.float64) for name in reference}
    assert len(keypoints) == len(wanted["keypoints"])
    distance = np.linalg.norm(keypoints[:, None] - wanted["keypoints"][None], axis=2)
    partner = distance.argmin(axis=0)  # the keypoint at each of the reference's
    assert len(set(partner)) == len(partner)
    assert distance.min(axis=0).max() < 1e-3
    assert np.abs(scores[partner] - wanted["scores"]).max() < 1e-4
    # float16 in pixel mode: unit length only after normalising
    unit = wanted["descriptors"] / np.linalg.norm(wanted["descriptors"], axis=1, keepdims=True)
    assert (descriptors[partner] * unit).sum(axis=1).min() > 0.9999
    # where the order differs, the scores are equal to their error
    moved = partner != np.arange(len(partner))
    assert np.abs(wanted["scores"][moved] - wanted["scores"][partner[moved]]).max(initial=0) < 2e-4
