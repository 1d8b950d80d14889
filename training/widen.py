"""A larger network that computes what a trained smaller one does, to begin a training with.

    python -m training.widen models/alike-t.safetensors --variant alike-n --out START.safetensors

Channels are repeated, and what reads them shares its weights out among the copies, at random, so
that the copies learn different things (Chen, Goodfellow, Shlens 2016, "Net2Net"). Descriptors are
turned into the larger space, which keeps all similarities.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

from alike_ros.errors import AlikeError, ModelError
from alike_ros.network import ALIKE, VARIANTS, load_alike, save_weights

#: Standard deviation of a copy's share, over the equal one.
_SPREAD = 0.5


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.widen",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("weights", type=Path, help="of the smaller network")
    parser.add_argument("--variant", required=True, choices=VARIANTS)
    parser.add_argument("--out", type=Path, required=True, help="where to write the larger one")
    parser.add_argument("--seed", type=int, default=0, help="of the shares")
    options = parser.parse_args(arguments)
    try:
        generator = torch.Generator().manual_seed(options.seed)
        wide = widened(load_alike(options.weights), options.variant, generator)
    except AlikeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_weights(wide, options.out)
    print(f"written: {options.out}")
    return 0


@torch.no_grad()
def widened(narrow: ALIKE, variant: str, generator: torch.Generator) -> ALIKE:
    """A network of another variant with the scores and the similarities of `narrow`.

    Raises ModelError where any of its layers would be narrower, or where only one of the two has
    a head of two layers.
    """
    wide = ALIKE(variant)
    target = wide.state_dict()
    if target.keys() != narrow.state_dict().keys():
        raise ModelError(f"{variant} has other layers than {narrow.variant}")
    weights = {}
    for name, values in narrow.state_dict().items():
        if any(n < o for n, o in zip(target[name].shape, values.shape, strict=True)):
            raise ModelError(f"{variant} is not wider than {narrow.variant}: see {name}")
        if name == "convhead2.weight":
            turned = _basis(wide.dim, narrow.dim, generator) @ values[:-1].flatten(1)
            values = torch.cat([turned.reshape(-1, *values.shape[1:]), values[-1:]])
        elif values.dim():  # not a count of batches
            values = values[_source(len(target[name]), len(values))]
        if values.dim() == 4:
            # a head reads four levels beside each other, each of which was repeated alone
            read = values.chunk(4 if "head" in name else 1, dim=1)
            count = target[name].shape[1] // len(read)
            values = torch.cat([_shared_out(part, count, generator) for part in read], dim=1)
        weights[name] = values
    wide.load_state_dict(weights)
    return wide.eval()


def _source(count: int, old: int) -> Tensor:
    """Which of the old channels each of `count` channels repeats."""
    return torch.arange(count) % old


def _shared_out(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Weights (out, in, kh, kw) over `count` input channels, which repeat the old ones."""
    source = _source(count, weights.shape[1])
    copies = torch.bincount(source)
    noise = torch.randn(len(weights), count, generator=generator) * _SPREAD
    total = torch.zeros(len(weights), weights.shape[1]).index_add_(1, source, noise)
    share = (1 + noise - (total / copies)[:, source]) / copies[source]
    return weights[:, source] * share[:, :, None, None]


def _basis(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Orthonormal columns at random, (rows, columns)."""
    basis: Tensor = torch.linalg.qr(torch.randn(rows, columns, generator=generator)).Q
    return basis


if __name__ == "__main__":
    sys.exit(main())
