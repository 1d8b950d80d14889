"""Pairs of views of made-up scenes: photos on a ground, walls and boards, exact depth and poses.

What homographies of photos cannot teach: parallax, occlusion, and a camera that drives forward,
so that what is near grows faster than what is far.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from alike_ros.camera import Camera
from alike_ros.data.scene import Panel, Scene, View
from alike_ros.data.textures import Image
from alike_ros.errors import DataError
from alike_ros.geometry import Array, from_Rt, inverse, rotation_exp
from training.config import DataConfig, SceneConfig
from training.data.depth import DepthView, make_pair, overlap
from training.data.homography import pyramid

#: Views of a pair share at least this part of what they see.
MIN_OVERLAP = 0.3
#: So many positions of the second camera are tried, each half as far away.
TRIES = 5
#: Longest side of a texture, pixels.
LARGEST = 1024


class ScenePairs(Dataset[dict[str, Tensor]]):
    """Item i depends on (photos, config, seed, i) alone; keys as MegaDepth's."""

    def __init__(self, photos: list[Path], config: DataConfig, seed: int) -> None:
        if not photos:
            raise DataError("no photos: collect some with python -m training.photos")
        self.photos = photos
        self.config = config
        self.seed = seed

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        cv2.setNumThreads(1)  # the workers are the parallelism
        rng = np.random.default_rng([self.seed, index, 1])
        camera = random_camera(rng, self.config)
        scene = random_scene(rng, self.photos, camera, self.config.scenes)
        rays = View.of(camera)
        first = see(scene, rays, camera, np.eye(4))
        depth = float(np.nanmedian(first.depth))
        step = random_step(rng, self.config.scenes)
        for _ in range(TRIES):
            second = see(scene, rays, camera, moved(step, depth))
            if overlap(first, second) >= MIN_OVERLAP:
                break
            step = step / 2
        views = (first, second) if rng.random() < 0.5 else (second, first)
        return make_pair(rng, *views, self.config)


def random_camera(rng: np.random.Generator, config: DataConfig) -> Camera:
    """A camera of the size of a view, 35 to 80 degrees wide."""
    height, width = config.height, config.width
    focal = width * np.exp(rng.uniform(np.log(0.6), np.log(1.6)))
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    return Camera(width, height, K)


def random_step(rng: np.random.Generator, config: SceneConfig) -> Array:
    """How far the second camera is, in depths of the scene (3,), and its turn in radians (3,).

    Mostly along the view, as vehicles drive.
    """
    shift = rng.normal(0, config.sideways, 3)
    shift[2] = rng.uniform(-config.forward, config.forward)
    turn = rng.normal(0, config.turn, 3)
    return np.asarray(np.sqrt(rng.random()) * np.concatenate([shift, turn]))


def moved(step: Array, depth: float) -> Array:
    """scene_from_cam (4, 4) of the second camera, in a scene of some depth in metres."""
    return from_Rt(rotation_exp(step[3:]), step[:3] * depth)


def see(scene: Scene, rays: View, camera: Camera, scene_from_cam: Array) -> DepthView:
    """What a camera sees from a place."""
    image, depth = scene.render(scene_from_cam, rays)
    return DepthView(image, depth, camera.K, inverse(scene_from_cam))


def random_scene(
    rng: np.random.Generator, photos: list[Path], camera: Camera, config: SceneConfig
) -> Scene:
    """A far wall, often a ground and walls at the sides, and boards; the camera looks along z."""
    hang = _Photographs(rng, photos, camera)
    view = camera.width / camera.fx  # metres that the camera sees at a distance of one
    far = np.exp(rng.uniform(np.log(4), np.log(16)))
    panels = [hang.board(np.array([0, 0, far]), np.full(2, 2 * view * far), slant=0.5)]
    if rng.random() < config.ground:
        panels.append(hang.ground(rng.uniform(0.8, 2), far))
    for side in (-1, 1):
        if rng.random() < config.sides:
            panels.append(hang.wall(side * rng.uniform(0.8, 3), far))
    for _ in range(rng.integers(config.boards + 1)):
        z = far * np.exp(rng.uniform(np.log(0.25), np.log(0.95)))
        x, y = rng.uniform(-0.5, 0.5, 2) * view * z
        size = np.exp(rng.uniform(np.log(0.1), np.log(0.5), 2)) * view * z
        panels.append(hang.board(np.array([x, y, z]), size, slant=1.0))
    return Scene(panels)


@dataclass(frozen=True)
class _Photographs:
    """Panels with photos on them, in metres, as sharp as a camera at the origin needs."""

    rng: np.random.Generator
    photos: list[Path]
    camera: Camera

    def board(self, centre: Array, size: Array, slant: float) -> Panel:
        """Of a size (width, height), facing the camera, turned by up to `slant` radians."""
        R = rotation_exp(np.array([0.3, 1, 0.3]) * self.rng.uniform(-slant, slant, 3))
        across, down = R[:, 0] * size[0], R[:, 1] * size[1]
        return Panel(centre - (across + down) / 2, across, down, self.texture(size, centre[2]))

    def ground(self, low: float, far: float) -> Panel:
        """From below the camera, which is `low` above it, to the far wall."""
        width = 3 * low + far / 2
        texture = self.texture(np.array([width, far]), 0.4 * far)
        corner = np.array([-width / 2, low, far])
        return Panel(corner, np.array([width, 0, 0]), np.array([0, 0, -far]), texture)

    def wall(self, x: float, far: float) -> Panel:
        """Along the view, at the left (x < 0) or at the right of the camera."""
        height = abs(x) + far / 2
        texture = self.texture(np.array([far, height]), 0.4 * far)
        corner = np.array([x, -height / 2, far if x > 0 else 0])
        across = np.array([0, 0, -np.sign(x) * far])
        return Panel(corner, across, np.array([0, height, 0]), texture)

    def texture(self, size: Array, distance: float) -> Image:
        """A piece of a photo for a size (width, height): one to two texels to a pixel."""
        sides = size * self.camera.fx / distance * self.rng.uniform(1, 2)
        width, height = np.maximum(sides * min(1, LARGEST / sides.max()), 8).astype(int)
        levels = pyramid(str(self.photos[self.rng.integers(len(self.photos))]))
        enough = [lv for lv in levels if lv.shape[0] >= height and lv.shape[1] >= width]
        photo = enough[self.rng.integers(len(enough))] if enough else levels[0]
        rows, cols = min(height, photo.shape[0]), min(width, photo.shape[1])
        y = self.rng.integers(photo.shape[0] - rows + 1)
        x = self.rng.integers(photo.shape[1] - cols + 1)
        piece = photo[y : y + rows, x : x + cols]
        if self.rng.random() < 0.5:
            piece = piece[:, ::-1]
        return np.ascontiguousarray(piece, np.uint8)
