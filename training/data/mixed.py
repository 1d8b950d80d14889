"""Several kinds of pairs in one run."""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

Pairs = Dataset[dict[str, Tensor]]


class MixedPairs(Pairs):
    """Of `batch_size` items in a row all come from `rare` (a share of the batches) or `common`.

    Pairs with depth and pairs without do not fit into one batch. Item i depends on (seed, i) and
    on item i of that kind alone.
    """

    def __init__(
        self, common: Pairs, rare: Pairs, share: float, batch_size: int, seed: int
    ) -> None:
        self.common = common
        self.rare = rare
        self.share = share
        self.batch_size = batch_size
        self.seed = seed

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        batch = index // self.batch_size
        chosen = np.random.default_rng([self.seed, batch, 2]).random() < self.share
        return self.rare[index] if chosen else self.common[index]
