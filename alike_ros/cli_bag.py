"""`alike bag`: rosbag2 recordings, made from any source."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice, takewhile
from pathlib import Path
from threading import Event

from alike_ros.cli_options import SOURCES, add_command
from alike_ros.config import MODES


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command, for the parser of `alike`."""
    parser = commands.add_parser("bag", help="rosbag2 recordings: make one")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    _add_make(actions)


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
