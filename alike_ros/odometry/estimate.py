"""What the odometry says about one frame."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from alike_ros.geometry import Array


class Status(Enum):
    """State of the odometry after a frame."""

    INITIALISING = "initialising"  # no map yet: too few depths; mono: too little parallax
    TRACKING = "tracking"
    DEGRADED = "degraded"  # no match for a moment: the pose is a prediction
    LOST = "lost"


@dataclass(frozen=True)
class Estimate:
    """The pose at one frame, or why there is none.

    world_from_cam (4, 4) is None unless status is TRACKING or DEGRADED; world is the optical frame
    of the first camera.

    covariance (6, 6) is of (translation, rotation) in the camera's frame, m^2 and rad^2:
    world_from_cam_true = world_from_cam @ exp(error); None where it is unknown. It is relative to
    the first camera, which is exact by definition: that of this view in the map, from what was
    matched, plus that of the keyframe by which it is tracked. A keyframe has what its window's
    adjustment leaves open, plus what the held keyframes of the window bring along, so that it
    grows from keyframe to keyframe as long as no older one is seen again; no later adjustment
    makes it larger. Both are as large as residuals say, which neighbours in the picture have in
    common on a real camera; a keyframe's is not smaller than the settings say. A wrong scale of
    depth, baseline or focal length, or a direction that is off, leaves no residual:
    tracking.calibration_error is added, by the way and the turn that are left since the first
    camera. Wrong stamps are not in it.
    In mono, lengths are in the map's unit, whose own drift is not told either.

    own_covariance (6, 6) is the part of it that no other frame has in common with this one: that
    of the view in the map, or of the prediction from the last one. It tells how sure a velocity
    is. None where the pose is.
    """

    stamp_ns: int
    status: Status
    world_from_cam: Array | None = None
    covariance: Array | None = None
    num_matches: int = 0
    num_inliers: int = 0
    is_keyframe: bool = False  # this frame became a keyframe
    metric_scale: bool = False  # False: mono, lengths are in an arbitrary unit
    map_index: int = 0  # counts new maps: poses of different maps may be apart
    own_covariance: Array | None = None
