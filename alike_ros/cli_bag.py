"""`alike bag`: rosbag2 recordings, made from any source and held to limits."""

from __future__ import annotations

import argparse
import json
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice, takewhile
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from alike_ros.cli_options import (
    SOURCES,
    add_command,
    add_network,
    add_settings,
    at_least,
    node_config,
)
from alike_ros.config import MODES
from alike_ros.errors import AlikeError
from alike_ros.recording_limits import FIGURES, SOAK_FIGURES, SOAK_LIMITS, Figure
from alike_ros.whole_file import write_whole

if TYPE_CHECKING:
    from alike_ros.nodes.bag_check import Verdict
    from alike_ros.nodes.soak import Endurance

#: What playing into nodes leaves out of a robot's recording and settings.
_PLAYED = """\
Images, depth and camera_info are played, as raw images; `mask`, `imu` and /tf are not. So of a
robot's --config the transports, the frames, rectified_images, max_update_rate and
publish_null_when_lost do not count."""
_METAVARS = {"": "N", "m": "METRES", "deg": "DEGREES", "%": "PERCENT", "ms": "MS", "Hz": "HZ"}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command, for the parser of `alike`."""
    parser = commands.add_parser("bag", help="rosbag2 recordings: make one, hold one to limits")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    _add_make(actions)
    _add_check(actions)
    _add_soak(actions)


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
    parser.add_argument("--frames", type=at_least(1), metavar="N", help="stop after N frames")
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
        "--max-latency, --min-rate and --max-live-ate add one as fast as images were recorded.\n\n"
        "BAG is a folder, a file or any other SOURCE of `alike run`; 'bag?image=/topic' chooses\n"
        "topics. The truth is the recording's, or a file in TUM's format: poses of the camera.\n\n"
        + _PLAYED,
        """\
  alike bag check room_bag --mode rgbd --max-ate 0.05 --max-jump 0.02 --max-gaps 0
  alike bag check drive.mcap --mode stereo --truth drive.tum --max-ate 0.5 --config vo.yaml
  alike bag check room_bag --mode rgbd --max-live-ate 0.05 --max-latency 100 --min-rate 25""",
    )
    parser.add_argument("bag", metavar="BAG")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="default: the recording's own")
    _add_limits(parser, FIGURES, {})
    parser.add_argument(
        "--split", action="store_true", help="features and tracking in two processes"
    )
    _add_rest(parser)


def _check(options: argparse.Namespace) -> int:
    with _needs_ros("bag check"):
        from alike_ros.nodes.bag_check import check_recording
    from alike_ros.data import open_sequence
    from alike_ros.trajectory import Trajectory

    config = node_config(options)
    sequence = open_sequence(options.bag, config.mode, options.camera)
    truth = Trajectory.read_tum(options.truth) if options.truth else sequence.truth
    limits = _limits(options, FIGURES)
    verdict = check_recording(sequence, config, truth, limits, options.split)
    print(_table(verdict))
    if options.json:
        write_whole(options.json, _json(verdict) + "\n")
    return 0 if verdict.holds else 1


def _add_rest(parser: argparse.ArgumentParser) -> None:
    """What every command that plays into nodes has."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures, for programs")
    parser.add_argument("--camera", type=Path, metavar="FILE", help="intrinsics: camera.yaml")
    add_network(parser)
    add_settings(parser)


@contextmanager
def _needs_ros(command: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise AlikeError(
            f"{command} needs ROS 2 ({error.name} is missing): source "
            "/opt/ros/DISTRO/setup.bash, or run `make demo`, which installs it"
        ) from error


def _add_limits(
    parser: argparse.ArgumentParser, figures: Sequence[Figure], defaults: Mapping[str, float]
) -> None:
    for figure in figures:
        default = defaults.get(figure.name)
        text = figure.doc if default is None else f"{figure.doc}; default: {default:g}"
        metavar = _METAVARS[figure.unit]
        parser.add_argument(figure.option, type=float, metavar=metavar, help=text, default=default)


def _limits(options: argparse.Namespace, figures: Sequence[Figure]) -> dict[str, float]:
    """Those that are set, by the figures' names."""
    given = vars(options)
    limits = {f.name: given[f.option[2:].replace("-", "_")] for f in figures}
    return {name: limit for name, limit in limits.items() if limit is not None}


def _add_soak(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(
        actions,
        "soak",
        _soak,
        "what a node holds on to in the long run, held to limits",
        "Plays the first frames of a recording into vo_node, to and fro, for as many minutes as\n"
        "wanted, and compares the memory, threads and file descriptors of the first and of the\n"
        "last tenth of the time. With --cycles it deactivates, cleans up, configures and\n"
        "activates the node instead, again and again. Exit code 0: every limit is kept. Needs\n"
        "rclpy and Linux.\n\n"
        "BAG is a folder, a file or any other SOURCE of `alike run`.\n\n" + _PLAYED,
        """\
  alike bag soak render:room --mode rgbd --minutes 10
  alike bag soak drive.mcap --mode stereo --minutes 60 --rate 15 --max-overhead 5
  alike bag soak render:room --mode rgbd --cycles 100""",
    )
    parser.add_argument("bag", metavar="BAG")
    duration = parser.add_mutually_exclusive_group(required=True)
    duration.add_argument("--minutes", type=float, metavar="N", help="of frames")
    duration.add_argument("--cycles", type=int, metavar="N", help="of the node's life")
    parser.add_argument("--rate", type=float, default=30.0, metavar="HZ", help="default: 30")
    parser.add_argument(
        "--frames", type=int, default=100, metavar="N", help="that are played; default: 100"
    )
    _add_limits(parser, SOAK_FIGURES, SOAK_LIMITS)
    _add_rest(parser)


def _soak(options: argparse.Namespace) -> int:
    with _needs_ros("bag soak"):
        from alike_ros.nodes.soak import live, soak
    from alike_ros.data import open_sequence

    config = node_config(options)
    sequence = open_sequence(options.bag, config.mode, options.camera)
    limits = _limits(options, SOAK_FIGURES)
    if options.cycles:
        # no times are measured, and counts begin again with each cycle
        kept = ("memory", "threads", "files", "errors")
        limits = {name: limits[name] for name in kept if name in limits}
        found = live(sequence, config, limits, options.cycles)
    else:
        seconds = 60 * options.minutes
        found = soak(sequence, config, limits, seconds, options.rate, options.frames)
    print(_soak_table(found))
    if options.json:
        write_whole(options.json, _soak_json(found) + "\n")
    return 0 if found.holds else 1


def _soak_json(found: Endurance) -> str:
    held = {"first": asdict(found.first), "last": asdict(found.last)}
    return json.dumps(json.loads(_json(found)) | held | {"counts": found.counts}, indent=2)


def _soak_table(found: Endurance) -> str:
    held = [
        f"{name}: {item.memory_kib / 1024:.1f} MiB, {item.threads} threads, {item.files} files"
        for name, item in (("first", found.first), ("last", found.last))
    ]
    counts = ", ".join(f"{name} {count}" for name, count in found.counts.items() if count)
    return "\n".join([_table(found), *held, f"images: {counts}"])


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
