"""Endurance: what a node holds on to, after minutes of frames or cycles of its life. Linux."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from lifecycle_msgs.msg import Transition
from tqdm import tqdm

from alike_ros.config import Config
from alike_ros.data import CameraFrame, Sequence
from alike_ros.errors import AlikeError
from alike_ros.nodes.bag_check import Verdict
from alike_ros.nodes.playback import (
    calibrate,
    camera_and_settings,
    paced,
    running_nodes,
    wait_for_answer,
    wait_for_nodes,
)
from alike_ros.nodes.player import Player
from alike_ros.nodes.processes import NodeProcesses
from alike_ros.recording_limits import SOAK_FIGURES, checks

#: Reasons, in /diagnostics, for which an image brings no status.
_LEFT_OUT = ("overtaken", "unpaired", "late", "duplicate", "throttled", "paused")
_LIFE = (
    Transition.TRANSITION_DEACTIVATE,
    Transition.TRANSITION_CLEANUP,
    Transition.TRANSITION_CONFIGURE,
    Transition.TRANSITION_ACTIVATE,
)
#: Cycles until the process has all that it needs.
_WARM_CYCLES = 10
_FRAMES_PER_CYCLE = 3
#: What is compared: what is held throughout the first tenth, and throughout the last.
_SHARE = 0.1
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Vitals:
    """What a process holds."""

    memory_kib: int  # resident, its own: the shared memory of DDS fills once, and is no leak
    threads: int
    files: int  # open descriptors

    @classmethod
    def of(cls, pid: int) -> Vitals:
        """Of a process that runs."""
        proc = Path("/proc") / str(pid)
        status = _status(pid)
        files = len(list((proc / "fd").iterdir()))
        return cls(int(status["RssAnon"][0]), int(status["Threads"][0]), files)

    @classmethod
    def of_family(cls, pid: int) -> Vitals:
        """With its children."""
        total = cls.of(pid)
        for child in children(pid):
            with suppress(OSError):  # it has just ended
                total = total + cls.of(child)
        return total

    def __add__(self, other: Vitals) -> Vitals:
        return Vitals(
            self.memory_kib + other.memory_kib,
            self.threads + other.threads,
            self.files + other.files,
        )

    @classmethod
    def held(cls, samples: list[Vitals]) -> Vitals:
        """What is there in all of them: arrays of the frame in work come and go."""
        rows = zip(*((item.memory_kib, item.threads, item.files) for item in samples), strict=True)
        return cls(*map(min, rows))


@dataclass(frozen=True)
class Endurance(Verdict):
    """The checks, what the process held first and last, and what became of the images."""

    first: Vitals
    last: Vitals
    counts: dict[str, int]


def children(pid: int) -> list[int]:
    """Of a process."""
    found = []
    for other in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()):
        with suppress(OSError):
            if _status(other)["PPid"] == [str(pid)]:
                found.append(other)
    return found


def _status(pid: int) -> dict[str, list[str]]:
    lines = (Path("/proc") / str(pid) / "status").read_text().splitlines()
    return {name: value.split() for name, value in (line.split(":", 1) for line in lines)}


def soak(
    sequence: Sequence,
    config: Config,
    limits: Mapping[str, float],
    seconds: float,
    rate_hz: float,
    num_frames: int,
    progress: bool = True,
) -> Endurance:
    """Plays the first frames of a sequence into `vo_node`, to and fro, in real time.

    Before the time begins, they are played in a burst, which fills the queues, and then for a
    tenth of the time. Raises AlikeError when the node ends.
    """
    there = list(islice(sequence, num_frames))
    frames = [*there, *there[-2:0:-1]]  # the motion goes on where it turns round
    with running_nodes(*camera_and_settings(sequence, config)) as (nodes, player):
        vitals = []
        calibrate(player, time.time_ns())
        for frame in frames:
            stamp_ns = _publish(player, frame)
        wait_for_answer(player, nodes, stamp_ns, _TIMEOUT_S)
        warm = _SHARE * seconds
        with tqdm(total=round(warm + seconds), unit="s", disable=not progress) as bar:
            start, start_ns = time.monotonic(), time.time_ns()
            for frame in paced(cycle(frames), rate_hz):
                stamp_ns = _publish(player, frame)
                now = time.monotonic() - start
                if now >= bar.n + 1:
                    nodes.check()
                    bar.update()
                    if now >= warm:
                        vitals.append(Vitals.of_family(nodes.pids[0]))
                if now >= warm + seconds:
                    break
        vitals.append(Vitals.of_family(nodes.pids[0]))
        wait_for_answer(player, nodes, stamp_ns, _TIMEOUT_S)
        player.wait(lambda: not _unaccounted(_counts(player)), 5.0)  # reports come every second
        return _endurance(nodes, player, vitals, limits, _times(player, rate_hz, start_ns))


def live(
    sequence: Sequence,
    config: Config,
    limits: Mapping[str, float],
    cycles: int,
    progress: bool = True,
) -> Endurance:
    """Deactivates, cleans up, configures and activates `vo_node`; each time it tracks frames."""
    frames = list(islice(sequence, _FRAMES_PER_CYCLE))
    with running_nodes(*camera_and_settings(sequence, config)) as (nodes, player):
        vitals = []
        for _ in tqdm(range(_WARM_CYCLES + cycles), unit="cycle", disable=not progress):
            for transition in _LIFE:
                if not player.change_state("vo", transition):
                    raise AlikeError(f"transition {transition} failed:\n{nodes.log()}")
            player.diagnostics.clear()
            wait_for_nodes(player, nodes, 1)
            calibrate(player, time.time_ns())
            for frame in frames:
                wait_for_answer(player, nodes, _publish(player, frame), _TIMEOUT_S)
            vitals.append(Vitals.of_family(nodes.pids[0]))
        return _endurance(nodes, player, vitals[_WARM_CYCLES:], limits, {})


def _publish(player: Player, frame: CameraFrame) -> int:
    """A frame of now; returns its stamp."""
    stamp_ns = time.time_ns()
    player.publish(replace(frame, stamp_ns=stamp_ns))
    return stamp_ns


def _counts(player: Player) -> dict[str, int]:
    """What became of the images, as the player saw it and as the node says."""
    statuses = [values["status"] for values, _ in player.statuses.values()]
    values = next(iter(player.diagnostics.values()))
    said = ("received", "processed", "unusable", *_LEFT_OUT)
    return {
        "published": len(player.published),
        "answered": len(statuses) - statuses.count("unusable"),
        "with_pose": statuses.count("tracking") + statuses.count("degraded"),
        "odom": len(player.odometry),
        **{name: int(values.get(name, 0)) for name in said},
    }


def _unaccounted(counts: Mapping[str, int]) -> int:
    """Images of which nobody knows; those that got lost in transport never came to the node."""
    left_out = sum(counts[name] for name in _LEFT_OUT)
    return (
        abs(counts["received"] - counts["processed"] - counts["unusable"] - left_out)
        + abs(counts["processed"] - counts["answered"])
        + abs(counts["with_pose"] - counts["odom"])
    )


def _times(player: Player, rate_hz: float, since_ns: int) -> dict[str, float | None]:
    """Of the frames since then whose odometry came back."""
    overhead, wait = [], []
    played = [stamp_ns for stamp_ns in player.published if stamp_ns >= since_ns]
    for stamp_ns in filter(player.odometry.__contains__, played):
        arrived = player.odometry[stamp_ns][1]
        values, _ = player.statuses[stamp_ns]
        latency_ms = (arrived - player.published[stamp_ns]) * 1e3
        overhead.append(latency_ms - float(values["extract_ms"]) - float(values["track_ms"]))
        wait.append(float(values["wait_ms"]))
    if not overhead:
        return {"unaccounted": _unaccounted(_counts(player)), "rate": 0.0}
    return {
        "unaccounted": _unaccounted(_counts(player)),
        "overhead": float(np.median(overhead)),
        "wait": float(np.median(wait)),
        "rate": rate_hz * len(overhead) / len(played),
    }


def _endurance(
    nodes: NodeProcesses,
    player: Player,
    vitals: list[Vitals],
    limits: Mapping[str, float],
    values: Mapping[str, float | None],
) -> Endurance:
    """Ends the nodes."""
    counts = _counts(player)
    exit_codes = nodes.stop()
    if any(exit_codes):
        raise AlikeError(f"the node ended with the codes {exit_codes}, expected 0")
    tenth = max(round(_SHARE * len(vitals)), 1)
    first, last = Vitals.held(vitals[:tenth]), Vitals.held(vitals[-tenth:])
    held = {
        "memory": 100 * (last.memory_kib / first.memory_kib - 1),
        "threads": last.threads - first.threads,
        "files": last.files - first.files,
        "errors": nodes.count_errors(),
    }
    unusable = {
        stamp_ns: said["message"]
        for stamp_ns, (said, _) in player.statuses.items()
        if said["status"] == "unusable"
    }
    return Endurance(
        checks({**held, **values}, limits, SOAK_FIGURES),
        len(player.published),
        unusable,
        first,
        last,
        counts,
    )
