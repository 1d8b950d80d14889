"""The two steps of tracking that cost most, in compiled code where numba is installed."""

from __future__ import annotations

import logging
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from alike_ros.geometry import Array
from alike_ros.matching import match_near
from alike_ros.odometry.reprojection import Reprojection, Sightings, reproject

log = logging.getLogger(__name__)


class MatchNear(Protocol):
    """Points, a radius, descriptors and their lowest similarity -> index pairs (K, 2)."""

    def __call__(
        self,
        points0: NDArray[Any],
        points1: NDArray[Any],
        radius: float,
        descriptors0: NDArray[np.float32],
        descriptors1: NDArray[np.float32],
        min_similarity: float,
        /,
    ) -> NDArray[np.int64]:
        """See `matching.match_near`."""
        ...


class Reproject(Protocol):
    """A pose, a bend and sightings in columns -> what is near where the camera sees it."""

    def __call__(
        self,
        cam_from_world: Array,
        bend: Array,
        sightings: Sightings,
        max_error: float,
        with_bend: bool,
        /,
    ) -> Reprojection:
        """See `reprojection.reproject`."""
        ...


class Steps(NamedTuple):
    """The functions of these names, or their compiled forms.

    These give the same, but for rounding and for which of equally similar descriptors is taken.
    """

    match_near: MatchNear
    reproject: Reproject


@cache
def fastest() -> Steps:
    """What there is here; the first call compiles."""
    plain = Steps(match_near, reproject)
    if find_spec("numba") is None:
        return plain
    try:
        from alike_ros import compiled_matching
        from alike_ros.compiling import compiling
        from alike_ros.odometry import compiled_reprojection

        found = Steps(compiled_matching.match_near, compiled_reprojection.reproject)
        with compiling("tracking", 8, compiled_reprojection.weigh):
            _try(found)
    except Exception as error:  # CompileError, or a numba that cannot be imported
        log.warning("tracking goes without numba: %s", error)
        return plain
    return found


def _try(steps: Steps) -> None:
    """Compiles them, or reads what was compiled."""
    point, alike = np.ones((1, 2)), np.ones((1, 1), np.float32)
    steps.match_near(point, point, 1.0, alike, alike, 0.0)
    one = Sightings(np.ones((1, 3)), np.zeros((1, 3)), point, np.ones(1), np.zeros(1))
    steps.reproject(np.eye(4), np.zeros(3), one.in_columns(), 1.0, True)
