"""A picture of a run, without a display."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from alike_ros.evaluation import Accuracy
from alike_ros.trajectory import Trajectory


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
