"""The weighted mean of several trainings of one network: one network, better at what each is for.

    python -m training.average LAST.safetensors=0.8 FIRST.safetensors=0.2 --out MEAN.safetensors

For trainings of which one began with the weights of the other (Wortsman et al. 2022, "Robust
fine-tuning of zero-shot models"); from different beginnings, the mean is of no use. Statistics of
batch norm are not those of any mean: they are measured again (Izmailov et al. 2018).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import BatchNorm2d
from tqdm import tqdm

from alike_ros.errors import AlikeError, ConfigError, ModelError
from alike_ros.network import ALIKE, load_alike, save_weights
from training.batches import datasets
from training.config import load_run, override
from training.objective import to_float
from training.train import RUNS
from training.validation import Pairs

#: Batches of two pairs that the statistics are measured on.
BATCHES = 150


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.average",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="+", metavar="WEIGHTS=SHARE")
    parser.add_argument("--out", type=Path, required=True, help="where to write the mean")
    parser.add_argument(
        "--run", type=Path, default=RUNS / "cpu_320.yaml", help="whose pairs to use"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args(arguments)
    try:
        paths, shares = zip(*(_share(part) for part in options.parts), strict=True)
        if not 0 < sum(shares) < math.inf:
            raise ConfigError(f"the shares add up to {sum(shares):g}, expected more than 0")
        pairs, _ = datasets(override(load_run(options.run), options.set))
        network = mean([load_alike(path) for path in paths], shares)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        measure_statistics(network, pairs, BATCHES)
        save_weights(network, options.out)
    except AlikeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"written: {options.out}")
    return 0


def _share(part: str) -> tuple[str, float]:
    path, _, text = part.rpartition("=")
    try:
        return path, float(text)
    except ValueError as error:
        raise ConfigError(f"{part!r} is not of the form WEIGHTS=SHARE, as a.pth=0.5") from error


def mean(networks: Sequence[ALIKE], shares: Sequence[float]) -> ALIKE:
    """The first network with the mean weights; shares are made to add up to 1.

    Raises ModelError for networks of different variants.
    """
    states = [network.state_dict() for network in networks]
    if any(_shapes(state) != _shapes(states[0]) for state in states):
        raise ModelError("these weights are of different variants: there is no mean of them")
    weighted = list(zip([share / sum(shares) for share in shares], states, strict=True))
    averaged = {
        name: sum(share * state[name] for share, state in weighted)
        for name, values in states[0].items()
        if values.is_floating_point()  # others count batches
    }
    networks[0].load_state_dict(states[0] | averaged)
    return networks[0]


def _shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: values.shape for name, values in state.items()}


@torch.no_grad()
def measure_statistics(network: ALIKE, pairs: Pairs, batches: int) -> None:
    """Sets means and variances of batch norm to those over the first batches of two pairs."""
    norms = [module for module in network.modules() if isinstance(module, BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    network.train()
    for i in tqdm(range(batches), unit="batch"):
        both = [pairs[2 * i], pairs[2 * i + 1]]
        images = torch.stack([pair[name] for name in ("image0", "image1") for pair in both])
        network.levels(to_float(images))
    network.eval()
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum


if __name__ == "__main__":
    sys.exit(main())
