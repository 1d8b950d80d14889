"""What `models/README.md` tells of a model, measured on photos that training holds back.

    python -m training.card models/alike-t.safetensors --photos photos
    python -m training.card OURS.safetensors THEIRS.pth --photos photos --json card.json

MMA and MHA in percent at 1 to 3 pixels, of 96 pairs of views of 640x480 with little zoom and blur
and of 96 with much; where keypoints lie (`training/placement.py`), in pixels; and how many have
scores above 0.2. Takes some minutes for each model.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from alike_ros.errors import AlikeError
from alike_ros.network import ALIKE, load_alike
from alike_ros.tables import text_table
from training.batches import datasets
from training.config import load_run, override
from training.data.homography import list_photos, pyramid, split_photos
from training.objective import to_float
from training.placement import HEIGHT, SHIFT, WIDTH, placement
from training.train import RUNS
from training.validation import validate

#: Pairs that homographies relate, all of the same kind.
VIEWS = ("data.views={repeated: 0, shifted: 0}", "data.scenes.share=0")
ZOOMS = {
    "little": ("data.views.log_zoom=0.3", "data.photometry.blur_share=0.6"),
    "much": ("data.views.log_zoom=1.0", "data.photometry.blur_share=0.4"),
}
#: Figures and their formats: percents, pixels, a number.
METRICS = dict.fromkeys(("mma@1", "mma@2", "mma@3", "mha@3"), ".1f")
PLACES = {"right": ".3f", "below": ".3f", "outwards": ".3f", "strong": ".0f"}
FIGURES = {f"{zoom} {name}": METRICS[name] for zoom in ZOOMS for name in METRICS} | PLACES


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.card",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("models", nargs="+", type=Path, metavar="WEIGHTS", help="of alike-t, ...")
    parser.add_argument("--photos", default="photos", help="folder, see training.photos")
    parser.add_argument("--pairs", type=int, default=96, help="of each kind")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the same figures")
    options = parser.parse_args(arguments)
    try:
        progress = tqdm(options.models, unit="model")
        cards = [measure(path, options.photos, options.pairs) for path in progress]
    except AlikeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(cards))
    if options.json:
        options.json.write_text(json.dumps(cards, indent=2) + "\n")
    return 0


def measure(weights: Path, photos: str, pairs: int) -> dict[str, str | float]:
    """One row: the model, metrics with each kind of zoom, and where keypoints lie."""
    network = load_alike(weights)
    row: dict[str, str | float] = {"model": str(weights)}
    changes = (*VIEWS, f"data.root={photos}", f"validation.pairs={pairs}")
    for name, zoom in ZOOMS.items():
        config = override(load_run(RUNS / "cpu_320.yaml"), [*changes, *zoom])
        results = validate(network, datasets(config)[1], config)
        row |= {f"{name} {metric}": results[metric] for metric in METRICS}
    return row | places(network, photos)


def places(network: ALIKE, photos: str) -> dict[str, float]:
    """Where keypoints lie, on the photos that are large enough."""
    _, held_back = split_photos(list_photos(Path(photos)))
    pictures = [torch.from_numpy(pyramid(str(path))[0]).permute(2, 0, 1) for path in held_back]
    large = [p for p in pictures if p.shape[1] >= HEIGHT + SHIFT and p.shape[2] >= WIDTH + SHIFT]

    def detect(picture: Tensor) -> tuple[Tensor, Tensor]:
        keypoints, scores, _ = network.extract(to_float(picture[None])[0], 0, 0.0)
        return keypoints, scores

    return asdict(placement(large, detect))


def table(cards: list[dict[str, str | float]]) -> str:
    """A row for each model."""
    figures = [[format(card[name], style) for name, style in FIGURES.items()] for card in cards]
    rows = [[str(card["model"]), *row] for card, row in zip(cards, figures, strict=True)]
    return text_table([["", *FIGURES], *rows], left=1)


if __name__ == "__main__":
    sys.exit(main())
