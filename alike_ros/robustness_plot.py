"""A picture of how errors grow with what is done to the frames, without a display."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from alike_ros.data.perturbation import NONE, PERTURBATIONS
from alike_ros.odometry_evaluation import Row


def plot_robustness(path: Path, rows: list[Row]) -> None:
    """Draws ATE against the level, a column per perturbation and a line of plots per sequence.

    At the left end of each line are the frames as they are. Of several runs, the line has the
    medians. A number at a point is that of the lost frames: the ATE tells nothing of them.
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
    """One curve of medians: no perturbation, then the levels of one, evenly spaced; all runs."""
    unit, levels = (
        (PERTURBATIONS[name].unit, PERTURBATIONS[name].levels) if name != NONE else ("", ())
    )
    places = {(NONE, 0.0): 0} | {(name, level): i for i, level in enumerate(levels, 1)}
    runs: dict[int, list[Row]] = {}
    for row in rows:
        if (row.perturbation, row.level) in places:
            runs.setdefault(places[row.perturbation, row.level], []).append(row)
    points = [
        (place, np.median([row.ate_rmse_m or np.nan for row in here]), sum(r.lost for r in here))
        for place, here in runs.items()
    ]
    axis.set_xticks(range(len(places)), ["none", *(f"{level:g}" for level in levels)])
    axis.set_xlabel(unit)
    axis.plot([x for x, _, _ in points], [y for _, y, _ in points], "o-", color=colour)
    for place, here in runs.items():
        errors = [row.ate_rmse_m or np.nan for row in here]
        axis.plot([place] * len(here), errors, ".", color=colour, alpha=0.4)
    for x, y, lost in points:
        if lost and np.isfinite(y):
            axis.annotate(f" {lost}", (x, y), color=colour, fontsize="small")
