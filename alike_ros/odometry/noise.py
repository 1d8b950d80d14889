"""How precise measurements are, and what residuals say about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alike_ros.geometry import Array

#: Logarithm of how much noisier the keypoint of the lowest score is than that of the highest. In a
#: rendered corridor and a yard, residuals gave 0.5 and 0.75.
_SCORE = 0.5
#: The noise of a match grows with this power of the distance of its descriptors; they gave 0.6 and
#: 0.4.
_DISTANCE = 0.5
#: Descriptors are not taken to be nearer than this.
_LEAST = 0.05
#: Residuals in the same cell of this size, at z = 1, may have an error in common: 150 pixels of a
#: usual camera.
_CELL = 0.3
#: Residuals beyond this many standard deviations weigh less (Huber 1964).
HUBER = 1.345
#: Residuals of this many standard deviations weigh half (Cauchy's loss: Holland and Welsch 1977).
#: Keypoints have long tails: of those within 3 pixels in a rendered yard, a fifth was off by more
#: than one, and least squares gave a pose 6 mm off, 0.7 mm without them.
CAUCHY = 2.385
#: The median of |N(0, 1)|.
MEDIAN = 0.6745
#: The noise of a window's measurements is not taken to be less than this share of what settings
#: say: what is common to all that a camera sees, by its calibration, does not show in residuals.
_LEAST_SHARE = 0.4
#: Depths may be noisier than settings say, up to this many times: of a camera that takes them a
#: moment before or after the image, and turns, they were up to four times as noisy.
_MOST_TIMES = 10.0
#: Residuals beyond this many standard deviations are outliers, whose weight is small.
_BELIEVED = 5.0
#: Cells of the grid on either side of the axis: up to 75 degrees off it.
_HALF = 13


@dataclass(frozen=True)
class Noise:
    """Standard deviations of the measurements.

    keypoint: of a bearing, at z = 1; inverse_depth: of 1 / depth, 1/m, the same at any depth.
    """

    keypoint: float
    inverse_depth: float

    def scaled(self, factor: float) -> Noise:
        """The same where lengths are multiplied by a factor."""
        return Noise(self.keypoint, self.inverse_depth / factor)

    def with_keypoints(self, residuals: Array) -> Noise:
        """As residuals of bearings (N, 2) say: between a share of this noise and all of it.

        All where there are none.
        """
        keypoint = _seen(residuals.ravel(), self.keypoint, 1.0)
        return Noise(keypoint, self.inverse_depth)

    def with_depths(self, residuals: Array) -> Noise:
        """As those of 1 / depth (N,), NaN where unknown, say, of a view that is new to the map.

        Landmarks lie where the depths of the others have put them, most of all those of the
        first. The same where there are none.
        """
        known = residuals[np.isfinite(residuals)]
        return Noise(self.keypoint, _seen(known, self.inverse_depth, _MOST_TIMES))


def _seen(residuals: Array, expected: float, most: float) -> float:
    """Standard deviation; most: how many times larger than expected it may be."""
    if not len(residuals):
        return expected
    seen = median(np.abs(residuals)) / MEDIAN
    return float(np.clip(seen, _LEAST_SHARE * expected, most * expected))


def median(values: Array) -> float:
    """The upper one of (N,), N > 0: of a thousand, in a sixth of the time that NumPy's takes."""
    middle = len(values) // 2
    return float(np.partition(values, middle)[middle])


def score_noise(scores: NDArray[np.float32]) -> Array:
    """Noise (N,) of an image's keypoints of these scores (N,) over that of the median one.

    It goes by rank, which means the same to any extractor.
    """
    by_rank = np.exp(_SCORE * np.linspace(-0.5, 0.5, len(scores)))
    if (scores[1:] <= scores[:-1]).all():  # best first
        return np.asarray(by_rank)
    noise = np.empty(len(scores))
    noise[np.argsort(-scores, kind="stable")] = by_rank
    return noise


def match_noise(similarity: NDArray[np.float32]) -> Array:
    """Noise (N,) of matches by the similarity (N,) of their descriptors, up to a common factor.

    What looks different has often moved, too.
    """
    distance = np.sqrt(np.maximum(2 - 2 * similarity.astype(np.float64), _LEAST**2))
    return np.asarray(distance**_DISTANCE)


def excess(residuals: Array, bearings: Array, camera: NDArray[np.int64] | None = None) -> float:
    """How many times larger the variance of poses is than that of independent residuals of 1.

    Errors of a real camera are not independent: calibration, rolling shutter and depth bend parts
    of the image alike. Each column of the residuals (N, C), in standard deviations, NaN where
    there is none, is added up in the cells of a grid over the bearings (N, 2) of each camera (N,):
    the sums' mean square grows with noise that is larger than assumed and, as in cluster sampling,
    with what neighbours have in common (Kish 1965). The worst column counts; at least 1.
    """
    column, row = np.clip(np.floor(bearings / _CELL), -_HALF, _HALF - 1).astype(np.int64).T + _HALF
    cell = column * 2 * _HALF + row
    if camera is not None:
        cell += camera * (2 * _HALF) ** 2
    return max(1.0, *(_clustered(values, cell) for values in residuals.T))


def _clustered(residuals: Array, cell: NDArray[np.int64]) -> float:
    believed = np.abs(residuals) < _BELIEVED  # NaN is not
    if not believed.any():
        return 0.0
    sums = np.bincount(cell[believed], residuals[believed])
    return float((sums**2).sum() / believed.sum())
