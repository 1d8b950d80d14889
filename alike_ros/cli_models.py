"""`alike models`: the weights that the authors of ALIKE released."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from tqdm import tqdm

_DESCRIPTION = """\
The weights that the authors of ALIKE released, from github.com/Shiaoming/ALIKE (BSD 3-clause).

A fetched model goes by its name: `alike run SOURCE --model alike-n`. It is exported when first
used, which needs torch, onnx and safetensors."""
_EXAMPLES = """\
examples:
  alike models list
  alike models fetch alike-n
  alike models fetch alike-t alike-l --dir models --url https://mirror.example/alike"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command, for the parser of `alike`."""
    parser = commands.add_parser(
        "models",
        help="the released weights: list them, fetch them",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="names, and which of them are fetched")
    fetching = actions.add_parser("fetch", help="download weights, once")
    fetching.add_argument("names", nargs="+", metavar="NAME", help="such as alike-n")
    fetching.add_argument(
        "--url",
        default="",
        metavar="URL",
        help="folder to download from; default: ALIKE_MODELS_URL, or the authors' repository",
    )
    listing.set_defaults(command=_list)
    fetching.set_defaults(command=_fetch)
    for action in (listing, fetching):
        action.add_argument("--dir", type=Path, help="folder of weights; default: in your cache")


def _list(options: argparse.Namespace) -> int:
    from alike_ros.model_zoo import RELEASED, released_path

    for name, digest in RELEASED.items():
        path = released_path(name, options.dir)
        print(f"{name}  sha256 {digest[:16]}...  {path if path.is_file() else 'not fetched'}")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from alike_ros.model_zoo import fetch, released_path

    for name in options.names:
        released_path(name)  # wrong names are told before anything is downloaded
    for name in options.names:
        with tqdm(desc=name, unit="B", unit_scale=True, unit_divisor=1024, leave=False) as bar:
            path = fetch(name, options.dir, options.url, _progress(bar))
        print(path)
    return 0


def _progress(bar: tqdm[NoReturn]) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        bar.total = total or None
        bar.update(done - bar.n)

    return progress
