"""How well features of images under known homographies agree: Rep, MS, MMA and MHA.

As in the paper: mutual nearest neighbours without a floor, at any keypoint that the extractor
gives; figures are means over the pairs of a scene, then over scenes. One RANSAC's homography is a
matter of luck (on 15 pairs MHA varies by 5 percent points), so MHA is its mean over several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alike_ros import homography_metrics as metrics
from alike_ros.data.files import read_image
from alike_ros.data.hpatches import Scene, View
from alike_ros.errors import DataError
from alike_ros.features import Extractor, Features
from alike_ros.matching import match_mutual

Array = NDArray[Any]

THRESHOLDS = (1, 2, 3, 4, 5)  # pixels
RANSAC_DRAWS = 10


@dataclass(frozen=True)
class Figures:
    """Means over image pairs, in [0, 1], each (5,): at THRESHOLDS; keypoints per image."""

    rep: Array
    ms: Array
    mma: Array
    mha: Array
    keypoints: float

    @classmethod
    def mean(cls, figures: Sequence[Figures]) -> Figures:
        """Of pairs, or of scenes."""
        return cls(*(np.mean([getattr(f, x.name) for f in figures], 0) for x in fields(cls)))

    def percent(self) -> dict[str, Any]:
        """For JSON: lists of percent; keypoints are a number."""
        shares = {name: getattr(self, name) for name in ("rep", "ms", "mma", "mha")}
        lists = {name: np.round(100 * share, 4).tolist() for name, share in shares.items()}
        return lists | {"keypoints": round(float(self.keypoints), 2)}


@dataclass(frozen=True)
class Shot:
    """An image and what was found in it."""

    image: NDArray[np.uint8]
    features: Features

    @classmethod
    def take(cls, path: Path, extractor: Extractor) -> Shot:
        """Raises DataError, with the path."""
        image = read_image(path)
        try:
            return cls(image, extractor(image))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.image.shape[0], self.image.shape[1]


@dataclass(frozen=True)
class MatchedPair:
    """The first image of a scene, another one, and their matches (K, 2) with errors (K,)."""

    scene: str
    number: int
    first: Shot
    other: Shot
    matches: NDArray[np.int64]
    errors: Array


def evaluate(
    extractor: Extractor, scene: Scene, on_pair: Callable[[MatchedPair], None] = lambda _: None
) -> Figures:
    """The figures of a scene; on_pair is told of each of its pairs."""
    first = Shot.take(scene.first, extractor)
    figures, counts = [], [len(first.features)]
    for view in scene.views:
        other = Shot.take(view.image, extractor)
        pair = _match(scene.name, first, other, view)
        figures.append(_measure(pair, view.view_from_first))
        counts.append(len(other.features))
        on_pair(pair)
    mean = Figures.mean(figures)
    return Figures(mean.rep, mean.ms, mean.mma, mean.mha, float(np.mean(counts)))


def _match(scene: str, first: Shot, other: Shot, view: View) -> MatchedPair:
    matches = match_mutual(first.features.descriptors, other.features.descriptors, -1.0)
    expected = metrics.warp(first.features.keypoints, view.view_from_first)
    errors = metrics.matching_errors(expected, other.features.keypoints, matches)
    return MatchedPair(scene, view.number, first, other, matches, errors)


def _measure(pair: MatchedPair, other_from_first: Array) -> Figures:
    keypoints0, keypoints1 = pair.first.features.keypoints, pair.other.features.keypoints
    first_from_other = np.linalg.inv(other_from_first)
    points0_in_1 = metrics.covisible(metrics.warp(keypoints0, other_from_first), pair.other.size)
    points1_in_0 = metrics.covisible(metrics.warp(keypoints1, first_from_other), pair.first.size)
    views = keypoints0, keypoints1, points0_in_1, points1_in_0
    return Figures(
        rep=np.array([metrics.repeatability(*views, threshold=t) for t in THRESHOLDS]),
        ms=metrics.matching_score(pair.errors, points0_in_1, points1_in_0, THRESHOLDS),
        mma=metrics.matching_accuracy(pair.errors, THRESHOLDS),
        mha=metrics.homography_accuracy(_corner_errors(pair, other_from_first), THRESHOLDS),
        keypoints=(len(keypoints0) + len(keypoints1)) / 2,
    )


def _corner_errors(pair: MatchedPair, other_from_first: Array) -> Array:
    """One error for each RANSAC (RANSAC_DRAWS,): OpenCV's draws depend on the matches' order."""
    rng = np.random.default_rng(0)
    keypoints = pair.first.features.keypoints, pair.other.features.keypoints
    estimates = [
        metrics.estimate_homography(*keypoints, rng.permutation(pair.matches))
        for _ in range(RANSAC_DRAWS)
    ]
    size = pair.first.size
    return np.array([metrics.corner_error(e, other_from_first, size) for e in estimates])
