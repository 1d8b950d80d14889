"""Visual odometry: mono, RGB-D and stereo in one tracker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alike_ros.camera import Camera, StereoCamera
from alike_ros.config import Config
from alike_ros.errors import DataError
from alike_ros.features import Features
from alike_ros.geometry import Array, inverse, rotation_log
from alike_ros.matching import match_mutual
from alike_ros.odometry.adjuster import Background, adjust_now
from alike_ros.odometry.estimate import Estimate, Status
from alike_ros.odometry.fastest import fastest
from alike_ros.odometry.inheritance import carried, stretch
from alike_ros.odometry.keyframing import is_due
from alike_ros.odometry.local_map import Keyframe, LocalMap
from alike_ros.odometry.localisation import Located, Matcher, locate
from alike_ros.odometry.mapping import Mapper
from alike_ros.odometry.motion import Gyroscope, Moment, Motion, no_gyroscope
from alike_ros.odometry.recognition import is_there
from alike_ros.odometry.sensor import Sensor
from alike_ros.odometry.shutter import Exposure, Shutter
from alike_ros.odometry.start import Start, start
from alike_ros.odometry.third_view import Passed
from alike_ros.odometry.view import View

#: Views between the first two keyframes are kept up to so many; then half of them go.
_BETWEEN = 16
#: Keyframes that a lost frame is matched with; other ones at the next frame.
_TRIED = 3


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
        """background: bundle adjustment in a process of its own; else every frame waits for it."""
        fastest()  # compiles now, not at the first frame
        self._sensor = Sensor(camera, config)
        self._cameras = camera
        self._match = match
        self._gyroscope = gyroscope
        self._adjuster = Background() if background else adjust_now
        self.reset()

    @property
    def config(self) -> Config:
        """The settings; new ones hold from the next frame on."""
        return self._sensor.config

    @config.setter
    def config(self, config: Config) -> None:
        if config is self.config:
            return
        self._sensor = Sensor(self._cameras, config)
        self._motion.bridge_s = config.tracking.bridge_s
        if self._map is not None:
            self._mapper.sensor = self._sensor

    def reset(self) -> None:
        """Forgets everything; the next frame is the new origin of the world."""
        self._last_stamp_ns: int | None = None
        self._frame = 0
        self._map_index = 0
        self._shutter = Shutter()
        self._new_map(np.eye(4), np.zeros((6, 6)))

    def _new_map(self, world_from_cam: Array, covariance: Array) -> None:
        """The next view that shows anything starts a map at this pose."""
        self._map: LocalMap | None = None
        self._origin = world_from_cam, covariance
        self._motion = Motion(self.config.tracking.bridge_s, self._gyroscope)
        self._last_inliers = 0
        self._missed_frames = self._lost_frames = 0  # without a pose by matching; without any

    @property
    def readout_s(self) -> float:
        """How long the camera reads an image, as its images tell it, seconds; 0 at first."""
        return self._shutter.readout_s

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
        if self._last_stamp_ns is not None and stamp_ns <= self._last_stamp_ns:
            raise DataError(f"stamp {stamp_ns} does not follow {self._last_stamp_ns}: drop it")
        self._last_stamp_ns = stamp_ns
        self._frame += 1
        view = self._sensor.view(stamp_ns, features, depth, right)
        if self._map is None:
            return self._start(view)
        self._mapper.collect()
        if not len(self._map) and not self._sensor.is_metric:
            return self._initialise(view, self._map)
        motion, gap_s = self._motion, self._motion.gap_s(stamp_ns)
        turn_rate = motion.turn_rate(stamp_ns)
        base = self._reference
        expected = self._shutter.expected(turn_rate, gap_s, base.exposure)
        located = locate(
            view.straightened(expected.bend),
            self._map,
            motion.predicted(stamp_ns),
            self._tried(self._map),
            self._last_inliers,
            self._sensor,
            self._match,
        )
        last, is_lost = motion.last.world_from_cam, not motion.bridges(stamp_ns)
        if located is None or not is_there(
            located, len(view.bearings), self._map, last, is_lost, self._sensor
        ):
            return self._without_pose(view, self._map)
        turn = (inverse(motion.last.world_from_cam) @ located.world_from_cam)[:3, :3]
        turn_rate = rotation_log(turn) / gap_s
        if base.exposure is None:
            base.exposure = Exposure(turn_rate, np.zeros(3), 0.0)
        exposure = self._shutter.learn(expected, located.pose.bend, turn_rate, base.exposure)
        self._map.straighten([base], exposure.readout_s)
        return self._tracked(view, exposure, self._map, located)

    def _start(self, view: View) -> Estimate:
        """The first frame of a map, if there is anything to see."""
        if self._offered(view) < self.config.tracking.min_inliers:
            return self._estimate(view, Status.INITIALISING)
        world_from_cam, covariance = self._origin
        self._map = LocalMap(view.descriptors.shape[1])
        self._mapper = Mapper(self._map, self._sensor, self._match, self._adjuster)
        self._between: list[Passed] = []
        keyframe = self._reference = Keyframe(view, world_from_cam, covariance)
        self._mapper.insert(keyframe, adjust=False)
        if not self._sensor.is_metric:
            return self._estimate(view, Status.INITIALISING, is_keyframe=True)
        landmarks = len(self._map)
        return self._moved_on(keyframe, np.zeros((6, 6)), True, landmarks, landmarks)

    def _offered(self, view: View) -> int:
        """How many landmarks a map has that starts with this view; in mono, how many it may."""
        return int(view.is_sure.sum()) if self._sensor.is_metric else len(view.bearings)

    def _initialise(self, view: View, local_map: LocalMap) -> Estimate:
        """Mono: the first landmarks; where the first view is out of sight, the map starts anew."""
        first = local_map.keyframes[0]
        found = start(first, self._between, view, self._sensor, self._match)
        if isinstance(found, Start):
            first.exposure = found.second.exposure
            self._mapper.insert_pair(found.second, found.pairs)
            agreeing = len(found.pairs)
            return self._moved_on(
                found.second, found.own_covariance, True, found.num_matches, agreeing
            )
        if found.out_of_sight:
            self._map = None
            return replace(self._start(view), num_matches=found.num_matches)
        self._between.append(found.passed)
        if len(self._between) > _BETWEEN:
            self._between = self._between[1::2]
        return self._estimate(view, Status.INITIALISING, num_matches=found.num_matches)

    def _tried(self, local_map: LocalMap) -> Iterator[Keyframe]:
        """Some keyframes: those that see most of what the last pose had in view.

        While lost, a few more at every frame, until all have had their turn.
        """
        last = inverse(self._motion.last.world_from_cam)
        shared = local_map.shared(local_map.in_view(last, self._sensor.half_size))
        order = np.argsort(-shared, kind="stable")
        first = self._missed_frames * _TRIED % len(order)
        for i in order[first : first + _TRIED]:
            yield local_map.keyframes[i]

    def _tracked(
        self, view: View, exposure: Exposure, local_map: LocalMap, located: Located
    ) -> Estimate:
        """Moves on, with the view as a keyframe where it is time for one."""
        in_view = local_map.in_view(located.pose.cam_from_world, self._sensor.half_size)
        local_map.count_sightings(in_view, located.rows)
        shared = local_map.shared(located.rows)
        reference = local_map.keyframes[int(shared.argmax())]
        reference.last_used = self._frame
        self._reference = reference
        reference.most_inliers = max(reference.most_inliers, int(shared.max()))
        pose = located.world_from_cam
        own = located.pose.covariance
        covariance = own + carried(reference, pose)
        tracked = Keyframe(view, pose, covariance, exposure, stretch(reference, pose))
        is_keyframe = is_due(view, located, reference, shared, local_map, self._sensor)
        if is_keyframe:
            local_map.observe(tracked, located.rows, located.keypoints)
            self._mapper.insert(tracked)
        return self._moved_on(tracked, own, is_keyframe, located.num_matches, len(located))

    def _moved_on(
        self,
        tracked: Keyframe,
        own_covariance: Array,
        is_keyframe: bool,
        num_matches: int,
        num_inliers: int,
    ) -> Estimate:
        """The pose of a view that is in its place: the next one is predicted from it."""
        tracked.last_used = self._frame
        stretched = self.config.tracking.calibration_error * tracked.stretch
        pose, covariance = tracked.world_from_cam, tracked.covariance + stretched @ stretched.T
        self._motion.remember(Moment(tracked.bent.stamp_ns, pose, covariance))
        self._last_inliers = num_inliers
        self._missed_frames = self._lost_frames = 0
        return self._estimate(
            tracked.bent,
            Status.TRACKING,
            world_from_cam=pose,
            covariance=covariance,
            own_covariance=own_covariance,
            num_matches=num_matches,
            num_inliers=num_inliers,
            is_keyframe=is_keyframe,
        )

    def _without_pose(self, view: View, local_map: LocalMap) -> Estimate:
        """Bridges a short gap by the velocity; is lost in a longer one, until a new map starts.

        It starts where the bridge ended, and as uncertain as the time since then makes it. A map
        that no view has ever matched gives way to a better one at once.
        """
        motion = self._motion
        self._missed_frames += 1
        distance = local_map.distance(motion.last.world_from_cam)
        predicted = motion.predicted(view.stamp_ns)
        covariance = motion.covariance(view.stamp_ns, distance)
        if self._is_stillborn(view, local_map) or self._is_given_up(view):
            self._new_map(predicted, covariance)
            self._map_index += 1
            return self._start(view)
        if motion.bridges(view.stamp_ns):
            return self._estimate(
                view,
                Status.DEGRADED,
                world_from_cam=predicted,
                covariance=covariance,
                own_covariance=motion.drift(view.stamp_ns, distance),
            )
        self._lost_frames += 1
        return self._estimate(view, Status.LOST)

    def _is_given_up(self, view: View) -> bool:
        """Whether the map has been lost for long enough, and this view may start another.

        In the dark it may not: the map is kept for when there is light again.
        """
        countdown = self.config.reset_countdown
        is_over = 0 < countdown <= self._lost_frames
        return is_over and self._offered(view) >= self.config.tracking.min_inliers

    def _is_stillborn(self, view: View, local_map: LocalMap) -> bool:
        """Whether nothing ever matched the map, which began with a dark view, and this one may do.

        As long as the gap is bridged, only more landmarks are better.
        """
        if local_map.found.max(initial=1) > 1:
            return False
        if self._motion.bridges(view.stamp_ns):
            return self._sensor.is_metric and self._offered(view) > len(local_map)
        return self._offered(view) >= self.config.tracking.min_inliers

    def _estimate(self, view: View, status: Status, **values: Any) -> Estimate:
        return Estimate(
            view.stamp_ns,
            status,
            metric_scale=self._sensor.is_metric,
            map_index=self._map_index,
            **values,
        )
