"""A run as a Rerun recording (rerun.io), to look at frame by frame. Needs rerun-sdk."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from alike_ros.camera import Camera
from alike_ros.errors import AlikeError, ConfigError
from alike_ros.features import Features
from alike_ros.geometry import Array
from alike_ros.matching import match_mutual
from alike_ros.odometry import Status, VisualOdometry
from alike_ros.replay import Step

_JPEG_QUALITY = 80
#: Green and red; yellow in any other state.
_COLOURS = {Status.TRACKING: (80, 200, 120), Status.LOST: (230, 60, 60)}
_YELLOW = (240, 200, 60)
#: Positions after which the path goes on as another entity: only the last one is written again at
#: keyframes. One for each keyframe would be thousands of them.
_STRETCH = 256


class Recording:
    """Images with keypoints and matches, trajectory, keyframes, landmarks, and times.

    The file grows as frames are added, so that a run that is interrupted leaves what it has.
    Matches are those with the last keyframe's image.
    """

    def __init__(self, path: Path, name: str, camera: Camera, min_similarity: float) -> None:
        """min_similarity: lowest cosine of two descriptors that are drawn as a match."""
        try:
            import rerun
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"a recording needs {error.name}: pip install rerun-sdk; "
                "trajectory.png is drawn without it"
            ) from error
        self._rerun: Any = rerun  # its types are not installed everywhere
        self._min_similarity = min_similarity
        self._positions: list[Array] = []  # of the tracked frames in the last stretch of the path
        self._stretches = 0  # that are complete
        self._keyframe: Features | None = None
        self._status: Status | None = None
        self._stream: Any = rerun.RecordingStream(f"alike {name}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            self._stream.save(path)
        except OSError as error:
            raise AlikeError(f"cannot write {path}: {error.strerror}") from error
        size = camera.width, camera.height
        self._log("world", rerun.ViewCoordinates.RDF, static=True)
        pinhole = rerun.Pinhole(image_from_camera=camera.K, resolution=size)
        self._log("world/camera/image", pinhole, static=True)

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Completes the file."""
        self._log_trajectory()
        self._stream.flush()
        self._stream.disconnect()

    def add(self, step: Step, odometry: VisualOdometry) -> None:
        """One frame of a replay, and what the odometry then knows."""
        stamp = np.datetime64(step.frame.stamp_ns, "ns")
        self._stream.set_time("stamp", timestamp=stamp)
        self._log_image(step)
        self._log_figures(step)
        estimate = step.estimate
        if estimate.world_from_cam is not None:
            R, t = estimate.world_from_cam[:3, :3], estimate.world_from_cam[:3, 3]
            self._log("world/camera", self._rerun.Transform3D(translation=t, mat3x3=R))
            self._positions.append(t)
        if estimate.is_keyframe:
            self._keyframe = step.features
            self._log_map(odometry)

    def _log_image(self, step: Step) -> None:
        """The picture, its keypoints, and lines to where the last keyframe saw them."""
        image, keypoints = "world/camera/image", step.features.keypoints
        encoded = self._rerun.EncodedImage(
            contents=_jpeg(step.frame.image), media_type="image/jpeg"
        )
        self._log(image, encoded)
        colour = _COLOURS.get(step.estimate.status, _YELLOW)
        self._log(f"{image}/keypoints", self._rerun.Points2D(keypoints, colors=colour, radii=1.5))
        lines = np.empty((0, 2, 2), np.float32)
        if self._keyframe is not None:
            descriptors = self._keyframe.descriptors, step.features.descriptors
            i, j = match_mutual(*descriptors, self._min_similarity).T
            lines = np.stack([self._keyframe.keypoints[i], keypoints[j]], axis=1)
        self._log(f"{image}/matches", self._rerun.LineStrips2D(lines, colors=colour))

    def _log_figures(self, step: Step) -> None:
        """Times and counts as curves, changes of the status as text."""
        figures = {f"time_ms/{stage}": ms for stage, ms in step.stage_ms.items()}
        figures["count/keypoints"] = len(step.features)
        figures["count/matches"] = step.estimate.num_matches
        figures["count/inliers"] = step.estimate.num_inliers
        for name, value in figures.items():
            self._log(name, self._rerun.Scalars(float(value)))
        if step.estimate.status is not self._status:
            self._status = step.estimate.status
            self._log("status", self._rerun.TextLog(self._status.value))

    def _log_map(self, odometry: VisualOdometry) -> None:
        """At keyframes only: it is large."""
        keyframes = odometry.keyframe_poses[:, :3, 3]
        self._log("world/landmarks", self._rerun.Points3D(odometry.landmarks))
        self._log("world/keyframes", self._rerun.Points3D(keyframes, colors=(90, 140, 255)))
        self._log_trajectory()

    def _log_trajectory(self) -> None:
        """The last stretch of the path; the ones before it are in the file already."""
        if len(self._positions) < 2:
            return
        strip = self._rerun.LineStrips3D([np.array(self._positions)], colors=(255, 255, 255))
        self._log(f"world/trajectory/{self._stretches}", strip)
        if len(self._positions) > _STRETCH:
            self._stretches += 1
            self._positions = self._positions[-1:]  # the next one begins where this one ends

    def _log(self, entity: str, content: Any, static: bool = False) -> None:
        self._stream.log(entity, content, static=static)


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    stored = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
