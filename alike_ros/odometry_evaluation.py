"""How well odometry holds when the frames get worse, and beside others."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from alike_ros.config import Config
from alike_ros.data import CameraFrame, Sequence
from alike_ros.data.perturbation import NONE, PERTURBATIONS, perturb
from alike_ros.evaluation import nees
from alike_ros.features import Extractor, Features
from alike_ros.opencv_odometry import OpencvRgbdOdometry
from alike_ros.replay import replay
from alike_ros.results import Run, measure

#: Images whose features are remembered; a thousand of ORB's are 1 MB.
_REMEMBERED = 500


@dataclass(frozen=True)
class Row:
    """One run's figures, under the names of the JSON file; None where they are not known.

    Lengths are metres, mono's after alignment with scale: unknown where the camera hardly moved.
    ATE and RPE are of the frames that have a pose. Those that were seen and have none count as
    `initialising` until a map is there, which mono builds of two views, and as `lost` afterwards.
    nees is 1 where the covariance of the position is truthful. `run` begins at that frame.
    """

    sequence: str
    extractor: str
    perturbation: str
    level: float
    ate_rmse_m: float | None
    rpe_trans_rmse_m: float | None
    rpe_rot_rmse_deg: float | None
    lost: int
    initialising: int
    fps: float | None
    nees: float | None
    run: int = 0

    @property
    def key(self) -> tuple[str, str, str, float, int]:
        """What was run, apart from how it went."""
        return self.sequence, self.extractor, self.perturbation, self.level, self.run


class Contender(Protocol):
    """Anything that turns frames into poses."""

    @property
    def description(self) -> str:
        """What runs, in words."""
        ...

    def __call__(
        self, frames: Iterable[CameraFrame], sequence: Sequence, config: Config, run: Run
    ) -> None:
        """Runs frames of a sequence, from a new start, and adds to `run` as they come."""
        ...


@dataclass
class _Memory:
    """An extractor that knows the images it has seen, and how long they took."""

    extractor: Extractor
    seconds: float = 0.0  # that extraction has taken, or would have
    _known: dict[bytes, tuple[Features, float]] = field(default_factory=dict)

    @property
    def description(self) -> str:
        return self.extractor.description

    def __call__(self, image: NDArray[np.uint8]) -> Features:
        key = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        found = self._known.get(key)
        if found is None:
            start = time.perf_counter()
            features = self.extractor(image)
            found = features, time.perf_counter() - start
            # the first images are those of the run without perturbation, which come again
            if len(self._known) < _REMEMBERED:
                self._known[key] = found
        self.seconds += found[1]
        return found[0]


class FeatureOdometry:
    """The package's odometry on features of an extractor."""

    def __init__(self, extractor: Extractor) -> None:
        self._extractor = extractor
        self.description = extractor.description
        self._memory = _Memory(extractor)
        self._sequence: Sequence | None = None

    def __call__(
        self, frames: Iterable[CameraFrame], sequence: Sequence, config: Config, run: Run
    ) -> None:
        """Runs the frames; run.seconds is what they take without the memory of earlier runs."""
        if sequence is not self._sequence:
            self._sequence, self._memory = sequence, _Memory(self._extractor)
        self._memory.seconds = 0.0
        replay(frames, sequence, self._memory, config, run)
        others = sum(sum(ms) for stage, ms in run.stage_ms.items() if stage != "extract")
        run.seconds = self._memory.seconds + others / 1e3


class OpencvRgbd:
    """OpenCV's RGB-D odometry, which has no features."""

    description = "dense RGB-D odometry of OpenCV"

    def __call__(
        self, frames: Iterable[CameraFrame], sequence: Sequence, config: Config, run: Run
    ) -> None:
        """Runs the frames."""
        odometry = OpencvRgbdOdometry(sequence.camera, config.depth)
        for frame in frames:
            start = time.perf_counter()
            run.estimates.append(odometry.track(frame))
            run.seconds += time.perf_counter() - start


@dataclass(frozen=True)
class Trial:
    """A perturbation at a level, on all or the first `frames` of a sequence.

    The k-th `run` begins at the k-th frame and draws from seed + k: what an error owes to chance.
    """

    perturbation: str = NONE
    level: float = 0.0
    seed: int = 0
    frames: int | None = None
    run: int = 0

    def of(
        self, sequence: Sequence, tick: Callable[[], object]
    ) -> Iterator[tuple[CameraFrame, CameraFrame]]:
        """Pairs of original and perturbed frames; tick is called for each original."""
        originals = _ticking(islice(sequence, self.run, self.frames), tick)
        if self.perturbation == NONE:
            return ((frame, frame) for frame in originals)
        return perturb(originals, self.perturbation, self.level, self.seed + self.run)


def trials(
    mode: str, perturbations: Iterable[str], seed: int, frames: int | None, runs: int = 1
) -> list[Trial]:
    """Runs without any perturbation first, then of those that matter in a mode at their levels."""
    levels = [(NONE, 0.0)] + [
        (name, level)
        for name in perturbations
        if mode in PERTURBATIONS[name].modes
        for level in PERTURBATIONS[name].levels
    ]
    return [Trial(name, level, seed, frames, run) for name, level in levels for run in range(runs)]


def evaluate(
    name: str,
    sequence: Sequence,
    extractor: str,
    contender: Contender,
    trial: Trial,
    config: Config,
    tick: Callable[[], object] = lambda: None,
) -> Row:
    """Runs one trial. `name` and `extractor` are how the row calls sequence and contender."""
    run = Run()
    stamps_ns: list[int] = []

    def frames() -> Iterator[CameraFrame]:
        for original, changed in trial.of(sequence, tick):
            stamps_ns.append(original.stamp_ns)
            yield changed

    contender(frames(), sequence, config, run)
    # the truth is that of the time at which the frame was taken, whatever its stamp says
    run.estimates = [
        replace(estimate, stamp_ns=stamp_ns)
        for estimate, stamp_ns in zip(run.estimates, stamps_ns, strict=True)
    ]
    metrics, _ = measure(run, config.mode, sequence.truth)
    is_metric = config.mode != "mono" or metrics.scale_aligned
    return Row(
        sequence=name,
        extractor=extractor,
        perturbation=trial.perturbation,
        level=trial.level,
        ate_rmse_m=metrics.ate_rmse_m if is_metric else None,
        rpe_trans_rmse_m=metrics.rpe_trans_rmse_m if is_metric else None,
        rpe_rot_rmse_deg=metrics.rpe_rot_rmse_deg,
        lost=metrics.lost,
        initialising=metrics.initialising,
        fps=metrics.fps,
        nees=_nees(run, sequence),
        run=trial.run,
    )


def _nees(run: Run, sequence: Sequence) -> float | None:
    """None too where lengths are in an arbitrary unit, as mono's are."""
    poses = [estimate for estimate in run.estimates if estimate.world_from_cam is not None]
    if not poses or sequence.truth is None or not poses[0].metric_scale:
        return None
    unknown = np.full((3, 3), np.nan)
    covariances = [unknown if e.covariance is None else e.covariance[:3, :3] for e in poses]
    return nees(run.trajectory, np.stack(covariances), sequence.truth)


def _ticking(frames: Iterable[CameraFrame], tick: Callable[[], object]) -> Iterator[CameraFrame]:
    for frame in frames:
        yield frame
        tick()
