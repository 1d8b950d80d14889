"""MegaDepth in the layout that the authors of DISK published.

A json file names for each scene the folders of images, depths and calibrations, the images and
the tuples of images that see the same place:

    {scene: {"image_path": ..., "depth_path": ..., "calib_path": ...,
             "images": ["a.jpg", ...], "tuples": [[0, 4, 7], ...]}}

Depth is `depth` in NAME.h5 (0 where unknown), calibration is K, R and T (camera from world) in
calibration_NAME.jpg.h5. Paths are relative to the json file.
"""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from alike_ros.errors import DataError
from training.config import DataConfig
from training.data.depth import DepthView, make_pair, rigid

#: One scene in so many is held back for validation.
HELD_BACK = 12


class Scene(NamedTuple):
    """One reconstruction."""

    images: Path
    depths: Path
    calibrations: Path
    names: list[str]
    pairs: list[tuple[int, int]]  # of indices into names


class MegaDepthPairs(Dataset[dict[str, Tensor]]):
    """Item i depends on (scenes, config, seed, i) alone.

    Scenes are equally likely. Items have image0/1 (3, H, W) uint8, depth0/1 (H, W), K0/1 (3, 3)
    and view1_from_view0 (4, 4).
    """

    def __init__(self, scenes: list[Scene], config: DataConfig, seed: int) -> None:
        self.scenes = [scene for scene in scenes if scene.pairs]
        if not self.scenes:
            raise DataError("MegaDepth has no pairs: check the tuples of its json file")
        self.config = config
        self.seed = seed

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        cv2.setNumThreads(1)  # the workers are the parallelism
        rng = np.random.default_rng([self.seed, index])
        scene = self.scenes[rng.integers(len(self.scenes))]
        pair = rng.permutation(scene.pairs[rng.integers(len(scene.pairs))])
        view0, view1 = (read_view(scene, scene.names[i]) for i in pair)
        return make_pair(rng, view0, view1, self.config)


def read_scenes(path: Path) -> list[Scene]:
    """The scenes of a json file of tuples."""
    try:
        content = json.loads(path.read_text())
        return [_scene(path.parent, fields) for _, fields in sorted(content.items())]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no list of scenes as DISK publishes it: {error!r}") from error


def split_scenes(scenes: list[Scene]) -> tuple[list[Scene], list[Scene]]:
    """Scenes to train on and scenes held back; a single scene serves as both."""
    return [s for i, s in enumerate(scenes) if i % HELD_BACK] or scenes, scenes[::HELD_BACK]


def read_view(scene: Scene, name: str) -> DepthView:
    """One image with its depth and calibration."""
    stem = name.split(".")[0]
    image = cv2.imread(str(scene.images / f"{stem}.jpg"), cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f"{scene.images / stem}.jpg is not a readable picture")
    depth = read_h5(scene.depths / f"{stem}.h5", "depth")["depth"].astype(np.float32)
    calibration = read_h5(scene.calibrations / f"calibration_{name}.h5", "K", "R", "T")
    K = calibration["K"].astype(np.float64)
    K[:2, 2] -= 0.5  # COLMAP's pixels have their corners at integers, ours their centres
    return DepthView(
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB),
        np.where(depth > 0, depth, np.float32(np.nan)),
        K,
        rigid(calibration["R"], calibration["T"].ravel()),
    )


def read_h5(path: Path, *names: str) -> dict[str, Any]:
    """The named arrays of an h5 file."""
    try:
        import h5py
    except ImportError as error:
        raise DataError("MegaDepth needs h5py: pip install h5py") from error
    try:
        with h5py.File(path, "r") as file:
            return {name: file[name][()] for name in names}
    except (OSError, KeyError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _scene(root: Path, fields: dict[str, Any]) -> Scene:
    pairs = {pair for group in fields["tuples"] for pair in combinations(group, 2)}
    images, depths, calibrations = (
        root / fields[f"{k}_path"] for k in ("image", "depth", "calib")
    )
    return Scene(images, depths, calibrations, list(fields["images"]), sorted(pairs))
