"""Which pairs a run trains on, dealt out to its processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch.utils.data import DataLoader, Sampler

from alike_ros.errors import ConfigError
from training.config import DataConfig, RunConfig
from training.data.homography import HomographyPairs, list_photos, split_photos
from training.data.megadepth import MegaDepthPairs, read_scenes, split_scenes
from training.data.mixed import MixedPairs
from training.data.rgbd import RgbdPairs, read_frames, split_frames
from training.data.scenes import ScenePairs
from training.validation import Pairs


def datasets(config: RunConfig) -> tuple[Pairs, Pairs]:
    """Pairs to train on, and pairs of other photos, scenes or sequences to validate with."""
    data, seed, root = config.data, config.seed, Path(config.data.root)
    size = config.validation
    held = replace(data, height=size.height, width=size.width)
    if data.kind == "homography":
        photos, held_photos = split_photos(list_photos(root))
        batch_size = config.optimizer.batch_size
        return photo_pairs(photos, data, batch_size, seed), photo_pairs(
            held_photos, held, 1, seed + 1
        )
    if data.kind == "megadepth":
        scenes, held_scenes = split_scenes(read_scenes(root))
        return MegaDepthPairs(scenes, data, seed), MegaDepthPairs(held_scenes, held, seed + 1)
    if data.kind == "rgbd":
        frames, held_frames = split_frames([read_frames(s) for s in data.root.split()])
        return RgbdPairs(frames, data, seed), RgbdPairs(held_frames, held, seed + 1)
    raise ConfigError(f"unknown data.kind {data.kind!r}: homography, megadepth or rgbd")


def photo_pairs(photos: list[Path], data: DataConfig, batch_size: int, seed: int) -> Pairs:
    """Views of photos that homographies relate, and of scenes made of them."""
    views: Pairs = HomographyPairs(photos, data, seed)
    if not data.scenes.share:
        return views
    if data.pairs > batch_size and data.pairs % batch_size:
        raise ConfigError(
            f"data.pairs is {data.pairs}: where scenes have a share, expected whole batches, "
            f"a multiple of {batch_size}, as a batch is of one kind"
        )
    return MixedPairs(views, ScenePairs(photos, data, seed), data.scenes.share, batch_size, seed)


class Deal(Sampler[int]):
    """Without end, the indices of the pairs of one process's microbatches.

    Microbatches are dealt out in turn: n processes see together what one process sees with n
    times the accumulation. `pairs` distinct pairs come again and again, 0 stands for no end.
    """

    def __init__(self, first: int, turn: int, batch_size: int, pairs: int) -> None:
        self.first = first  # microbatch of this process
        self.turn = turn  # processes
        self.batch_size = batch_size
        self.pairs = pairs

    def __iter__(self) -> Iterator[int]:
        microbatch = self.first
        while True:
            start = microbatch * self.batch_size
            for index in range(start, start + self.batch_size):
                yield index % self.pairs if self.pairs else index
            microbatch += self.turn


def load_batches(fabric: Fabric, pairs: Pairs, config: RunConfig, step: int) -> Iterator[Any]:
    """Batches from a given step on, loaded in the background and moved to the device."""
    optim = config.optimizer
    first = step * optim.accumulation * fabric.world_size + fabric.global_rank
    workers = config.data.workers
    loader: DataLoader[Any] = DataLoader(
        pairs,
        optim.batch_size,
        sampler=Deal(first, fabric.world_size, optim.batch_size, config.data.pairs),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_leave_interrupts_to_the_run,
        # a fork would inherit the locks of OpenCV's threads
        multiprocessing_context="spawn" if workers else None,
        pin_memory=fabric.device.type == "cuda",
    )
    return iter(fabric.setup_dataloaders(loader, use_distributed_sampler=False))


def _leave_interrupts_to_the_run(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
