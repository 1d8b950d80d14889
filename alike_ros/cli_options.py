"""Options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from alike_ros.config import MODES, PROVIDERS, Config, NodeConfig, load_yaml, override, parse

C = TypeVar("C", bound=Config)

SOURCES = """\
SOURCE is a folder of a public data set (TUM RGB-D, KITTI odometry, EuRoC), a folder of images,
a video file, webcam:0, a rosbag2, or a rendered scene: render:room?frames=200&motion=shake."""


def add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    command: Callable[[argparse.Namespace], int],
    summary: str,
    description: str,
    examples: str,
) -> argparse.ArgumentParser:
    """A command's parser; the summary is also the first sentence of the description."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.\n\n{description}",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=command)
    return parser


def at_least(low: int) -> Callable[[str], int]:
    """The type of options that are whole numbers from `low` on."""

    def number(text: str) -> int:
        if int(text) < low:
            raise argparse.ArgumentTypeError(f"{text} is too small, expected at least {low}")
        return int(text)

    return number


def add_source(parser: argparse.ArgumentParser, default: str = "", mode: str = "") -> None:
    """Everything that a run through the odometry is told."""
    if default:
        parser.add_argument(
            "source", nargs="?", default=default, metavar="SOURCE", help=f"default: {default}"
        )
    else:
        parser.add_argument("source", metavar="SOURCE")
    add_network(parser, mode)
    parser.add_argument("--camera", type=Path, metavar="FILE", help="intrinsics: camera.yaml")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="default: output/NAME-MODE, NAME the source's"
    )
    add_settings(parser)


def add_network(parser: argparse.ArgumentParser, mode: str = "") -> None:
    """The settings with options of their own."""
    text = f"default: {mode or 'mono'}"
    parser.add_argument("--mode", choices=MODES, default=mode or None, help=text)
    parser.add_argument("--model", metavar="PATH", help=".onnx, .pth or .safetensors")
    parser.add_argument("--provider", choices=PROVIDERS, help="what runs the network")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """All other settings."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="a ROS parameter file")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one setting, such as detector.top_k=500; `alike config` lists them",
    )


def node_config(options: argparse.Namespace) -> NodeConfig:
    """Defaults, then --config, then --set, then the options of their own."""
    config = settings(options, NodeConfig())
    chosen = {name: getattr(options, name) for name in ("mode", "model", "provider")}
    return override(config, {name: value for name, value in chosen.items() if value is not None})


def settings(options: argparse.Namespace, config: C) -> C:
    """The config with --config, then --set applied."""
    if options.config:
        config = load_yaml(config, options.config)
    return override(config, dict(parse(config, assignment) for assignment in options.set))
