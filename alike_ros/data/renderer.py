"""Rendered scenes: images of which everything is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from alike_ros.camera import Camera, StereoCamera
from alike_ros.config import MODES
from alike_ros.data.files import offer_mode
from alike_ros.data.motion import MOTIONS, path
from alike_ros.data.scene import View
from alike_ros.data.scenes import SCENES, build_scene
from alike_ros.data.sequence import CameraFrame
from alike_ros.data.textures import Image
from alike_ros.errors import DataError
from alike_ros.geometry import inverse
from alike_ros.trajectory import Trajectory

#: ROS reads the stamp 0 as "unknown".
FIRST_STAMP_NS = 10**9

DEFAULT_MOTIONS = {"room": "circle", "corridor": "forward", "yard": "circle"}

VGA = Camera(640, 480, np.array([[500.0, 0, 319.5], [0, 500, 239.5], [0, 0, 1]]))


class RenderedSequence:
    """Textured rectangles seen along a known path, with exact depth and stereo.

    scene: room, corridor or yard; motion: circle, forward, shake or still. `truth` is in the
    frame of the first camera and exact, depth is exact and without noise. `seed` places textures
    and boxes; noise (standard deviation, grey levels) and exposure (share by which the brightness
    swings) are the same at each iteration.
    """

    def __init__(
        self,
        scene: str = "room",
        mode: str = "mono",
        camera_file: str | Path | None = None,
        *,
        frames: int = 200,
        motion: str = "",
        seed: int = 0,
        rate_hz: float = 30.0,
        baseline: float = 0.1,
        noise: float = 2.0,
        exposure: float = 0.0,
    ) -> None:
        _known("scene", scene, SCENES)
        motion = motion or DEFAULT_MOTIONS[scene]
        _known("motion", motion, MOTIONS)
        if frames < 1 or not rate_hz > 0 or noise < 0:
            raise DataError(f"{frames=}, {rate_hz=} and {noise=}, expected positive numbers")
        offer_mode(f"render:{scene}", mode, list(MODES))
        self.name = f"render_{scene}"
        self.camera = Camera.from_yaml(camera_file) if camera_file else VGA
        self.stereo: StereoCamera | None = None
        if mode == "stereo":
            self.stereo = StereoCamera.rectified(self.camera, self.camera, baseline)
        self.skipped: Counter[str] = Counter()
        self._mode, self._noise, self._exposure, self._seed = mode, noise, exposure, seed
        self._scene, self._view = build_scene(scene, seed), View.of(self.camera)
        self._scene_from_cam = path(motion, frames, rate_hz, seed)
        steps_ns = np.round(np.arange(frames) * 1e9 / rate_hz).astype(np.int64)
        self._stamps_ns = FIRST_STAMP_NS + steps_ns
        poses = inverse(self._scene_from_cam[0]) @ self._scene_from_cam
        self.truth: Trajectory | None = Trajectory(self._stamps_ns, poses)

    def __len__(self) -> int:
        return len(self._stamps_ns)

    def __iter__(self) -> Iterator[CameraFrame]:
        random = np.random.default_rng(self._seed)
        grain = self._grain(random)
        left_from_right = inverse(self.stereo.right_from_left) if self.stereo else None
        for i, stamp_ns in enumerate(self._stamps_ns):
            scene_from_cam = self._scene_from_cam[i]
            image, depth = self._scene.render(scene_from_cam, self._view)
            image, right = self._exposed(image, i, grain, random), None
            if left_from_right is not None:
                right, _ = self._scene.render(scene_from_cam @ left_from_right, self._view)
                right = self._exposed(right, i, grain, random)
            yield CameraFrame(int(stamp_ns), image, depth if self._mode == "rgbd" else None, right)

    def _grain(self, random: np.random.Generator) -> NDArray[np.int16]:
        """Noise, a little larger than the image: each image has another cut-out of it."""
        shape = (self.camera.height + 64, self.camera.width + 64, 3)
        return np.asarray(np.round(random.normal(0, self._noise, shape)), np.int16)

    def _exposed(
        self, image: Image, index: int, grain: NDArray[np.int16], random: np.random.Generator
    ) -> Image:
        """What lens and sensor make of it: blur of half a pixel, exposure, noise."""
        image = np.asarray(cv2.GaussianBlur(image, (3, 3), 0.5))
        if self._exposure:
            gain = 1 + self._exposure * np.sin(index / 15)
            image = np.asarray(cv2.convertScaleAbs(image, alpha=gain))
        if self._noise:
            y, x = random.integers(64, size=2)
            cut = grain[y : y + image.shape[0], x : x + image.shape[1]]
            image = np.asarray(cv2.add(image, cut, dtype=cv2.CV_8U))
        return image


def _known(what: str, name: str, known: Mapping[str, object]) -> None:
    if name not in known:
        raise DataError(f"unknown {what} {name!r}, known are {', '.join(known)}")
