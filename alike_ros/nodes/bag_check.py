"""Plays a recording through the real nodes and measures what limits can be set to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from alike_ros.config import Config
from alike_ros.data import Sequence
from alike_ros.errors import AlikeError
from alike_ros.nodes.playback import NodeRun, run_through_nodes
from alike_ros.recording_limits import (
    FIGURES,
    Check,
    accuracy_figures,
    checks,
    difference_m,
    gaps_percent,
)
from alike_ros.trajectory import Trajectory


@dataclass(frozen=True)
class Verdict:
    """The checks of a recording, and the frames that nodes refused, by reason."""

    checks: list[Check]
    num_frames: int
    unusable: dict[int, str]  # by stamp

    @property
    def holds(self) -> bool:
        """Whether every limit is kept."""
        return all(check.holds for check in self.checks)


def check_recording(
    sequence: Sequence,
    config: Config,
    truth: Trajectory | None,
    limits: Mapping[str, float],
    split: bool = False,
    progress: bool = True,
) -> Verdict:
    """Plays a sequence once, and again where a limit asks for it: to compare, and in real time.

    limits: names of FIGURES -> limit. Raises AlikeError when a limit needs a truth and there is
    none, and when a node does not end as it should; KeyboardInterrupt when Ctrl-C ended a run.
    """
    lacking = [f.option for f in FIGURES if f.needs_truth and f.name in limits]
    if truth is None and lacking:
        raise AlikeError(f"{', '.join(lacking)}: {sequence.name} has no truth, give --truth FILE")

    def play(rate_hz: float = 0.0) -> NodeRun:
        run = run_through_nodes(sequence, config, split, rate_hz, progress)
        if run.interrupted:
            raise KeyboardInterrupt
        if any(run.exit_codes):
            raise AlikeError(f"the nodes ended with the codes {run.exit_codes}, expected 0")
        return run

    def accuracy(trajectory: Trajectory) -> dict[str, float | None]:
        return accuracy_figures(trajectory, truth, correct_scale=config.mode == "mono")

    run = play()
    trajectory = run.trajectory
    values = accuracy(trajectory)
    values["gaps"] = gaps_percent(run.played_ns, trajectory)
    if "difference" in limits:
        values["difference"] = difference_m(trajectory, play().trajectory)
    if any(not figure.lockstep and figure.name in limits for figure in FIGURES):
        rate_hz = _rate_hz(run.played_ns)
        live = play(rate_hz)
        values |= _real_time(live, rate_hz)
        values["live_ate"] = accuracy(live.trajectory).get("ate")
    return Verdict(checks(values, limits), run.num_played, run.unusable)


def _real_time(run: NodeRun, rate_hz: float) -> dict[str, float | None]:
    latency = float(np.percentile(run.latency_ms, 95)) if run.latency_ms else None
    return {"latency": latency, "rate": rate_hz * len(run.latency_ms) / run.num_played}


def _rate_hz(stamps_ns: list[int]) -> float:
    """Mean rate of the images."""
    if len(stamps_ns) < 2:
        raise AlikeError("the recording has fewer than two images: it has no rate")
    return (len(stamps_ns) - 1) / (stamps_ns[-1] - stamps_ns[0]) * 1e9
