"""Whether a camera is where its view says: places may look alike."""

from __future__ import annotations

import numpy as np

from alike_ros.geometry import Array, transform
from alike_ros.odometry.local_map import LocalMap
from alike_ros.odometry.localisation import Located
from alike_ros.odometry.noise import median
from alike_ros.odometry.sensor import Sensor

#: Share of what is usually found in a place, for a camera to be there,
_FOUND = 0.4
#: and for one that is near where it was last: on its way, what is close goes out of sight.
_FOUND_NEAR = 0.15
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
#: and these cells hold this share of all that is usually found,
_AGREEING = 0.8
#: and are this share of the picture.
_FILLED = 3 / 8


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
    right place either most are found, or some all over the picture. A camera that is not lost is
    where it was a moment ago, whatever may hide the rest. offered: how many keypoints the view
    has; last: world_from_cam when it was tracked last.
    """
    is_near = _is_near(located, local_map, last)
    if is_near and not is_lost:
        return True
    in_view = local_map.in_view(located.pose.cam_from_world, sensor.half_size)
    usual = local_map.found[in_view] / local_map.visible[in_view]
    usual *= min(1.0, offered / max(usual.sum(), 1.0))  # no more than there are keypoints
    if len(located) >= (_FOUND_NEAR if is_near else _FOUND) * usual.sum():
        return True
    side = int(np.clip(np.sqrt(usual.sum() / _TELLING), 1, _CELLS))
    points = transform(located.pose.cam_from_world, local_map.positions[in_view])
    place = points[:, :2] / (points[:, 2:] * sensor.half_size)  # -1 to 1
    column, row = ((place + 1) / 2 * side).astype(int).clip(0, side - 1).T
    cell, is_found = row * side + column, np.isin(in_view, located.rows)
    expected, found = (np.bincount(cell, what, side**2) for what in (usual, is_found))
    agrees = found >= _FOUND_IN_CELL * expected
    filled = np.count_nonzero(agrees & (expected >= _TELLING))
    agreeing = expected[agrees].sum()
    return bool(agreeing >= _AGREEING * usual.sum() and filled >= _FILLED * side**2)


def _is_near(located: Located, local_map: LocalMap, last: Array) -> bool:
    some = local_map.positions[located.rows[::_SOME]]
    distances = np.linalg.norm(transform(located.pose.cam_from_world, some), axis=1)
    moved = np.linalg.norm(located.world_from_cam[:3, 3] - last[:3, 3])
    return bool(moved < _NEAR * median(distances))
