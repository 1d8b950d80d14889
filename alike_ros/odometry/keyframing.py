"""When a view that is tracked becomes a keyframe."""

from __future__ import annotations

import numpy as np

from alike_ros.geometry import parallax_deg
from alike_ros.odometry.local_map import Keyframe, LocalMap, Rows
from alike_ros.odometry.localisation import Located
from alike_ros.odometry.noise import median
from alike_ros.odometry.sensor import Sensor
from alike_ros.odometry.view import View

#: A keyframe agrees with this share of what it is matched with,
_AGREEING = 0.4
#: unless inliers have come down to this multiple of the fewest that count as tracked.
_SAFE = 2
#: There, a map is poor that has less than this share of the view's keypoints where it looks.
_POOR = 0.5


def is_due(
    view: View,
    located: Located,
    reference: Keyframe,
    shared: Rows,
    local_map: LocalMap,
    sensor: Sensor,
) -> bool:
    """Whether little is left of what the most alike keyframe saw, or all alike saw it elsewise.

    shared (K,): landmarks that each keyframe shares with the view, reference most of them. A view
    that hardly agrees with the map is blurred or bent by a rolling shutter: a better one will
    come, unless the map is about to go out of sight. Where it is poor, as after a dark first
    image, any view helps.
    """
    config = sensor.config.keyframe
    is_safe = len(located) > _SAFE * sensor.config.tracking.min_inliers
    if is_safe and len(located) < _AGREEING * located.num_matches:
        return False
    if shared.max() < config.min_overlap * reference.most_inliers:
        return True
    if not is_safe:
        in_view = local_map.in_view(located.pose.cam_from_world, sensor.half_size)
        if len(in_view) < _POOR * len(view.bearings):
            return True
    # the most alike may be an old one, from which a view stays away however many come between
    alike = np.nonzero(shared >= config.min_overlap * shared.max())[0]
    centres = np.stack([local_map.keyframes[i].world_from_cam[:3, 3] for i in alike])
    centre = located.world_from_cam[:3, 3]
    nearest = centres[np.linalg.norm(centres - centre, axis=1).argmin()]
    points = local_map.positions[located.rows]
    return median(parallax_deg(points, nearest, centre)) > config.max_parallax_deg
