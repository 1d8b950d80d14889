"""What a recording that was played into the nodes is held to. No ROS here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from alike_ros.evaluation import MAX_STAMP_DIFFERENCE, accuracy
from alike_ros.geometry import Array, inverse, rotation_angle
from alike_ros.trajectory import Trajectory


@dataclass(frozen=True)
class Figure:
    """Something that is measured, and that a limit may be set to.

    In `lockstep` each frame waits for the answer to the one before, so that the figure does not
    depend on the speed of the machine; else frames come as fast as they were recorded.
    """

    name: str
    unit: str
    doc: str
    needs_truth: bool = False
    lockstep: bool = True
    is_floor: bool = False  # the limit is the least allowed, else the most

    @property
    def option(self) -> str:
        """Of the command line."""
        return f"--{'min' if self.is_floor else 'max'}-{self.name.replace('_', '-')}"


FIGURES = (
    Figure("ate", "m", "absolute trajectory error, rmse after alignment", needs_truth=True),
    Figure("rpe", "m", "relative pose error of neighbouring messages, rmse", needs_truth=True),
    Figure("rpe_rotation", "deg", "the same of the rotation", needs_truth=True),
    Figure("jump", "m", "largest step of odom -> base, beyond that of the truth if there is one"),
    Figure("jump_rotation", "deg", "the same of the rotation"),
    Figure("gaps", "%", "images without odom after the first odom"),
    Figure("difference", "m", "largest distance of positions in two runs: 0 is deterministic"),
    Figure("latency", "ms", "from image to odom, 95th percentile", lockstep=False),
    Figure(
        "rate", "Hz", "odom messages per second of the recording", lockstep=False, is_floor=True
    ),
    Figure("live_ate", "m", "ate of frames as fast as recorded", needs_truth=True, lockstep=False),
)
#: Of endurance. `overhead` is from image to odom, without extraction and tracking.
SOAK_FIGURES = (
    Figure("memory", "%", "growth of the process's own memory"),
    Figure("threads", "", "threads that were not there at the beginning"),
    Figure("files", "", "file descriptors that were not there at the beginning"),
    Figure("errors", "", "errors in the log"),
    Figure("unaccounted", "", "images that neither came back nor are counted as left out"),
    Figure("overhead", "ms", "from image to odom, less extraction and tracking, median"),
    Figure("wait", "ms", "the part of it that was spent waiting for the frame before, median"),
    Figure("rate", "Hz", "odom messages per second", is_floor=True),
)
SOAK_LIMITS = {"memory": 2.0, "threads": 0.0, "files": 0.0, "errors": 0.0, "unaccounted": 0.0}


@dataclass(frozen=True)
class Check:
    """A figure beside its limit; value None: not measured, limit None: not limited."""

    figure: Figure
    value: float | None
    limit: float | None

    @property
    def holds(self) -> bool:
        """Whether the limit is kept; an unknown value and NaN keep none."""
        if self.limit is None:
            return True
        if self.value is None:
            return False
        return self.value >= self.limit if self.figure.is_floor else self.value <= self.limit


def checks(
    values: Mapping[str, float | None],
    limits: Mapping[str, float],
    figures: Sequence[Figure] = FIGURES,
) -> list[Check]:
    """All figures in order; values and limits by the figures' names."""
    return [Check(f, values.get(f.name), limits.get(f.name)) for f in figures]


def accuracy_figures(
    trajectory: Trajectory, truth: Trajectory | None, correct_scale: bool
) -> dict[str, float | None]:
    """Errors against the truth, and the largest steps.

    correct_scale: of mono, of which metres are unknown where the truth hardly moves.
    """
    errors = accuracy(trajectory, truth, correct_scale) if truth is not None else None
    steps = list(_steps(trajectory, truth, errors.scale if errors else 1.0))
    values: dict[str, float | None] = {
        "jump": max((float(np.linalg.norm(step[:3, 3])) for step in steps), default=None),
        "jump_rotation": max(
            (float(np.degrees(rotation_angle(step[:3, :3]))) for step in steps), default=None
        ),
    }
    if errors is not None:
        values["rpe_rotation"] = errors.rpe_rot_rmse_deg
        if errors.alignment == "sim3" or not correct_scale:
            values |= {"ate": errors.ate_rmse_m, "rpe": errors.rpe_trans_rmse_m}
    return values


def difference_m(one: Trajectory, other: Trajectory) -> float:
    """Largest distance of the positions of two runs; infinite if other frames were tracked."""
    if one.stamps_ns.tolist() != other.stamps_ns.tolist():
        return float("inf")
    distances = np.linalg.norm(one.positions - other.positions, axis=1)
    return float(distances.max(initial=0.0))


def gaps_percent(stamps_ns: list[int], trajectory: Trajectory) -> float | None:
    """Share of the images (their stamps) since the first pose that have none; None without any."""
    if not len(trajectory):
        return None
    expected = [stamp for stamp in stamps_ns if stamp >= trajectory.stamps_ns[0]]
    if not expected:
        return None
    return 100 * (1 - len(trajectory) / len(expected))


def _steps(trajectory: Trajectory, truth: Trajectory | None, scale: float) -> Iterator[Array]:
    """Motion from each pose to the next; where the truth knows both, what it differs by."""
    for i in range(len(trajectory) - 1):
        step = inverse(trajectory.world_from_cam[i]) @ trajectory.world_from_cam[i + 1]
        step[:3, 3] *= scale
        ends = [_true_pose(truth, int(stamp_ns)) for stamp_ns in trajectory.stamps_ns[i : i + 2]]
        if ends[0] is not None and ends[1] is not None:
            step = inverse(inverse(ends[0]) @ ends[1]) @ step
        yield step


def _true_pose(truth: Trajectory | None, stamp_ns: int) -> Array | None:
    if truth is None or not len(truth):
        return None
    nearest = int(np.abs(truth.stamps_ns - stamp_ns).argmin())
    if abs(int(truth.stamps_ns[nearest]) - stamp_ns) > MAX_STAMP_DIFFERENCE * 1e9:
        return None
    pose: Array = truth.world_from_cam[nearest]
    return pose
