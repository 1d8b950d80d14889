"""Trajectories: stamped poses, and the TUM text format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alike_ros.errors import DataError
from alike_ros.geometry import Array, from_Rt, rotation_from_quat_xyzw, rotation_to_quat_xyzw
from alike_ros.whole_file import write_whole


@dataclass(frozen=True)
class Trajectory:
    """Poses world_from_cam (N, 4, 4) at stamps_ns (N,), int64 nanoseconds, ascending."""

    stamps_ns: NDArray[np.int64]
    world_from_cam: Array

    def __post_init__(self) -> None:
        if self.world_from_cam.shape != (len(self.stamps_ns), 4, 4):
            raise DataError(
                f"{len(self.stamps_ns)} stamps for poses of shape {self.world_from_cam.shape}"
            )

    def __len__(self) -> int:
        return len(self.stamps_ns)

    @classmethod
    def from_poses(cls, stamps_ns: list[int], world_from_cam: list[Array]) -> Trajectory:
        """A trajectory of lists, which may be empty."""
        poses = np.stack(world_from_cam) if world_from_cam else np.empty((0, 4, 4))
        return cls(np.array(stamps_ns, np.int64), poses)

    @property
    def positions(self) -> Array:
        """Camera centres (N, 3)."""
        return self.world_from_cam[:, :3, 3]

    @property
    def length_m(self) -> float:
        """Length of the path."""
        return float(np.linalg.norm(np.diff(self.positions, axis=0), axis=1).sum())

    @classmethod
    def read_tum(cls, path: str | Path) -> Trajectory:
        """Lines `seconds tx ty tz qx qy qz qw`; # starts a comment. Raises DataError."""
        stamps, poses = [], []
        try:
            for line in Path(path).read_text().splitlines():
                if line.strip() and not line.startswith("#"):
                    seconds, *values = line.replace(",", " ").split()
                    numbers = np.array(values, np.float64)
                    if (
                        len(numbers) < 7
                        or not np.isfinite(numbers).all()
                        or not numbers[3:7].any()
                    ):
                        raise ValueError(f"no pose in {line!r}")
                    stamps.append(seconds_to_ns(seconds))
                    poses.append(from_Rt(rotation_from_quat_xyzw(numbers[3:7]), numbers[:3]))
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise DataError(f"{path} is not a TUM trajectory: {error}") from error
        order = np.argsort(stamps, kind="stable")
        return cls.from_poses([stamps[i] for i in order], [poses[i] for i in order])

    def write_tum(self, path: str | Path) -> None:
        """Writes the file whole or not at all."""
        lines = []
        for stamp, pose in zip(self.stamps_ns, self.world_from_cam, strict=True):
            numbers = [*pose[:3, 3], *rotation_to_quat_xyzw(pose[:3, :3])]
            lines.append(f"{ns_to_seconds(int(stamp))} " + " ".join(f"{v:.9f}" for v in numbers))
        write_whole(path, "".join(f"{line}\n" for line in lines))


def seconds_to_ns(seconds: str) -> int:
    """A decimal of seconds -> nanoseconds, exactly (a float has too few digits)."""
    whole, _, fraction = seconds.partition(".")
    if not fraction.isdigit() and fraction:
        return round(float(seconds) * 1e9)  # exponents, as in KITTI's 1.037359e-01
    return int(whole) * 10**9 + int((fraction + "0" * 9)[:9])


def ns_to_seconds(stamp_ns: int) -> str:
    """Nanoseconds -> seconds with nine digits."""
    return f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d}"
