"""The scenes that can be rendered, by name. Scene axes: x right, y down, z forward, metres."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from alike_ros.data.scene import Panel, Scene
from alike_ros.data.textures import Image, Photos
from alike_ros.geometry import Array, rotation_exp

#: Texture resolution of walls and of boxes, which are nearer.
WALL_TEXELS_PER_M, BOX_TEXELS_PER_M = 180, 256


class _Builder:
    """Collects panels with random textures."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.panels: list[Panel] = []
        self._photos = Photos()

    def wall(self, centre: Array, normal: Array, width: float, height: float) -> None:
        """A rectangle that faces `normal`, with about one picture to three square metres."""
        size = round(height * WALL_TEXELS_PER_M), round(width * WALL_TEXELS_PER_M)
        count = max(round(width * height / 3), 1)
        texture = self._photos.collage(self.random, *size, count)
        self._add(centre, normal, (width, height), texture, np.array([0.0, 0, 1]))

    def box(self, centre: Array, size: Array, yaw: float) -> None:
        """A box of size (x, y, z) turned about the vertical, with a picture on each side."""
        R = rotation_exp(np.array([0, yaw, 0]))
        for axis, width, height in ((0, 2, 1), (1, 0, 2), (2, 0, 1)):
            for sign in (-1.0, 1.0):
                normal = sign * R[:, axis]
                extent = size[width], size[height]
                rows, cols = (round(extent[i] * BOX_TEXELS_PER_M) for i in (1, 0))
                picture = self._photos.picture(self.random, rows, cols)
                self._add(centre + normal * size[axis] / 2, normal, extent, picture, R[:, 2])

    def _add(
        self,
        centre: Array,
        normal: Array,
        size: tuple[float, float],
        texture: Image,
        flat_down: Array,
    ) -> None:
        """`flat_down` is where the lower edge of horizontal panels lies; others hang upright."""
        down = flat_down if abs(normal[1]) > 0.5 else np.array([0.0, 1, 0])
        across, down = np.cross(normal, down) * size[0], down * size[1]
        self.panels.append(Panel(centre - (across + down) / 2, across, down, texture))

    def hall(self, low: Array, high: Array) -> None:
        """Four walls, floor and ceiling, seen from inside, between two corners."""
        size, middle = high - low, (low + high) / 2
        for axis, width, height in ((0, 2, 1), (1, 0, 2), (2, 0, 1)):
            for sign in (-1.0, 1.0):
                normal = np.zeros(3)
                normal[axis] = sign
                self.wall(middle - normal * size[axis] / 2, normal, size[width], size[height])


def room(seed: int) -> Scene:
    """8 x 6 x 3 m with boxes along a ring of 2.2 to 2.6 m around the middle."""
    build = _Builder(seed)
    build.hall(np.array([-4, -1.5, -3]), np.array([4, 1.5, 3]))
    for k in range(8):
        angle = (k + build.random.uniform(0.2, 0.8)) * np.pi / 4
        radius, height = build.random.uniform(2.2, 2.6), build.random.uniform(0.6, 2.0)
        centre = np.array([radius * np.sin(angle), 1.5 - height / 2, radius * np.cos(angle)])
        width, length = build.random.uniform(0.3, 0.6, 2)
        build.box(centre, np.array([width, height, length]), build.random.uniform(0, np.pi))
    return Scene(build.panels)


def corridor(seed: int) -> Scene:
    """4 m wide, 3 m high, 25 m long, with boxes on both sides."""
    build = _Builder(seed)
    build.hall(np.array([-2, -1.5, -3]), np.array([2, 1.5, 22]))
    for k in range(12):
        side = 1.0 if k % 2 else -1.0
        height = build.random.uniform(0.5, 1.8)
        centre = [side * build.random.uniform(1.3, 1.6), 1.5 - height / 2, 1.7 * k + 0.5]
        size = [build.random.uniform(0.3, 0.6), height, build.random.uniform(0.3, 0.8)]
        build.box(np.array(centre), np.array(size), build.random.uniform(0, np.pi))
    return Scene(build.panels)


def yard(seed: int) -> Scene:
    """Open ground of 14 x 14 m with boards all around, 3 to 6.5 m away; the sky has no depth."""
    build = _Builder(seed)
    build.wall(np.array([0, 1.5, 0]), np.array([0.0, -1, 0]), 14, 14)
    for k in range(14):
        angle = (k + build.random.uniform(0.2, 0.8)) * 2 * np.pi / 14
        radius, height = build.random.uniform(3, 6.5), build.random.uniform(1.5, 4)
        centre = np.array([radius * np.sin(angle), 1.5 - height / 2, radius * np.cos(angle)])
        size = np.array([build.random.uniform(1, 3), height, 0.1])
        build.box(centre, size, angle + build.random.uniform(-0.5, 0.5))
    return Scene(build.panels)


SCENES: dict[str, Callable[[int], Scene]] = {"room": room, "corridor": corridor, "yard": yard}


@lru_cache(maxsize=2)
def build_scene(name: str, seed: int) -> Scene:
    """A scene of SCENES; the last two are kept, since building one takes up to a second."""
    return SCENES[name](seed)
