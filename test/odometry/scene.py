"""Points seen by cameras with exact projections: odometry without images."""

from __future__ import annotations

import numpy as np

from alike_ros.camera import Camera, StereoCamera
from alike_ros.features import Features
from alike_ros.geometry import from_Rt, inverse, rotation_exp, transform

K = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
CAMERA = Camera(640, 480, K)
STEREO = StereoCamera.rectified(CAMERA, CAMERA, 0.1)
NOTHING = Features(
    np.empty((0, 2), np.float32), np.empty(0, np.float32), np.empty((0, 64), np.float32)
)


class Scene:
    """Points with random descriptors in a box around the origin; cameras look at them."""

    def __init__(self, seed: int = 0, count: int = 3000, dim: int = 64) -> None:
        self.rng = np.random.default_rng(seed)
        self.points = self.rng.uniform([-8, -5, 2], [8, 5, 12], (count, 3))
        descriptors = self.rng.normal(size=(count, dim))
        self.descriptors = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)

    def see(
        self,
        world_from_cam: np.ndarray,
        noise_px: float = 0.3,
        outliers: float = 0.1,
        bend: np.ndarray | None = None,
    ) -> tuple[Features, np.ndarray]:
        """Features of the points in view and their depths (N,); some of them are shuffled.

        bend (3,): how the camera turns from its first row to its last.
        """
        in_cam = transform(inverse(world_from_cam), self.points)
        if bend is not None:
            in_cam = when_read(in_cam, bend)
        pixels = CAMERA.project(np.where(in_cam[:, 2:] > 0.5, in_cam, 1e6))
        inside = (in_cam[:, 2] > 0.5) & (pixels > 3).all(1) & (pixels < [636, 476]).all(1)
        seen = np.nonzero(inside)[0][:800]
        keypoints = pixels[seen] + self.rng.normal(0, noise_px, (len(seen), 2))
        wrong = self.rng.random(len(seen)) < outliers
        keypoints[wrong] = self.rng.permutation(keypoints[wrong])
        scores = np.linspace(0.9, 0.3, len(seen))
        features = Features(
            keypoints.astype(np.float32),
            scores.astype(np.float32),
            self.descriptors[seen].astype(np.float32),
        )
        return features, in_cam[seen, 2]


def depth_image(features: Features, depths: np.ndarray) -> np.ndarray:
    """A depth image that holds each keypoint's depth around it."""
    depth = np.full((480, 640), np.nan, np.float32)
    for (x, y), z in zip(np.round(features.keypoints).astype(int), depths, strict=True):
        depth[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = z
    return depth


def measured(mode: str, features: Features, depths: np.ndarray) -> dict:
    """What a mode wants beside the features, as arguments of `track`."""
    if mode == "mono":
        return {}
    if mode == "rgbd":
        return {"depth": depth_image(features, depths)}
    disparity = CAMERA.fx * STEREO.baseline / depths
    keypoints = features.keypoints - np.stack([disparity, 0 * disparity], 1)
    right = Features(keypoints.astype(np.float32), features.scores, features.descriptors)
    return {"right": right}


def when_read(in_cam: np.ndarray, bend: np.ndarray) -> np.ndarray:
    """Points (N, 3) as a rolling shutter has them when it reads the row in which they are."""
    moved = in_cam
    for _ in range(8):  # the row depends on the turn
        rows = moved[:, 1] / np.maximum(moved[:, 2], 0.5) * K[1, 1] + K[1, 2]
        share = (rows / CAMERA.height - 0.5).clip(-1, 1)
        vectors = -share[:, None] * bend
        angle = np.linalg.norm(vectors, axis=1, keepdims=True)
        axis = vectors / np.maximum(angle, 1e-12)
        along = (in_cam * axis).sum(1, keepdims=True) * axis
        across = np.cross(axis, in_cam)
        moved = along + np.cos(angle) * (in_cam - along) + np.sin(angle) * across  # Rodrigues
    return moved


def walk(n: int, step: float = 0.04, turn_deg: float = 0.5) -> list[np.ndarray]:
    """n camera poses: sideways and forward, turning slowly."""
    pose, poses = np.eye(4), []
    motion = from_Rt(rotation_exp(np.radians([0, turn_deg, turn_deg / 3])), [step, 0, step / 2])
    for _ in range(n):
        poses.append(pose)
        pose = pose @ motion
    return poses
