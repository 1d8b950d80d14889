"""Pinhole cameras with lens distortion, alone and in pairs.

Keypoints are undistorted, images are not. The frame of a camera is REP-103's optical frame:
x right, y down, z forward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from alike_ros.errors import DataError
from alike_ros.geometry import Array, from_Rt

#: Number of coefficients of each distortion model of ROS' CameraInfo (REP-104).
DISTORTION_MODELS = {"plumb_bob": (4, 5), "rational_polynomial": (8,), "equidistant": (4,)}
#: Rays at z = 1 reach infinity at 90 degrees; behind that they would point the opposite way.
MAX_ANGLE_DEG = 85.0
#: OpenCV takes pixels of a fisheye that are farther out, at fx = fy = 1, for pixels there.
_OPENCV_REACH = np.pi / 2
#: What projects back farther away than this has no ray.
_ROUND_TRIP_PX = 0.5


@dataclass(frozen=True)
class Camera:
    """Intrinsics of one camera: size in pixels, K (3, 3), distortion as in REP-104.

    An empty `distortion` is an ideal pinhole camera, whatever the model's name.
    """

    width: int
    height: int
    K: Array
    distortion: tuple[float, ...] = ()
    distortion_model: str = "plumb_bob"

    def __post_init__(self) -> None:
        K = np.asarray(self.K, np.float64)
        if K.shape != (3, 3) or not np.isfinite(K).all() or not (K[0, 0] > 0 and K[1, 1] > 0):
            raise DataError(f"K is {K.tolist()}, expected 3x3 with positive focal lengths")
        if not (self.width > 0 and self.height > 0):
            raise DataError(f"camera has size {self.width}x{self.height}, expected positive")
        if self.distortion_model not in DISTORTION_MODELS:
            raise DataError(
                f"unknown distortion model {self.distortion_model!r}, "
                f"known are {', '.join(DISTORTION_MODELS)}"
            )
        counts = DISTORTION_MODELS[self.distortion_model]
        if self.distortion and len(self.distortion) not in counts:
            raise DataError(
                f"{self.distortion_model} has {len(self.distortion)} coefficients, "
                f"expected {' or '.join(map(str, counts))}"
            )
        if not np.isfinite(self.distortion).all():
            raise DataError(f"distortion is {self.distortion}, expected finite numbers")
        object.__setattr__(self, "K", K)

    @property
    def fx(self) -> float:
        """Horizontal focal length, pixels."""
        return float(self.K[0, 0])

    @cached_property
    def _reach(self) -> float:
        """How far from the principal point, at fx = fy = 1, pixels have rays."""
        if not any(self.distortion):
            return float(np.inf)
        if self.distortion_model != "equidistant":
            return self._invertible()
        angles = np.linspace(0, np.radians(MAX_ANGLE_DEG), 1000)
        radii = angles * np.polynomial.polynomial.polyval(angles**2, (1, *self.distortion))
        shrinks = np.diff(radii) <= 0  # far out, polynomials of some lenses turn back
        end = int(shrinks.argmax()) if shrinks.any() else -1
        return min(float(radii[end]), _OPENCV_REACH)

    def _invertible(self) -> float:
        """The same of a usual lens, whose polynomial may turn back: calibrated without corners."""
        centre, focal = self.K[:2, 2], self.K[[0, 1], [0, 1]]
        corners = np.array([[0, 0], [self.width, 0], [0, self.height], [self.width, self.height]])
        radii = np.linspace(0, np.linalg.norm((corners - centre) / focal, axis=1).max(), 1000)
        pixels = centre + np.outer(radii * focal[0], [1, 0])
        back = self.project(self.unproject(pixels, np.ones(len(pixels))))
        fails = ~(np.linalg.norm(back - pixels, axis=1) < _ROUND_TRIP_PX)  # NaN does
        return float(radii[fails.argmax() - 1]) if fails.any() else float(np.inf)

    def has_ray(self, keypoints: NDArray[Any]) -> NDArray[np.bool_]:
        """Mask (N,) of the pixels (N, 2) of which `bearings` are true.

        All but those farther out than the distortion is defined or can be inverted and, with
        equidistant distortion, those that look farther to the side than MAX_ANGLE_DEG.
        """
        if not any(self.distortion):
            return np.ones(len(keypoints), np.bool_)
        if np.isinf(self._reach):  # a rational model may give NaN far outside the image
            return np.asarray(np.isfinite(self.bearings(keypoints)).all(axis=1))
        x, y = ((keypoints - self.K[:2, 2]) / self.K[[0, 1], [0, 1]]).T
        return np.asarray(np.hypot(x, y) < self._reach)

    def border(self) -> Array:
        """Pixels (N, 2) around the image, or around the part of it that has rays."""
        x, y = np.arange(self.width), np.arange(self.height)
        sides = [
            *(np.stack([x, np.full_like(x, end)], axis=1) for end in (0, self.height - 1)),
            *(np.stack([np.full_like(y, end), y], axis=1) for end in (0, self.width - 1)),
        ]
        centre, focal = self.K[:2, 2], self.K[[0, 1], [0, 1]]
        outwards = (np.concatenate(sides) - centre) / focal
        radii = np.linalg.norm(outwards, axis=1, keepdims=True)
        inside = np.minimum(1, 0.999 * self._reach / np.maximum(radii, 1e-12))
        return np.asarray(centre + outwards * inside * focal)

    def bearings(self, keypoints: NDArray[Any]) -> Array:
        """Pixels (N, 2) of the distorted image -> rays (N, 2), (x, y) at z = 1."""
        pixels = np.ascontiguousarray(keypoints, np.float64).reshape(-1, 1, 2)
        if not len(pixels):
            return np.empty((0, 2))
        if not any(self.distortion):
            fx, fy, cx, cy, s = self.K[[0, 1, 0, 1, 0], [0, 1, 2, 2, 1]]
            x, y = pixels[:, 0].T
            y = (y - cy) / fy
            return np.stack([(x - cx - s * y) / fx, y], axis=1)
        coefficients = np.array(self.distortion)
        if self.distortion_model == "equidistant":
            return _points(cv2.fisheye.undistortPoints(pixels, self.K, coefficients))
        # the default five iterations leave 0.1 px on strong lenses
        stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-9)
        if hasattr(cv2, "undistortPointsIter"):  # OpenCV 4
            return _points(cv2.undistortPointsIter(pixels, self.K, coefficients, None, None, stop))
        return _points(cv2.undistortPoints(pixels, self.K, coefficients, criteria=stop))

    def undistort(self, keypoints: NDArray[Any]) -> Array:
        """Pixels (N, 2) of the image -> pixels of an ideal pinhole camera with the same K."""
        return np.asarray(self.bearings(keypoints) @ self.K[:2, :2].T + self.K[:2, 2])

    def project(self, points_in_cam: NDArray[Any]) -> Array:
        """Points (N, 3) in the camera, z > 0 -> pixels (N, 2) of the distorted image."""
        points = np.ascontiguousarray(points_in_cam, np.float64).reshape(-1, 1, 3)
        if not len(points):
            return np.empty((0, 2))
        zero, coefficients = np.zeros(3), np.array(self.distortion or (0.0,) * 4)
        project = (
            cv2.fisheye.projectPoints
            if self.distortion_model == "equidistant" and any(self.distortion)
            else cv2.projectPoints
        )
        return _points(project(points, zero, zero, self.K, coefficients)[0])

    def unproject(self, keypoints: NDArray[Any], depth: NDArray[Any]) -> Array:
        """Pixels (N, 2) of the image and depths z (N,) -> points (N, 3) in the camera."""
        bearings = self.bearings(keypoints)
        return np.column_stack([bearings, np.ones(len(bearings))]) * np.reshape(depth, (-1, 1))

    @classmethod
    def from_yaml(cls, path: str | Path) -> Camera:
        """A camera in the format of ROS' camera_calibration. Raises DataError."""
        try:
            content = yaml.safe_load(Path(path).read_text())
            return cls(
                int(content["image_width"]),
                int(content["image_height"]),
                np.array(content["camera_matrix"]["data"], np.float64).reshape(3, 3),
                tuple(map(float, content["distortion_coefficients"]["data"])),
                content.get("distortion_model", "plumb_bob"),
            )
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}") from error
        except yaml.YAMLError as error:
            reason = " ".join(str(error).split())  # it has several lines
            raise DataError(
                f"{path} is not YAML, in which ROS' camera_calibration writes: {reason}"
            ) from error
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path} is not a camera in ROS camera_calibration format: {error!r}"
            ) from error

    def to_yaml(self, path: str | Path, name: str = "camera") -> None:
        """Writes ROS' camera_calibration format."""
        P = np.column_stack([self.K, np.zeros(3)])
        content: Mapping[str, Any] = {
            "image_width": self.width,
            "image_height": self.height,
            "camera_name": name,
            "camera_matrix": _yaml_matrix(self.K),
            "distortion_model": self.distortion_model,
            "distortion_coefficients": _yaml_matrix(np.array([self.distortion or (0.0,) * 4])),
            "rectification_matrix": _yaml_matrix(np.eye(3)),
            "projection_matrix": _yaml_matrix(P),
        }
        Path(path).write_text(yaml.safe_dump(content, default_flow_style=None, sort_keys=False))


@dataclass(frozen=True)
class StereoCamera:
    """Two cameras and the pose of the left one in the right one's frame (metres)."""

    left: Camera
    right: Camera
    right_from_left: Array

    def __post_init__(self) -> None:
        if np.shape(self.right_from_left) != (4, 4):
            shape = np.shape(self.right_from_left)
            raise DataError(f"right_from_left has shape {shape}, expected (4, 4)")
        if not self.baseline > 0:
            raise DataError("the stereo baseline is 0: check P of the right camera_info")

    @classmethod
    def rectified(cls, left: Camera, right: Camera, baseline: float) -> StereoCamera:
        """A rectified pair: the right camera is `baseline` metres along the left one's x axis."""
        return cls(left, right, from_Rt(np.eye(3), np.array([-baseline, 0, 0])))

    @property
    def baseline(self) -> float:
        """Distance of the two cameras, metres."""
        return float(np.linalg.norm(self.right_from_left[:3, 3]))

    @cached_property
    def _rectification(self) -> tuple[Array, Array]:
        """Rotations from each camera to frames whose x axes lie along the baseline.

        The mean of both orientations is turned by the least angle that does it (Bouguet).
        """
        half = cv2.Rodrigues(cv2.Rodrigues(self.right_from_left[:3, :3])[0] / 2)[0]
        x = -half.T @ self.right_from_left[:3, 3] / self.baseline  # left to right, mean frame
        axis = np.cross([1.0, 0, 0], x)
        sine = np.linalg.norm(axis)
        angle = np.arctan2(sine, x[0])
        rotation = cv2.Rodrigues(axis / max(sine, 1e-12) * angle)[0]
        return rotation.T @ half, rotation.T @ half.T

    def rectify(
        self, left_keypoints: NDArray[Any], right_keypoints: NDArray[Any]
    ) -> tuple[Array, Array]:
        """Pixels of both images -> pixels (N, 2), (M, 2) of a rectified pair.

        The pair has the left K on both sides: matches lie in one row, left x minus right x is the
        disparity, and depth in the rectified frame is fx * baseline / disparity.
        """
        K = self.left.K
        R_left, R_right = self._rectification

        def turned(bearings: Array, R: Array) -> Array:
            rays = np.column_stack([bearings, np.ones(len(bearings))]) @ R.T @ K.T
            return np.asarray(rays[:, :2] / rays[:, 2:])

        return (
            turned(self.left.bearings(left_keypoints), R_left),
            turned(self.right.bearings(right_keypoints), R_right),
        )

    def depth(self, rectified_left: Array, disparity: Array) -> Array:
        """Depths z (N,) in the left camera, of rectified pixels (N, 2) and disparities (N,)."""
        K = self.left.K
        z = self.left.fx * self.baseline / disparity
        rays = np.column_stack([rectified_left, np.ones(len(z))]) @ np.linalg.inv(K).T
        points = z[:, None] * rays  # in the rectified left frame
        return np.asarray(points @ self._rectification[0][:, 2])


def _points(result: Any) -> Array:
    """OpenCV's (N, 1, 2) -> (N, 2)."""
    return np.asarray(result, np.float64).reshape(-1, 2)


def _yaml_matrix(matrix: Array) -> dict[str, Any]:
    rows, cols = matrix.shape
    return {"rows": rows, "cols": cols, "data": matrix.ravel().tolist()}
