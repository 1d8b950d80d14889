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
    errors: dict[int, list[float]] = {}
    lost: dict[int, int] = {}
    for row in rows:
        place = places.get((row.perturbation, row.level))
        if place is not None:
            errors.setdefault(place, []).append(row.ate_rmse_m or np.nan)
            lost[place] = lost.get(place, 0) + row.lost
    medians = {place: float(np.median(runs)) for place, runs in errors.items()}
    axis.set_xticks(range(len(places)), ["none", *(f"{level:g}" for level in levels)])
    axis.set_xlabel(unit)
    axis.plot(list(medians), list(medians.values()), "o-", color=colour)
    for place, median in medians.items():
        axis.plot([place] * len(errors[place]), errors[place], ".", color=colour, alpha=0.4)
        if lost[place] and np.isfinite(median):
            axis.annotate(f" {lost[place]}", (place, median), color=colour, fontsize="small")
