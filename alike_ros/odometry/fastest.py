"""The two steps of tracking that cost most, in compiled code where numba is installed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alike_ros.geometry import Array
from alike_ros.matching import match_near
from alike_ros.odometry.reprojection import Reprojection, Sightings, reproject

Float = NDArray[np.float32]

log = logging.getLogger(__name__)


class Steps(NamedTuple):
    """The functions of these names, or their compiled forms.

    These give the same, but for rounding and for which of equally similar descriptors is taken.
    """

    match_near: Callable[
        [NDArray[Any], NDArray[Any], float, Float, Float, float], NDArray[np.int64]
    ]
    reproject: Callable[[Array, Array, Sightings, float, bool], Reprojection]


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
