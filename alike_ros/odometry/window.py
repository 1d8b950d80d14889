"""What bundle adjustment works on: a copy of a part of the map, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from alike_ros.geometry import Array, transform
from alike_ros.odometry.local_map import Keyframe, LocalMap, Rows
from alike_ros.odometry.noise import Noise
from alike_ros.odometry.prior import Prior

#: Depths further than this many standard deviations from the landmark are left out.
_DEPTH_GATE = 4.0
#: Bearings further than this many standard deviations are left out, too.
_GATE = 10.0
#: A distance that is to keep the scale is at least this share of the longest.
_LONG = 0.1


@dataclass(frozen=True)
class Window:
    """Poses and landmarks, and what was measured of them.

    The first `free` of the poses (n, 4, 4), world_from_cam, move, the rest are held; tethered: the
    one of the first that keeps its distance to the first held one, for want of a scale; covariance
    (n, 6, 6) of them all, as they are. rows (M,) in the map, positions (M, 3) and prior of the
    landmarks; of K observations: camera (K,) counts poses, landmark (K,) counts rows, bearings
    (K, 2), depths (K,), NaN where unknown or not believed; noise: that of keypoints at most,
    that of depths as keyframes found it.
    """

    free: int
    tethered: int | None
    poses: Array
    covariance: Array
    rows: Rows
    positions: Array
    prior: Prior
    camera: Rows
    landmark: Rows
    bearings: Array
    depths: Array
    noise: Noise

    def scaled(self, factor: float) -> Window:
        """The same with lengths multiplied by a factor; the covariance is left as it is."""
        poses = self.poses.copy()
        poses[:, :3, 3] *= factor
        return replace(
            self,
            poses=poses,
            positions=self.positions * factor,
            prior=self.prior.scaled(factor),
            depths=self.depths * factor,
            noise=self.noise.scaled(factor),
        )


def select(
    local_map: LocalMap, size: int, metric: bool, noise: Noise
) -> tuple[list[Keyframe], Window] | None:
    """The newest keyframe, those that see most of what it sees, and their landmarks.

    Other keyframes that see these landmarks are held, so that the window stays in its place.
    Where there are none, its oldest keyframe is. Where one alone is, for want of a scale, the next
    one keeps its distance, and that alone: where two views have put it is not exact. All are
    straightened as the newest is, by what is known of the readout time by now.
    Returns the keyframes in the order of the window's poses as well, the newest first; None where
    nothing is left to move.
    """
    newest = local_map.keyframes[-1]
    free = [newest, *local_map.covisible(newest)[: size - 1]]
    rows = np.nonzero((local_map.observers(free) > 0) & (local_map.observers() >= 2))[0]
    shared = local_map.shared(rows)
    held = [
        keyframe
        for keyframe, count in zip(local_map.keyframes, shared, strict=True)
        if count and keyframe not in free
    ]
    if not held:
        held = [min(free, key=lambda keyframe: keyframe.view.stamp_ns)]
        free = [keyframe for keyframe in free if keyframe is not held[0]]
    if not free:
        return None
    tethered = None if metric or len(held) > 1 else _tethered(free, held[0])
    if newest.exposure is not None:
        local_map.straighten([*free, *held], newest.exposure.readout_s)
    return [*free, *held], _copied(local_map, free, tethered, held, rows, noise)


def _tethered(free: Sequence[Keyframe], held: Keyframe) -> int:
    """Which keeps its distance: the oldest that is not next to the held one."""
    centres = np.stack([keyframe.world_from_cam[:3, 3] for keyframe in free])
    distance = np.linalg.norm(centres - held.world_from_cam[:3, 3], axis=1)
    far = np.nonzero(distance >= _LONG * distance.max())[0]
    return int(min(far.tolist(), key=lambda i: free[i].view.stamp_ns))


def _copied(
    local_map: LocalMap,
    free: Sequence[Keyframe],
    tethered: int | None,
    held: Sequence[Keyframe],
    rows: Rows,
    noise: Noise,
) -> Window:
    """Observations that fit, of landmarks that are seen twice."""
    index = np.full(len(local_map) + 1, -1)
    index[rows] = np.arange(len(rows))
    keyframes = [*free, *held]
    told = [keyframe.depth_noise for keyframe in keyframes if keyframe.depth_noise is not None]
    depth_noise = float(np.median(told)) if told else noise.inverse_depth
    depth_gate = _DEPTH_GATE * max(depth_noise, noise.inverse_depth)
    columns = []
    for number, keyframe in enumerate(keyframes):
        landmark = index[keyframe.landmarks]  # -1 finds the entry behind the last
        keypoint = np.nonzero(landmark >= 0)[0]
        view = keyframe.view
        x, y, z = transform(
            keyframe.cam_from_world, local_map.positions[rows[landmark[keypoint]]]
        ).T
        error = np.hypot(*(np.stack([x, y]) / z - view.bearings[keypoint].T))
        fits = (z > 0) & (error < _GATE * noise.keypoint)
        keypoint, z = keypoint[fits], z[fits]
        depths = view.depths[keypoint]
        off = np.abs(1 / depths - 1 / z) > depth_gate
        columns.append(
            (
                np.full(len(keypoint), number),
                landmark[keypoint],
                view.bearings[keypoint],
                np.where(off, np.nan, depths),
            )
        )
    camera, landmark, bearings, depths = map(np.concatenate, zip(*columns, strict=True))
    used = np.bincount(landmark, minlength=len(rows)) >= 2
    kept = used[landmark]
    return Window(
        len(free),
        tethered,
        np.stack([keyframe.world_from_cam for keyframe in keyframes]),
        np.stack([keyframe.covariance for keyframe in keyframes]),
        rows[used],
        local_map.positions[rows[used]],
        local_map.prior[rows[used]],
        camera[kept],
        (np.cumsum(used) - 1)[landmark[kept]],
        bearings[kept],
        depths[kept],
        Noise(noise.keypoint, depth_noise),
    )
