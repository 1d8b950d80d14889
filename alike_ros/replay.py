"""A sequence through extractor and odometry, without ROS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from alike_ros.config import Config
from alike_ros.data import CameraFrame, Sequence
from alike_ros.errors import DataError
from alike_ros.features import Extractor, Features
from alike_ros.matching import match_mutual
from alike_ros.memory import resident_mb
from alike_ros.odometry import Estimate, VisualOdometry
from alike_ros.results import Run

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class Stopwatch:
    """Milliseconds spent per stage, one entry per frame."""

    stages: dict[str, list[float]] = field(default_factory=dict)

    def timed(self, stage: str, function: Callable[P, R]) -> Callable[P, R]:
        """The function, whose calls within one frame add up under `stage`."""
        self.stages[stage] = []

        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.stages[stage][-1] += (time.perf_counter() - start) * 1e3

        return call

    def next_frame(self) -> None:
        """Opens an entry of every stage."""
        for entries in self.stages.values():
            entries.append(0.0)


@dataclass(frozen=True)
class Step:
    """One frame of a replay: what went in, what came out, and the milliseconds of each stage."""

    frame: CameraFrame
    features: Features
    estimate: Estimate
    stage_ms: dict[str, float]


def ignore(step: Step, odometry: VisualOdometry) -> None:
    """The observer of a replay at which nobody looks."""


def replay(
    frames: Iterable[CameraFrame],
    sequence: Sequence,
    extractor: Extractor,
    config: Config,
    run: Run,
    observe: Callable[[Step, VisualOdometry], None] = ignore,
) -> None:
    """Runs frames of a sequence, and adds to `run` as they come; then `observe` is called.

    A run that is interrupted keeps what was computed.
    """
    watch = Stopwatch()
    run.stage_ms = watch.stages
    stereo = config.mode == "stereo"
    camera = sequence.stereo if stereo else sequence.camera
    if camera is None:
        raise DataError(f"{sequence.name} has no right images: take mode mono or rgbd")
    extract = watch.timed("extract", extractor)
    odometry = VisualOdometry(camera, config, watch.timed("match", match_mutual))
    track = watch.timed("track", odometry.track)
    start = time.perf_counter()
    for frame in frames:
        watch.next_frame()
        begin = time.perf_counter()
        right = extract(frame.right) if stereo and frame.right is not None else None
        features = extract(frame.image)
        estimate = track(frame.stamp_ns, features, frame.depth, right)
        watch.stages["track"][-1] -= watch.stages["match"][-1]
        now = time.perf_counter()
        run.latency_ms.append((now - begin) * 1e3)
        run.estimates.append(estimate)
        run.rss_mb.append(resident_mb())
        run.seconds = now - start
        stage_ms = {stage: entries[-1] for stage, entries in watch.stages.items()}
        observe(Step(frame, features, estimate, stage_ms), odometry)
