"""Visual odometry, frame to keyframe: mono, RGB-D and stereo in one tracker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from alike_ros.camera import Camera, StereoCamera
from alike_ros.config import Config
from alike_ros.errors import ConfigError, DataError
from alike_ros.features import Features
from alike_ros.geometry import Array, adjoint, inverse, parallax_deg, transform, triangulate
from alike_ros.matching import match_mutual
from alike_ros.odometry.estimate import Estimate, Status
from alike_ros.odometry.keyframe import Keyframe
from alike_ros.odometry.pose import PoseResult, pose_from_points, relative_pose
from alike_ros.odometry.view import View, check_size, sampled_depth, stereo_depth


class Matcher(Protocol):
    """Descriptors (N, D) and (M, D), lowest similarity -> index pairs (K, 2)."""

    def __call__(
        self, descriptors0: NDArray[np.float32], descriptors1: NDArray[np.float32], floor: float, /
    ) -> NDArray[np.int64]:
        """See `match_mutual`."""
        ...


#: Kept keyframes that a frame is matched with when the current one no longer serves.
_TRIED = 3


@dataclass(frozen=True)
class _Located:
    """A view against a keyframe: its pose, if any, and what matched (K, 2)."""

    keyframe: Keyframe
    pose: PoseResult | None
    num_matches: int  # with keypoints whose landmark is known
    unknown: NDArray[np.int64]  # with the others
    inliers: NDArray[np.int64]

    @property
    def num_inliers(self) -> int:
        return len(self.inliers)

    @property
    def overlap(self) -> float:
        """Inliers as a share of the most that any frame had with this keyframe."""
        return self.num_inliers / max(self.keyframe.most_inliers, self.num_inliers, 1)


class VisualOdometry:
    """Follows a camera: features in, poses out; no files, clocks or topics.

    Every frame is matched with the current keyframe. Points whose depth is known, measured or
    triangulated, give the pose (PnP). When too little of the keyframe is left in view, a kept one
    that serves better takes its place, else the frame itself, which takes the landmarks along.
    """

    def __init__(
        self, camera: Camera | StereoCamera, config: Config, match: Matcher = match_mutual
    ) -> None:
        if config.mode == "stereo" and not isinstance(camera, StereoCamera):
            raise ConfigError("mode stereo needs a StereoCamera: two calibrations and a baseline")
        self.config = config
        self.camera = camera.left if isinstance(camera, StereoCamera) else camera
        self._stereo = camera if isinstance(camera, StereoCamera) else None
        self._match_mutual = match
        last = np.array([self.camera.width - 1, self.camera.height - 1])
        corners = self.camera.bearings(np.stack([np.zeros(2), last]))
        self._field_of_view = np.abs(corners).max(axis=0)
        self.reset()

    def reset(self) -> None:
        """Forgets everything; the next frame is the new origin of the world."""
        self._keyframes: list[Keyframe] = []  # the last one is current
        self._lost_frames = 0
        self._last_stamp_ns: int | None = None

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
        if not self._keyframes:
            return self._start(view)
        if self._keyframes[-1].known.any():
            return self._localise(view)
        return self._initialise(view, self._keyframes[-1])

    def _view(
        self, stamp_ns: int, features: Features, depth: NDArray[Any] | None, right: Features | None
    ) -> View:
        if self._last_stamp_ns is not None and stamp_ns <= self._last_stamp_ns:
            raise DataError(f"stamp {stamp_ns} does not follow {self._last_stamp_ns}: drop it")
        self._last_stamp_ns = stamp_ns
        bearings = self.camera.bearings(features.keypoints)
        depths = self._depths(features, depth, right)
        # both a disparity's and a structured-light camera's error grows with the depth's square
        noise = self.config.depth.noise
        if self.config.mode == "stereo" and self._stereo is not None:
            noise = self.config.depth.disparity_noise_px / (self.camera.fx * self._stereo.baseline)
        return View(stamp_ns, bearings, features.descriptors, depths, noise * depths**2)

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
        """The first frame: the origin of the world, if there is anything to see."""
        keyframe = Keyframe(view, np.eye(4), np.zeros((6, 6)))
        metric = self.config.mode != "mono"
        enough = keyframe.known.sum() if metric else len(view.bearings)
        if enough < self.config.tracking.min_inliers:
            return self._estimate(view, Status.INITIALISING)
        self._keyframes = [keyframe]
        self._previous = keyframe  # the last frame whose pose is known
        if not metric:
            return self._estimate(view, Status.INITIALISING, is_keyframe=True)
        return self._tracked(keyframe, num_matches=0, num_inliers=int(enough), is_keyframe=True)

    def _initialise(self, view: View, first: Keyframe) -> Estimate:
        """Mono: the first landmarks, from two views with enough parallax.

        The unit of length is the distance of these two views' cameras.
        """
        tracking = self.config.tracking
        matches = self._match(first, view)
        bearings0, bearings1 = first.view.bearings[matches[:, 0]], view.bearings[matches[:, 1]]
        result = relative_pose(bearings0, bearings1, self._max_error)
        if result is None or result.num_inliers < tracking.min_inliers:
            return self._restart(view, len(matches))
        points = triangulate(bearings0, bearings1, result.cam_from_world)[result.inliers]
        world_from_cam = inverse(result.cam_from_world)
        parallax = parallax_deg(points, np.zeros(3), world_from_cam[:3, 3])
        if np.median(parallax) < self.config.keyframe.start_parallax_deg:
            return self._estimate(view, Status.INITIALISING, num_matches=len(matches))
        first.triangulate(view, world_from_cam, matches[result.inliers], 0.0, self._max_error)
        return self._localise(view)

    def _restart(self, view: View, num_matches: int) -> Estimate:
        """Mono: the first view is out of sight, so the world starts here."""
        self._keyframes = []
        estimate = self._start(view)
        return self._estimate(view, estimate.status, num_matches=num_matches, is_keyframe=True)

    def _localise(self, view: View) -> Estimate:
        """The pose against the current keyframe, else against the best of the others."""
        located = self._locate(view, self._keyframes[-1])
        if located.overlap < self.config.keyframe.min_overlap:
            others = [self._locate(view, keyframe) for keyframe in self._nearest(located)]
            located = max([located, *others], key=lambda other: other.num_inliers)
        if located.pose is None:
            self._lost_frames += 1
            return self._estimate(view, Status.LOST, num_matches=located.num_matches)
        self._lost_frames = 0
        current = self._learn(view, located, located.pose)
        fading = located.overlap < self.config.keyframe.min_overlap
        reference = current if fading else located.keyframe
        is_new = all(reference is not keyframe for keyframe in self._keyframes)
        self._make_current(reference)
        self._previous = current
        return self._tracked(current, located.num_matches, located.num_inliers, is_new)

    def _locate(self, view: View, keyframe: Keyframe) -> _Located:
        """The pose of a view by the landmarks of one keyframe."""
        tracking = self.config.tracking
        matches = self._match(keyframe, view)
        known = keyframe.known[matches[:, 0]]
        i, j = matches[known].T
        pose = pose_from_points(
            keyframe.landmarks[i],
            keyframe.spread[i],
            view.bearings[j],
            self._max_error,
            tracking.ransac_iterations,
        )
        if pose is None or pose.num_inliers < tracking.min_inliers:
            return _Located(keyframe, None, len(i), matches[:0], matches[:0])
        return _Located(keyframe, pose, len(i), matches[~known], matches[known][pose.inliers])

    def _nearest(self, located: _Located) -> list[Keyframe]:
        """The frame before, and some kept keyframes: those that see most of what it sees now.

        While lost, a few more at every frame, until all have had their turn.
        """
        cam_from_world = (
            inverse(self._previous.world_from_cam)
            if located.pose is None
            else located.pose.cam_from_world
        )
        others = sorted(
            self._keyframes[:-1], key=lambda keyframe: -self._in_view(keyframe, cam_from_world)
        )
        first = self._lost_frames * _TRIED % max(len(others), 1)
        return [self._previous, *others[first : first + _TRIED]]

    def _in_view(self, keyframe: Keyframe, cam_from_world: Array) -> int:
        """How many landmarks of a keyframe lie in the image of a camera."""
        x, y, z = transform(cam_from_world, keyframe.landmarks[keyframe.known]).T
        half_width, half_height = self._field_of_view
        return int(((z > 0) & (abs(x) < half_width * z) & (abs(y) < half_height * z)).sum())

    def _make_current(self, keyframe: Keyframe) -> None:
        """Moves a keyframe, old or new, to the end of the list, whose length is bounded."""
        kept = [other for other in self._keyframes if other is not keyframe]
        self._keyframes = [*kept[-(self.config.keyframe.kept - 1) :], keyframe]

    def _learn(self, view: View, located: _Located, pose: PoseResult) -> Keyframe:
        """The view as a keyframe, after its parent has gained landmarks from it."""
        parent = located.keyframe
        world_from_cam = inverse(pose.cam_from_world)
        seen = np.concatenate([located.inliers, located.unknown])
        minimum = self.config.keyframe.min_parallax_deg
        parent.triangulate(view, world_from_cam, seen, minimum, self._max_error)
        parent.most_inliers = max(parent.most_inliers, located.num_inliers)
        # what one step adds stands in the new camera's frame, what came before is carried over
        to_new = adjoint(pose.cam_from_world @ parent.world_from_cam)
        covariance = to_new @ parent.covariance @ to_new.T + pose.covariance
        current = Keyframe(view, world_from_cam, covariance)
        current.inherit(parent, seen)
        return current

    def _match(self, keyframe: Keyframe, view: View) -> NDArray[np.int64]:
        floor = self.config.matching.min_similarity
        return self._match_mutual(keyframe.view.descriptors, view.descriptors, floor)

    @property
    def _max_error(self) -> float:
        """Largest reprojection error of an inlier, at z = 1."""
        return self.config.tracking.max_reprojection_px / self.camera.fx

    def _tracked(
        self, current: Keyframe, num_matches: int, num_inliers: int, is_keyframe: bool
    ) -> Estimate:
        return self._estimate(
            current.view,
            Status.TRACKING,
            world_from_cam=current.world_from_cam,
            covariance=current.covariance,
            num_matches=num_matches,
            num_inliers=num_inliers,
            is_keyframe=is_keyframe,
        )

    def _estimate(self, view: View, status: Status, **values: Any) -> Estimate:
        metric = self.config.mode != "mono"
        return Estimate(view.stamp_ns, status, metric_scale=metric, **values)
