"""Whether a camera is where its view says: places may look alike."""

from __future__ import annotations

import numpy as np

from alike_ros.geometry import Array, transform
from alike_ros.odometry.local_map import LocalMap
from alike_ros.odometry.localisation import Located
from alike_ros.odometry.noise import median
from alike_ros.odometry.sensor import Sensor

#: What is seen from a distance that differs by a factor of e^0.4 is found e times less often than
#: from where a keyframe saw it. In a rendered corridor, 0.6 were found at e^0.2, 0.2 at e^0.4.
_SCALE = 0.4
#: Where all was seen from so different distances that this share remains, nothing can be told.
_REMAINING = 0.15
#: Share of what should be found in a place, for a camera to be there,
_FOUND = 0.6
#: and for one that is near where it was last: on its way, what is close goes out of sight.
_FOUND_NEAR = 0.25
#: How far is near, as a share of the distance of what is seen.
_NEAR = 0.2
#: One landmark in so many is enough to tell that.
_SOME = 8
#: Less will do where it is spread over the picture. That has so many cells each way,
_CELLS = 4
#: fewer where there would be less than this to find in each; one with less tells nothing.
_TELLING = 5
#: In a cell that agrees this share is found,
_FOUND_IN_CELL = 0.15
#: and these cells hold this share of all that should be found,
_AGREEING = 0.8
#: and are this share of the picture.
_FILLED = 0.5


def is_there(
    located: Located,
    offered: int,
    local_map: LocalMap,
    last: Array,
    is_lost: bool,
    sensor: Sensor,
) -> bool:
    """Whether the place is the one that it looks like.

    A picture on the wall, a chair or a door may be elsewhere, too, or have been carried there:
    then the landmarks of one thing are found, and little else of what should be in view. In the
    right place either most are found, or some all over the picture, but for what looks much larger
    or smaller than it did. A camera that is not lost is where it was a moment ago, whatever may
    hide the rest. offered: how many keypoints the view has; last: world_from_cam when it was
    tracked last.
    """
    is_near = _is_near(located, local_map, last)
    if is_near and not is_lost:
        return True
    in_view = local_map.in_view(located.pose.cam_from_world, sensor.half_size)
    usual = local_map.found[in_view] / local_map.visible[in_view]
    likely = usual * _as_large(local_map, located.world_from_cam[:3, 3])[in_view]
    if likely.sum() < _REMAINING * usual.sum():
        return False
    likely *= min(1.0, offered / max(likely.sum(), 1.0))  # no more than there are keypoints
    if len(located) >= (_FOUND_NEAR if is_near else _FOUND) * likely.sum():
        return True
    side = int(np.clip(np.sqrt(likely.sum() / _TELLING), 1, _CELLS))
    points = transform(located.pose.cam_from_world, local_map.positions[in_view])
    place = points[:, :2] / (points[:, 2:] * sensor.half_size)  # -1 to 1
    column, row = ((place + 1) / 2 * side).astype(int).clip(0, side - 1).T
    cell, is_found = row * side + column, np.isin(in_view, located.rows)
    expected, found = (np.bincount(cell, what, side**2) for what in (likely, is_found))
    agrees = found >= _FOUND_IN_CELL * expected
    filled = np.count_nonzero(agrees & (expected >= _TELLING))
    agreeing = expected[agrees].sum()
    return bool(agreeing >= _AGREEING * likely.sum() and filled >= _FILLED * side**2)


def _as_large(local_map: LocalMap, position: Array) -> Array:
    """How much of each landmark's looks (L,) remains at a position, for how large it looks there.

    1 where a keyframe saw it from the same distance, 0 where none sees it.
    """
    away = np.linalg.norm(local_map.positions - position, axis=1)
    ratio = np.full(len(local_map), np.inf)  # logarithm; that of the keyframe at the nearest one
    for keyframe in local_map.keyframes:
        rows = keyframe.rows
        seen = np.linalg.norm(local_map.positions[rows] - keyframe.world_from_cam[:3, 3], axis=1)
        ratio[rows] = np.minimum(ratio[rows], np.abs(np.log(away[rows] / seen)))
    return np.asarray(np.exp(-((ratio / _SCALE) ** 2)))


def _is_near(located: Located, local_map: LocalMap, last: Array) -> bool:
    some = local_map.positions[located.rows[::_SOME]]
    distances = np.linalg.norm(transform(located.pose.cam_from_world, some), axis=1)
    moved = np.linalg.norm(located.world_from_cam[:3, 3] - last[:3, 3])
    return bool(moved < _NEAR * median(distances))
