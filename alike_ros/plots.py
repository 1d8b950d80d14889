"""Pictures of results, without a display."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alike_ros.data.perturbation import NONE, PERTURBATIONS
from alike_ros.evaluation import Accuracy
from alike_ros.trajectory import Trajectory

if TYPE_CHECKING:
    from alike_ros.odometry_evaluation import Row


def plot_trajectory(
    path: Path,
    estimate: Trajectory,
    errors: Accuracy | None,
    metric_scale: bool,
    title: str,
    stage_ms: Mapping[str, list[float]],
) -> None:
    """Draws the path from above and from the side, with the truth where there is one, and times.

    stage_ms: milliseconds of each frame, by stage.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (*axes, timing) = plt.subplots(1, 3, figsize=(18, 5.5))
    positions = estimate.positions if errors is None else errors.positions
    unit = "m" if metric_scale or errors is not None else "arbitrary unit"
    # drawn along the two directions of most motion, and the third: worlds have any orientation
    base = positions if errors is None else errors.truth_positions
    centre = base.mean(axis=0) if len(base) else np.zeros(3)
    directions = np.linalg.svd(base - centre)[2] if len(base) > 2 else np.eye(3)
    for axis, (i, j) in zip(axes, ((0, 1), (0, 2)), strict=True):
        if errors is not None:
            truth = (errors.truth_positions - centre) @ directions.T
            axis.plot(truth[:, i], truth[:, j], "k--", linewidth=1.5, label="truth")
        drawn = (positions - centre) @ directions.T
        axis.plot(drawn[:, i], drawn[:, j], color="tab:blue", linewidth=1.5, label="estimate")
        if len(drawn):
            axis.plot(*drawn[0, [i, j]], "o", color="tab:green", label="start")
        axis.set_aspect("equal", "datalim")
        axis.set_xlabel(f"direction {i + 1} [{unit}]")
        axis.set_ylabel(f"direction {j + 1} [{unit}]")
        axis.grid(alpha=0.3)
    axes[0].legend()
    for stage, milliseconds in stage_ms.items():
        timing.plot(milliseconds, linewidth=1, label=stage)
    if stage_ms:
        timing.legend()
    timing.set_xlabel("frame")
    timing.set_ylabel("ms")
    timing.grid(alpha=0.3)
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_robustness(path: Path, rows: list[Row]) -> None:
    """Draws ATE against the level, a column per perturbation and a line of plots per sequence.

    At the left end of each line are the frames as they are. A number at a point is that of the
    lost frames: the ATE tells nothing of them.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.lines import Line2D

    sequences = list(dict.fromkeys(row.sequence for row in rows))
    extractors = list(dict.fromkeys(row.extractor for row in rows))
    names = list(dict.fromkeys(row.perturbation for row in rows if row.perturbation != NONE))
    names = names or [NONE]
    size = 2.8 * len(names) + 1, 2.8 * len(sequences) + 0.6
    figure, axes = plt.subplots(
        len(sequences), len(names), figsize=size, squeeze=False, sharex="col", sharey="row"
    )
    for sequence, line in zip(sequences, axes, strict=True):
        line[0].set_ylabel(f"{sequence}\nATE rmse [m]")
        line[0].set_yscale("log")
        for name, axis in zip(names, line, strict=True):
            axis.set_title(name, fontsize="medium")
            axis.grid(alpha=0.3)
            for i, extractor in enumerate(extractors):
                run = sequence, extractor
                curve = [row for row in rows if (row.sequence, row.extractor) == run]
                _draw_levels(axis, name, curve, f"C{i}")
    handles = [Line2D([], [], color=f"C{i}", marker="o") for i in range(len(extractors))]
    figure.legend(handles, extractors, loc="upper right", ncols=len(extractors))
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.35 / size[1]))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_levels(axis: Any, name: str, rows: Iterable[Row], colour: str) -> None:
    """One curve: the run without perturbation, then the levels of one, evenly spaced."""
    unit, levels = (
        (PERTURBATIONS[name].unit, PERTURBATIONS[name].levels) if name != NONE else ("", ())
    )
    places = {(NONE, 0.0): 0} | {(name, level): i for i, level in enumerate(levels, 1)}
    points = [
        (places[row.perturbation, row.level], row.ate_rmse_m or np.nan, row.lost)
        for row in rows
        if (row.perturbation, row.level) in places
    ]
    axis.set_xticks(range(len(places)), ["none", *(f"{level:g}" for level in levels)])
    axis.set_xlabel(unit)
    axis.plot([x for x, _, _ in points], [y for _, y, _ in points], "o-", color=colour)
    for x, y, lost in points:
        if lost and np.isfinite(y):
            axis.annotate(f" {lost}", (x, y), color=colour, fontsize="small")
