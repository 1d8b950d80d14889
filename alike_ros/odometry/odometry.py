"""Visual odometry: mono, RGB-D and stereo in one tracker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from alike_ros.camera import Camera, StereoCamera
from alike_ros.config import Config
from alike_ros.errors import ConfigError, DataError
from alike_ros.features import Features
from alike_ros.geometry import (
    Array,
    adjoint,
    from_Rt,
    inverse,
    parallax_deg,
    rotation_exp,
    rotation_log,
    transform,
    triangulate,
)
from alike_ros.matching import match_mutual, match_pairs, pairs_near
from alike_ros.odometry.bundle_adjustment import Noise
from alike_ros.odometry.estimate import Estimate, Status
from alike_ros.odometry.local_map import Keyframe, LocalMap, Rows
from alike_ros.odometry.mapping import Mapper
from alike_ros.odometry.pose import PoseResult, pose_from_points, relative_pose
from alike_ros.odometry.view import View, check_size, sampled_depth, stereo_depth


class Matcher(Protocol):
    """Descriptors (N, D) and (M, D), lowest similarity -> index pairs (K, 2)."""

    def __call__(
        self, descriptors0: NDArray[np.float32], descriptors1: NDArray[np.float32], floor: float, /
    ) -> NDArray[np.int64]:
        """See `match_mutual`."""
        ...


class Gyroscope(Protocol):
    """Start and end, nanoseconds -> how the camera turned meanwhile."""

    def __call__(self, start_ns: int, end_ns: int, /) -> Array | None:
        """Rotation (3, 3), start_from_end, in the camera's axes; None where it is unknown."""
        ...


def no_gyroscope(start_ns: int, end_ns: int) -> Array | None:
    """Nothing was measured."""
    return None


#: Keyframes that a lost frame is matched with; other ones at the next frame.
_TRIED = 3
#: A prediction is believed when it finds this share of the last frame's inliers.
_BELIEVED = 0.5
#: Where it is not, landmarks are looked for in a circle larger by this factor.
_WIDER = 4.0
#: Landmarks outside the image by this share of its size may come into view.
_MARGIN = 1.3
#: Of a camera in the hand, rad/s^2: what a prediction is off by.
_ANGULAR_ACCELERATION = 2.0


@dataclass(frozen=True)
class _Located:
    """A view in the map: its pose, and what agrees with it: rows (K,) at keypoints (K,)."""

    pose: PoseResult
    num_matches: int
    rows: Rows
    keypoints: Rows


@dataclass(frozen=True)
class _Moment:
    """A pose of the past, from which the next one is predicted."""

    stamp_ns: int
    world_from_cam: Array
    covariance: Array


class VisualOdometry:
    """Follows a camera: features in, poses out; no files, clocks or topics.

    A frame is matched with the landmarks that lie in view of its predicted pose, else with kept
    keyframes; points whose place is known give the pose (PnP). When too little of what a keyframe
    saw is left, the frame becomes one itself: it adds landmarks, and bundle adjustment moves all
    that it sees into place.
    """

    def __init__(
        self,
        camera: Camera | StereoCamera,
        config: Config,
        match: Matcher = match_mutual,
        background: bool = False,
        gyroscope: Gyroscope = no_gyroscope,
    ) -> None:
        """background: bundle adjustment in a thread of its own; else every frame waits for it."""
        if config.mode == "stereo" and not isinstance(camera, StereoCamera):
            raise ConfigError("mode stereo needs a StereoCamera: two calibrations and a baseline")
        self.config = config
        self.camera = camera.left if isinstance(camera, StereoCamera) else camera
        self._stereo = camera if isinstance(camera, StereoCamera) else None
        self._match_mutual = match
        self._background = background
        self._gyroscope = gyroscope
        last = np.array([self.camera.width - 1, self.camera.height - 1])
        corners = self.camera.bearings(np.stack([np.zeros(2), last]))
        self._half_size = np.abs(corners).max(axis=0)  # of the image, at z = 1
        self.reset()

    def reset(self) -> None:
        """Forgets everything; the next frame is the new origin of the world."""
        self._last_stamp_ns: int | None = None
        self._frame = 0
        self._map_index = 0
        self._new_map(np.eye(4), np.zeros((6, 6)))

    def _new_map(self, world_from_cam: Array, covariance: Array) -> None:
        """The next frame starts a map at this pose."""
        self._map: LocalMap | None = None
        self._origin = world_from_cam, covariance
        self._past: list[_Moment] = []  # the last two tracked frames
        self._last_inliers = 0
        self._lost_frames = 0

    @property
    def landmarks(self) -> Array:
        """The map's points (L, 3), in the world; (0, 3) without a map."""
        return np.empty((0, 3)) if self._map is None else self._map.positions

    @property
    def keyframe_poses(self) -> Array:
        """The kept keyframes' world_from_cam (K, 4, 4); (0, 4, 4) without a map."""
        keyframes = [] if self._map is None else self._map.keyframes
        return np.reshape([keyframe.world_from_cam for keyframe in keyframes], (-1, 4, 4))

    def track(
        self,
        stamp_ns: int,
        features: Features,
        depth: NDArray[Any] | None = None,
        right: Features | None = None,
    ) -> Estimate:
        """The pose at one frame. Stamps ascend; raises DataError for what the mode lacks.

        depth (H, W): metres along z, NaN where unknown, registered to the image (rgbd); right:
        features of the right image (stereo).
        """
        view = self._view(stamp_ns, features, depth, right)
        self._frame += 1
        if self._map is None:
            return self._start(view)
        self._mapper.collect()
        if not len(self._map):
            return self._initialise(view, self._map)
        located = self._locate(view, self._map)
        if located is None:
            return self._without_pose(view, self._map)
        return self._tracked(view, self._map, located)

    def _view(
        self, stamp_ns: int, features: Features, depth: NDArray[Any] | None, right: Features | None
    ) -> View:
        if self._last_stamp_ns is not None and stamp_ns <= self._last_stamp_ns:
            raise DataError(f"stamp {stamp_ns} does not follow {self._last_stamp_ns}: drop it")
        self._last_stamp_ns = stamp_ns
        bearings = self.camera.bearings(features.keypoints)
        depths = self._depths(features, depth, right)
        return View(
            stamp_ns, bearings, features.descriptors, depths, self._noise.inverse_depth * depths**2
        )

    def _depths(
        self, features: Features, depth: NDArray[Any] | None, right: Features | None
    ) -> Array:
        """Measured depths (N,), NaN where unknown: everywhere in mono."""
        config = self.config
        if config.mode == "rgbd":
            if depth is None:
                raise DataError("mode rgbd needs a depth image with every frame")
            check_size(depth, self.camera)
            return sampled_depth(depth, features.keypoints, config.depth)
        if config.mode == "stereo" and self._stereo is not None:
            if right is None:
                raise DataError("mode stereo needs the right image's features with every frame")
            floor = config.matching.min_similarity
            return stereo_depth(self._stereo, features, right, config.depth, floor)
        return np.full(len(features), np.nan)

    def _start(self, view: View) -> Estimate:
        """The first frame of a map, if there is anything to see."""
        world_from_cam, covariance = self._origin
        keyframe = Keyframe(view, world_from_cam, covariance)
        metric = self.config.mode != "mono"
        enough = np.isfinite(view.depths).sum() if metric else len(view.bearings)
        if enough < self.config.tracking.min_inliers:
            return self._estimate(view, Status.INITIALISING)
        self._map = LocalMap(view.descriptors.shape[1])
        self._mapper = Mapper(
            self._map, self.config, self._noise, self._max_error, self._match, self._background
        )
        self._mapper.insert(keyframe, adjust=False)
        if not metric:
            return self._estimate(view, Status.INITIALISING, is_keyframe=True)
        self._remember(view, world_from_cam, covariance, len(self._map))
        return self._estimate(
            view,
            Status.TRACKING,
            world_from_cam=world_from_cam,
            covariance=covariance,
            num_inliers=len(self._map),
            is_keyframe=True,
        )

    def _initialise(self, view: View, local_map: LocalMap) -> Estimate:
        """Mono: the first landmarks, from two views with enough parallax.

        The unit of length is the distance of these two views' cameras.
        """
        first = local_map.keyframes[0]
        matches = self._match(first.view.descriptors, view.descriptors)
        bearings0, bearings1 = first.view.bearings[matches[:, 0]], view.bearings[matches[:, 1]]
        result = relative_pose(bearings0, bearings1, self._max_error)
        if result is None or result.num_inliers < self.config.tracking.min_inliers:
            return self._restart(view, len(matches))
        points = triangulate(bearings0, bearings1, result.cam_from_world)[result.inliers]
        first_from_cam = inverse(result.cam_from_world)
        parallax = parallax_deg(points, np.zeros(3), first_from_cam[:3, 3])
        if np.median(parallax) < self.config.keyframe.start_parallax_deg:
            return self._estimate(view, Status.INITIALISING, num_matches=len(matches))
        second = Keyframe(view, first.world_from_cam @ first_from_cam, first.covariance)
        second.last_used = self._frame
        self._mapper.insert_pair(second, matches[result.inliers])
        self._remember(view, second.world_from_cam, second.covariance, len(local_map))
        return self._estimate(
            view,
            Status.TRACKING,
            world_from_cam=second.world_from_cam,
            covariance=second.covariance,
            num_matches=len(matches),
            num_inliers=result.num_inliers,
            is_keyframe=True,
        )

    def _restart(self, view: View, num_matches: int) -> Estimate:
        """Mono: the first view is out of sight, so the map starts here."""
        self._map = None
        estimate = self._start(view)
        return self._estimate(view, estimate.status, num_matches=num_matches, is_keyframe=True)

    def _locate(self, view: View, local_map: LocalMap) -> _Located | None:
        """The pose of a view: near the predicted one, else farther from it, else by keyframes."""
        guess = inverse(self._predicted(view.stamp_ns))
        radius = self.config.tracking.search_radius_px / self.camera.fx
        best = self._near(view, local_map, guess, radius)
        if not self._is_believed(best):
            best = _better(best, self._near(view, local_map, guess, _WIDER * radius))
        if not self._is_believed(best):
            for keyframe in self._tried(local_map):
                best = _better(best, self._by_keyframe(view, local_map, keyframe))
        return best

    def _is_believed(self, located: _Located | None) -> bool:
        """Whether a pose explains enough of what the last frame saw."""
        return located is not None and len(located.rows) >= _BELIEVED * self._last_inliers

    def _near(
        self, view: View, local_map: LocalMap, cam_from_world: Array, radius: float
    ) -> _Located | None:
        """The pose by landmarks that a guessed pose puts within a radius of keypoints."""
        rows = local_map.in_view(cam_from_world, _MARGIN * self._half_size)
        points = transform(cam_from_world, local_map.positions[rows])
        matches = match_pairs(
            local_map.descriptors[rows],
            view.descriptors,
            self.config.matching.min_similarity,
            pairs_near(points[:, :2] / points[:, 2:], view.bearings, radius),
        )
        return self._pose(view, local_map, rows[matches[:, 0]], matches[:, 1])

    def _by_keyframe(self, view: View, local_map: LocalMap, keyframe: Keyframe) -> _Located | None:
        """The pose by the landmarks that one keyframe sees."""
        seen = np.nonzero(keyframe.landmarks >= 0)[0]
        matches = self._match(keyframe.view.descriptors[seen], view.descriptors)
        rows = keyframe.landmarks[seen[matches[:, 0]]]
        found = self._pose(view, local_map, rows, matches[:, 1])
        if found is None:
            return None
        radius = self.config.tracking.search_radius_px / self.camera.fx
        wider = self._near(view, local_map, found.pose.cam_from_world, radius)
        return found if wider is None or len(wider.rows) < len(found.rows) else wider

    def _pose(
        self, view: View, local_map: LocalMap, rows: Rows, keypoints: Rows
    ) -> _Located | None:
        """The pose by matched landmarks, where enough of them agree."""
        pose = pose_from_points(
            local_map.positions[rows],
            local_map.spread[rows],
            view.bearings[keypoints],
            self._max_error,
            self.config.tracking.ransac_iterations,
        )
        if pose is None or pose.num_inliers < self.config.tracking.min_inliers:
            return None
        return _Located(pose, len(rows), rows[pose.inliers], keypoints[pose.inliers])

    def _tried(self, local_map: LocalMap) -> list[Keyframe]:
        """Some keyframes: those that see most of what the last pose had in view.

        While lost, a few more at every frame, until all have had their turn.
        """
        rows = local_map.in_view(inverse(self._past[-1].world_from_cam), self._half_size)
        order = np.argsort(-local_map.shared(rows), kind="stable")
        first = self._lost_frames * _TRIED % len(order)
        return [local_map.keyframes[i] for i in order[first : first + _TRIED]]

    def _tracked(self, view: View, local_map: LocalMap, located: _Located) -> Estimate:
        """Moves on, with the view as a keyframe where it is time for one."""
        world_from_cam = inverse(located.pose.cam_from_world)
        in_view = local_map.in_view(located.pose.cam_from_world, self._half_size)
        local_map.count_sightings(in_view, located.rows)
        shared = local_map.shared(located.rows)
        reference = local_map.keyframes[int(shared.argmax())]
        reference.last_used = self._frame
        reference.most_inliers = max(reference.most_inliers, int(shared.max()))
        covariance = located.pose.covariance + _carried(reference, world_from_cam)
        is_keyframe = self._is_due(local_map, reference, int(shared.max()), located)
        if is_keyframe:
            keyframe = Keyframe(view, world_from_cam, covariance)
            keyframe.last_used = self._frame
            local_map.observe(keyframe, located.rows, located.keypoints)
            self._mapper.insert(keyframe)
            world_from_cam, covariance = keyframe.world_from_cam, keyframe.covariance
        self._remember(view, world_from_cam, covariance, len(located.rows))
        return self._estimate(
            view,
            Status.TRACKING,
            world_from_cam=world_from_cam,
            covariance=covariance,
            num_matches=located.num_matches,
            num_inliers=len(located.rows),
            is_keyframe=is_keyframe,
        )

    def _is_due(
        self, local_map: LocalMap, reference: Keyframe, shared: int, located: _Located
    ) -> bool:
        """Whether little is left of what the most alike keyframe saw, or it saw it elsewise."""
        keyframe = self.config.keyframe
        if shared < keyframe.min_overlap * reference.most_inliers:
            return True
        centre = inverse(located.pose.cam_from_world)[:3, 3]
        points = local_map.positions[located.rows]
        parallax = parallax_deg(points, reference.world_from_cam[:3, 3], centre)
        return float(np.median(parallax)) > keyframe.max_parallax_deg

    def _without_pose(self, view: View, local_map: LocalMap) -> Estimate:
        """Bridges a short gap by the velocity; is lost in a longer one, until a new map starts."""
        tracking = self.config.tracking
        last = self._past[-1]
        self._lost_frames += 1
        if self._gap_s(view.stamp_ns) <= tracking.bridge_s:
            pose = self._predicted(view.stamp_ns)
            to_cam = adjoint(inverse(pose) @ last.world_from_cam)
            covariance = to_cam @ last.covariance @ to_cam.T + self._drift(view, local_map)
            return self._estimate(
                view, Status.DEGRADED, world_from_cam=pose, covariance=covariance
            )
        countdown = self.config.reset_countdown
        if countdown and self._lost_frames >= countdown:
            self._new_map(last.world_from_cam, last.covariance)
            self._map_index += 1
        return self._estimate(view, Status.LOST)

    def _drift(self, view: View, local_map: LocalMap) -> Array:
        """Covariance (6, 6) of a prediction: the velocity changes like that of a hand-held camera.

        Shifts are taken to look as large as turns, which needs no unit of length.
        """
        turn = _ANGULAR_ACCELERATION / 2 * self._gap_s(view.stamp_ns) ** 2
        points = transform(inverse(self._past[-1].world_from_cam), local_map.positions)
        shift = turn * float(np.median(np.linalg.norm(points, axis=1)))
        return np.diag([shift**2] * 3 + [turn**2] * 3)

    def _gap_s(self, stamp_ns: int) -> float:
        """Seconds since the last tracked frame."""
        return (stamp_ns - self._past[-1].stamp_ns) * 1e-9

    def _remember(
        self, view: View, world_from_cam: Array, covariance: Array, inliers: int
    ) -> None:
        """What the next frame is predicted from; a velocity across a long gap says nothing."""
        known = self._past and self._gap_s(view.stamp_ns) <= self.config.tracking.bridge_s
        before = self._past[-1:] if known else []
        self._past = [*before, _Moment(view.stamp_ns, world_from_cam, covariance)]
        self._last_inliers = inliers
        self._lost_frames = 0

    def _predicted(self, stamp_ns: int) -> Array:
        """The pose at a time, world_from_cam: at constant velocity, but not for long.

        A gyroscope knows the rotation better.
        """
        before, last = self._past[0], self._past[-1]
        turn = self._gyroscope(last.stamp_ns, stamp_ns)
        if len(self._past) < 2:
            return last.world_from_cam @ from_Rt(np.eye(3) if turn is None else turn, np.zeros(3))
        ahead_s = min(self._gap_s(stamp_ns), self.config.tracking.bridge_s)
        share = ahead_s * 1e9 / (last.stamp_ns - before.stamp_ns)
        step = inverse(before.world_from_cam) @ last.world_from_cam
        if turn is None:
            turn = rotation_exp(share * rotation_log(step[:3, :3]))
        return last.world_from_cam @ from_Rt(turn, share * step[:3, 3])

    def _match(
        self, descriptors0: NDArray[np.float32], descriptors1: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        floor = self.config.matching.min_similarity
        return self._match_mutual(descriptors0, descriptors1, floor)

    @property
    def _max_error(self) -> float:
        """Largest reprojection error of an inlier, at z = 1."""
        return self.config.tracking.max_reprojection_px / self.camera.fx

    @property
    def _noise(self) -> Noise:
        """Of the measurements.

        Both a disparity's and a structured-light camera's error is the same at any inverse depth.
        """
        depth = self.config.depth
        keypoint = self.config.tracking.keypoint_noise_px / self.camera.fx
        if self._stereo is not None and self.config.mode == "stereo":
            pixels = self.camera.fx * self._stereo.baseline
            return Noise(keypoint, depth.disparity_noise_px / pixels)
        return Noise(keypoint, depth.noise)

    def _estimate(self, view: View, status: Status, **values: Any) -> Estimate:
        metric = self.config.mode != "mono"
        return Estimate(
            view.stamp_ns, status, metric_scale=metric, map_index=self._map_index, **values
        )


def _better(located0: _Located | None, located1: _Located | None) -> _Located | None:
    """The one with more inliers."""
    if located0 is None or located1 is None:
        return located0 or located1
    return located1 if len(located1.rows) > len(located0.rows) else located0


def _carried(reference: Keyframe, world_from_cam: Array) -> Array:
    """Covariance of a keyframe's pose, in the frame of a camera that is tracked by it."""
    to_cam = adjoint(inverse(world_from_cam) @ reference.world_from_cam)
    return np.asarray(to_cam @ reference.covariance @ to_cam.T)
