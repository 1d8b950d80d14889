"""`alike bag`: rosbag2 recordings, made from any source and held to limits."""

from __future__ import annotations

import argparse
import json
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice, takewhile
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from alike_ros.cli_options import SOURCES, add_command, add_network, add_settings, node_config
from alike_ros.config import MODES
from alike_ros.errors import AlikeError
from alike_ros.recording_limits import FIGURES

if TYPE_CHECKING:
    from alike_ros.nodes.bag_check import Verdict

_METAVARS = {"m": "METRES", "deg": "DEGREES", "%": "PERCENT", "ms": "MS", "Hz": "HZ"}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command, for the parser of `alike`."""
    parser = commands.add_parser("bag", help="rosbag2 recordings: make one, hold one to limits")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    _add_make(actions)
    _add_check(actions)


def _add_make(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(
        actions,
        "make",
        _make,
        "a rosbag2 of any source",
        "Writes images, camera_info, depth and the truth (/ground_truth) under the topics that\n"
        "the nodes subscribe to. Needs no ROS. Ctrl-C ends the recording, which is kept.\n\n"
        + SOURCES,
        """\
  alike bag make render:room room_bag --mode rgbd
  alike bag make ~/data/rgbd_dataset_freiburg1_xyz xyz_bag --mode rgbd --frames 300
  alike bag make webcam:0 desk --camera camera.yaml --storage sqlite3""",
    )
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("bag", type=Path, metavar="BAG", help="folder to write, a new one")
    parser.add_argument("--mode", choices=MODES, default="mono", help="default: mono")
    parser.add_argument("--camera", type=Path, metavar="FILE", help="intrinsics: camera.yaml")
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N frames")
    parser.add_argument(
        "--storage", choices=("mcap", "sqlite3"), default="mcap", help="default: mcap"
    )


def _make(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from alike_ros.data import open_sequence
    from alike_ros.data.bag_writer import write_bag

    sequence = open_sequence(options.source, options.mode, options.camera)
    total = min(filter(None, (len(sequence), options.frames)), default=None)
    with _ctrl_c() as pressed:
        frames = takewhile(lambda _: not pressed.is_set(), islice(sequence, options.frames))
        with tqdm(frames, total=total, unit="frame") as bar:
            write_bag(options.bag, sequence, bar, options.mode, options.storage)
    truth = "no truth" if sequence.truth is None else "with truth"
    print(f"{options.bag}: {bar.n} frames of {sequence.name}, mode {options.mode}, {truth}")
    for reason, count in sequence.skipped.items():
        print(f"skipped: {count} x {reason}")
    return 130 if pressed.is_set() else 0


@contextmanager
def _ctrl_c() -> Iterator[Event]:
    """Set by Ctrl-C, which then does not end the program; the second Ctrl-C does."""
    pressed = Event()
    before = signal.getsignal(signal.SIGINT)

    def press(*_: object) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _add_check(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(
        actions,
        "check",
        _check,
        "a rosbag2 through the real nodes, held to limits",
        "Plays the recording into the nodes, which run in processes of their own, and holds what\n"
        "comes back to limits: the regression test of a robot. Exit code 0: every limit is kept,\n"
        "1: one is not. Needs rclpy.\n\n"
        "In the first run each frame waits for the answer to the one before, so that its figures\n"
        "do not depend on the speed of the machine. --max-difference adds a second such run,\n"
        "--max-latency and --min-rate add one as fast as the images were recorded.\n\n"
        "BAG is a folder, a file or any other SOURCE of `alike run`; 'bag?image=/topic' chooses\n"
        "topics. The truth is the recording's, or a file in TUM's format: poses of the camera.",
        """\
  alike bag check room_bag --mode rgbd --max-ate 0.05 --max-jump 0.02 --max-gaps 0
  alike bag check drive.mcap --mode stereo --truth drive.tum --max-ate 0.5 --config vo.yaml
  alike bag check room_bag --mode rgbd --max-difference 0 --max-latency 100 --min-rate 25""",
    )
    parser.add_argument("bag", metavar="BAG")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="default: the recording's own")
    for figure in FIGURES:
        parser.add_argument(
            figure.option, type=float, metavar=_METAVARS[figure.unit], help=figure.doc
        )
    parser.add_argument(
        "--split", action="store_true", help="features and tracking in two processes"
    )
    parser.add_argument("--json", action="store_true", help="the figures, for programs")
    parser.add_argument("--camera", type=Path, metavar="FILE", help="intrinsics: camera.yaml")
    add_network(parser)
    add_settings(parser)


def _check(options: argparse.Namespace) -> int:
    try:
        from alike_ros.nodes.bag_check import check_recording
    except ModuleNotFoundError as error:
        raise AlikeError(
            f"bag check needs ROS 2 ({error.name} is missing): source "
            "/opt/ros/DISTRO/setup.bash, or run `make demo`, which installs it"
        ) from error
    from alike_ros.data import open_sequence
    from alike_ros.trajectory import Trajectory

    config = node_config(options)
    sequence = open_sequence(options.bag, config.mode, options.camera)
    truth = Trajectory.read_tum(options.truth) if options.truth else sequence.truth
    options_of = vars(options)
    limits = {f.name: options_of[f.option[2:].replace("-", "_")] for f in FIGURES}
    limits = {name: limit for name, limit in limits.items() if limit is not None}
    try:
        verdict = check_recording(sequence, config, truth, limits, options.split)
    except KeyboardInterrupt:
        return 130
    print(_json(verdict) if options.json else _table(verdict))
    return 0 if verdict.holds else 1


def _json(verdict: Verdict) -> str:
    rows = [
        {
            "name": check.figure.name,
            "unit": check.figure.unit,
            "value": check.value,
            "limit": check.limit,
            "holds": check.holds,
        }
        for check in verdict.checks
    ]
    result = {"holds": verdict.holds, "frames": verdict.num_frames}
    refused = {"unusable": dict(Counter(verdict.unusable.values()))}
    return json.dumps(result | refused | {"checks": rows}, indent=2)


def _table(verdict: Verdict) -> str:
    lines = [f"{'':14}{'measured':>14}{'limit':>12}"]
    for check in verdict.checks:
        figure = check.figure
        value = "unknown" if check.value is None else f"{check.value:.4g} {figure.unit}"
        sign, word = (">=" if figure.is_floor else "<="), ("ok" if check.holds else "BROKEN")
        limit = "" if check.limit is None else f"{sign} {check.limit:g}"
        if check.value is not None or check.limit is not None:
            end = f"  {word if limit else '':6}  {figure.doc}"
            lines.append(f"{figure.name:14}{value:>14}{limit:>12}{end}")
    lines.append(f"{verdict.num_frames} frames")
    for reason, count in Counter(verdict.unusable.values()).items():
        lines.append(f"unusable: {count} x {reason}")
    return "\n".join(lines)
