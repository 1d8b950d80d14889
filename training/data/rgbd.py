"""Pairs from RGB-D sequences with poses, of any kind that the package reads."""

from __future__ import annotations

import cv2
import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from alike_ros.data import Sequence, open_sequence
from alike_ros.errors import DataError
from alike_ros.geometry import Array, inverse
from training.config import DataConfig
from training.data.depth import DepthView, make_pair, overlap, undistorted

#: Frames whose truth is farther away in time are left out.
MAX_TRUTH_DELTA_NS = 20_000_000
#: Frames of a pair share at least this part of what they see.
MIN_OVERLAP = 0.3
#: So many partners are tried for a frame, each time half as far away at most.
TRIES = 6


class RgbdPairs(Dataset[dict[str, Tensor]]):
    """Item i depends on (frames, config, seed, i) alone; keys as MegaDepth's.

    `sequences` are the frames of each sequence, in the order of time.
    """

    def __init__(self, sequences: list[list[DepthView]], config: DataConfig, seed: int) -> None:
        self.sequences = [frames for frames in sequences if len(frames) > 1]
        if not self.sequences:
            raise DataError("no RGB-D sequence has two frames with depth and a true pose")
        self.config = config
        self.seed = seed

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        cv2.setNumThreads(1)  # the workers are the parallelism
        rng = np.random.default_rng([self.seed, index])
        frames = self.sequences[rng.integers(len(self.sequences))]
        first = int(rng.integers(len(frames)))
        second = partner(rng, frames, first)
        return make_pair(rng, frames[first], frames[second], self.config)


def partner(rng: np.random.Generator, frames: list[DepthView], first: int) -> int:
    """Another frame that shares enough with frame `first`, rather a distant one.

    If none does, the last that was tried.
    """
    reach = len(frames)
    for _ in range(TRIES):
        low, high = max(0, first - reach), min(len(frames) - 1, first + reach)
        second = int(rng.integers(low, high))
        second += second >= first
        if overlap(frames[first], frames[second]) >= MIN_OVERLAP:
            break
        reach = max(1, reach // 2)
    return second


def read_frames(source: str) -> list[DepthView]:
    """The frames of a source (see alike_ros.data.open_sequence) that have depth and a true pose.

    Images and depth are undistorted and kept in memory: 2 MB for 640x480.
    """
    sequence = open_sequence(source, "rgbd")
    if sequence.truth is None:
        raise DataError(f"{source} has no true poses to train on")
    frames = []
    for frame in sequence:
        pose = _truth_at(sequence, frame.stamp_ns)
        if frame.depth is None or pose is None:
            continue
        image = frame.image
        if image.ndim == 2:
            image = np.repeat(image[..., None], 3, axis=2)
        camera, depth = sequence.camera, frame.depth
        if any(camera.distortion):
            image, depth = undistorted(image, depth, camera.K, np.array(camera.distortion))
        frames.append(DepthView(image, depth, camera.K, inverse(pose)))
    return frames


def split_frames(
    sequences: list[list[DepthView]],
) -> tuple[list[list[DepthView]], list[list[DepthView]]]:
    """Frames to train on and frames held back: the last tenth of each sequence."""
    cuts = [len(frames) - max(2, len(frames) // 10) for frames in sequences]
    first = [frames[:cut] for frames, cut in zip(sequences, cuts, strict=True)]
    last = [frames[cut:] for frames, cut in zip(sequences, cuts, strict=True)]
    return first, last


def _truth_at(sequence: Sequence, stamp_ns: int) -> Array | None:
    assert sequence.truth is not None
    delta = np.abs(sequence.truth.stamps_ns - stamp_ns)
    nearest = int(delta.argmin())
    if delta[nearest] > MAX_TRUTH_DELTA_NS:
        return None
    return np.asarray(sequence.truth.world_from_cam[nearest])
