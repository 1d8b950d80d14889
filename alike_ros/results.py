"""What a run through the odometry amounts to: figures, files and pictures."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from alike_ros.config import Config, dump_yaml
from alike_ros.evaluation import Accuracy, accuracy
from alike_ros.odometry import Estimate, Status
from alike_ros.plots import plot_trajectory
from alike_ros.trajectory import Trajectory
from alike_ros.whole_file import write_whole

_ALIGNED = {
    "sim3": "aligned with scale",
    "se3": "aligned",
    "origin": "drift from the first pose: the camera hardly moved",
    None: "",
}


@dataclass
class Run:
    """What came out of a sequence so far, frame by frame."""

    estimates: list[Estimate] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)  # from image to pose
    stage_ms: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    rss_mb: list[float] = field(default_factory=list)  # resident memory after each frame

    @property
    def trajectory(self) -> Trajectory:
        """The frames that have a pose, tracked or predicted."""
        tracked = [e for e in self.estimates if e.world_from_cam is not None]
        return Trajectory.from_poses(
            [e.stamp_ns for e in tracked],
            [e.world_from_cam for e in tracked if e.world_from_cam is not None],
        )

    def count(self, status: Status) -> int:
        """Frames with a status."""
        return sum(e.status is status for e in self.estimates)


@dataclass(frozen=True)
class Metrics:
    """The figures of a run, under the names of `metrics.json`; None where they are not known.

    Lengths are metres; mono's are, once scale_aligned (to a truth) is true. RPE is between
    consecutive poses. latency_ms and stage_ms are per frame; stages are medians. growth is the
    median of the last tenth of the run over that of the first, per stage, 1 where cost is flat;
    rss_mb is the resident memory after the first tenth and at the end.
    """

    frames: int
    initialising: int
    tracked: int
    degraded: int
    lost: int
    keyframes: int
    path_length_m: float | None
    ate_rmse_m: float | None
    rpe_trans_rmse_m: float | None
    rpe_rot_rmse_deg: float | None
    alignment: str | None
    scale_aligned: bool
    scale: float | None
    fps: float | None
    latency_ms: dict[str, float | None]
    stage_ms: dict[str, float | None]
    growth: dict[str, float | None]
    rss_mb: dict[str, float | None]


def measure(run: Run, mode: str, truth: Trajectory | None) -> tuple[Metrics, Accuracy | None]:
    """Figures of a run, and the errors behind them where there is a truth."""
    trajectory = run.trajectory
    errors = accuracy(trajectory, truth, correct_scale=mode == "mono") if truth else None
    aligned = errors is not None and errors.alignment == "sim3"
    metric = mode != "mono" or aligned
    scale = errors.scale if errors else 1.0
    metrics = Metrics(
        frames=len(run.estimates),
        initialising=run.count(Status.INITIALISING),
        tracked=run.count(Status.TRACKING),
        degraded=run.count(Status.DEGRADED),
        lost=run.count(Status.LOST),
        keyframes=sum(estimate.is_keyframe for estimate in run.estimates),
        path_length_m=trajectory.length_m * scale if metric else None,
        ate_rmse_m=errors.ate_rmse_m if errors else None,
        rpe_trans_rmse_m=errors.rpe_trans_rmse_m if errors else None,
        rpe_rot_rmse_deg=errors.rpe_rot_rmse_deg if errors else None,
        alignment=errors.alignment if errors else None,
        scale_aligned=aligned,
        scale=errors.scale if errors else None,
        fps=len(run.estimates) / run.seconds if run.seconds else None,
        latency_ms={f"p{q}": _percentile(run.latency_ms, q) for q in (50, 95)},
        stage_ms={stage: _percentile(entries, 50) for stage, entries in run.stage_ms.items()},
        growth={stage: _growth(entries) for stage, entries in run.stage_ms.items()},
        rss_mb={
            "first": run.rss_mb[len(run.rss_mb) // 10] if run.rss_mb else None,
            "last": run.rss_mb[-1] if run.rss_mb else None,
        },
    )
    return metrics, errors


def write(
    output: Path,
    run: Run,
    metrics: Metrics,
    errors: Accuracy | None,
    config: Config,
    title: str,
) -> list[Path]:
    """Writes trajectory.tum, trajectory.png, metrics.json and config.yaml; returns their paths."""
    output.mkdir(parents=True, exist_ok=True)
    names = ("trajectory.tum", "trajectory.png", "metrics.json", "config.yaml")
    tum, png, figures, settings = (output / name for name in names)
    run.trajectory.write_tum(tum)
    metric = config.mode != "mono"
    plot_trajectory(png, run.trajectory, errors, metric, title, run.stage_ms)
    write_whole(figures, json.dumps(asdict(metrics), indent=2) + "\n")
    write_whole(settings, dump_yaml(config))
    return [tum, png, figures, settings]


def table(metrics: Metrics) -> str:
    """The figures for people."""
    p50, p95 = (_text(metrics.latency_ms[key], ".1f") for key in ("p50", "p95"))
    rows = [
        ("frames", f"{metrics.frames}"),
        ("tracked", f"{metrics.tracked}"),
        ("degraded", f"{metrics.degraded}"),
        ("lost", f"{metrics.lost}"),
        ("initialising", f"{metrics.initialising}"),
        ("keyframes", f"{metrics.keyframes}"),
        ("frames/s", _text(metrics.fps, ".1f")),
        ("latency p50 / p95", f"{p50} / {p95} ms"),
        *((f"  {stage}", _text(ms, ".1f", " ms")) for stage, ms in metrics.stage_ms.items()),
        ("last / first tenth", _pairs(metrics.growth, ".2f")),
        ("path length", _text(metrics.path_length_m, ".3f", " m")),
        ("ATE rmse", _text(metrics.ate_rmse_m, ".4f", f" m ({_ALIGNED[metrics.alignment]})")),
        ("RPE rmse, translation", _text(metrics.rpe_trans_rmse_m, ".4f", " m a frame")),
        ("RPE rmse, rotation", _text(metrics.rpe_rot_rmse_deg, ".3f", " deg a frame")),
    ]
    if metrics.rss_mb["last"] is not None:
        rows.append(("memory, MB", _pairs(metrics.rss_mb, ".0f")))
    if metrics.scale_aligned:
        rows.append(("scale to the truth", _text(metrics.scale, ".4f", " (mono has none)")))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _text(value: float | None, digits: str, unit: str = "") -> str:
    return "unknown" if value is None else f"{value:{digits}}{unit}"


def _pairs(values: dict[str, float | None], digits: str) -> str:
    return ", ".join(f"{name} {_text(value, digits)}" for name, value in values.items())


def _growth(entries: list[float]) -> float | None:
    """Median of the last tenth over that of the first; None where a run is too short to tell."""
    tenth = len(entries) // 10
    first = float(np.median(entries[:tenth])) if tenth else 0.0
    return float(np.median(entries[-tenth:])) / first if first else None


def _percentile(values: list[float], q: float) -> float | None:
    return float(np.percentile(values, q)) if values else None
