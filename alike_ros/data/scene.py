"""Scenes of textured rectangles, and their exact images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from alike_ros.camera import Camera
from alike_ros.data.textures import Atlas, Image
from alike_ros.geometry import Array, inverse, transform

Map = NDArray[np.float32]

#: Colour where there is nothing.
SKY = (150, 180, 210)

#: Nothing nearer is drawn, metres.
NEAR_M = 0.02


@dataclass(frozen=True)
class Panel:
    """A rectangle: corner + a * across + b * down with a and b in [0, 1]; metres.

    Seen from the side towards which `down x across` points, where the texture is not mirrored.
    """

    corner: Array
    across: Array
    down: Array
    texture: Image


@dataclass(frozen=True)
class View:
    """The rays of a camera: (x, y) at z = 1 of each pixel.

    x and y are (H, W), or (1, W) and (H, 1) where the lens does not distort: both broadcast.
    """

    x: Map
    y: Map
    focal: float

    @classmethod
    def of(cls, camera: Camera) -> View:
        """Distortion is part of the rays: rendering through it is as exact as without."""
        rows, cols = np.mgrid[: camera.height, : camera.width]
        rays = camera.bearings(np.column_stack([cols.ravel(), rows.ravel()]))
        x, y = rays.T.astype(np.float32).reshape(2, camera.height, camera.width)
        if not any(camera.distortion) and camera.K[0, 1] == 0:
            x, y = x[:1], y[:, :1]
        return cls(np.ascontiguousarray(x), np.ascontiguousarray(y), camera.fx)

    @cached_property
    def bounds(self) -> tuple[Map, Map, Map, Map]:
        """Least and largest x of each column, least and largest y of each row."""
        return self.x.min(0), self.x.max(0), self.y.min(1), self.y.max(1)

    @cached_property
    def length(self) -> Map:
        """Length of the rays (x, y, 1): (H, W)."""
        return np.asarray(np.sqrt(self.x**2 + self.y**2 + 1))

    def part(self, rows: slice, cols: slice) -> tuple[Map, Map]:
        """The rays of some of the pixels, x and y."""
        every = slice(None)
        return (
            self.x[rows if len(self.x) > 1 else every, cols],
            self.y[rows, cols if self.y.shape[1] > 1 else every],
        )


class _Hits(NamedTuple):
    """What the rays hit first, per pixel: the panel (-1: none), 1 / z, a / z and b / z."""

    panel: NDArray[np.int32]
    inverse_z: Map
    a: Map
    b: Map


class Scene:
    """Panels in scene coordinates: x right, y down, z forward, metres."""

    def __init__(self, panels: list[Panel]) -> None:
        self._across = np.stack([p.across for p in panels])
        self._down = np.stack([p.down for p in panels])
        self._corner = np.stack([p.corner for p in panels])
        self._atlas = Atlas.of([p.texture for p in panels])
        self._boxes = np.ascontiguousarray(self._atlas.boxes.T)
        density = [
            np.sqrt(p.texture.size / 3 / np.linalg.norm(np.cross(p.across, p.down)))
            for p in panels
        ]
        self._texels_per_m = np.array(density, np.float32)

    def render(self, scene_from_cam: Array, view: View) -> tuple[Image, Map]:
        """RGB image (H, W, 3), and depth (H, W) in metres along z, NaN where nothing is."""
        cam_from_scene = inverse(scene_from_cam)
        R = cam_from_scene[:3, :3]
        frames = np.stack(
            [self._across @ R.T, self._down @ R.T, transform(cam_from_scene, self._corner)], axis=2
        )
        hits = _cast(frames, view)
        seen = hits.panel >= 0
        z = np.divide(1, hits.inverse_z, where=seen, out=np.ones_like(hits.inverse_z))
        image = self._shade(hits, z, frames, view)
        image[~seen], z[~seen] = SKY, np.nan
        return image, z

    def _shade(self, hits: _Hits, z: Map, frames: Array, view: View) -> Image:
        """Looks the colours up at the resolution at which the pixels see the texture."""
        # texels per pixel along the steeper direction of a slanted plane at distance d:
        # |r| / (f d (1/z)^2) times texels per metre
        distance = np.linalg.det(frames) / np.linalg.norm(
            np.cross(frames[:, :, 0], frames[:, :, 1]), axis=1
        )
        scale = (self._texels_per_m / (view.focal * distance)).astype(np.float32)
        panel = np.maximum(hits.panel, 0)
        texels = np.maximum(np.take(scale, panel) * view.length * z * z, 1)
        level = np.minimum(np.log2(texels).astype(np.int32), self._atlas.levels - 1)
        index = panel * self._atlas.levels + level
        left, top, width, height = (np.take(column, index) for column in self._boxes)
        x = left + np.maximum(np.minimum(hits.a * z * width - 0.5, width - 1), 0)
        y = top + np.maximum(np.minimum(hits.b * z * height - 0.5, height - 1), 0)
        image = cv2.remap(self._atlas.image, x, y, cv2.INTER_LINEAR)
        return np.asarray(image, np.uint8)


def _cast(frames: Array, view: View) -> _Hits:
    """Intersects all rays with all panels.

    frames (N, 3, 3) has columns across, down and corner in the camera, so that
    z * ray = frame @ (a, b, 1), or (a, b, 1) / z = inverse(frame) @ ray: linear in the ray.
    """
    shape = view.length.shape
    hits = _Hits(np.full(shape, -1, np.int32), *(np.zeros(shape, np.float32) for _ in range(3)))
    for i in np.flatnonzero(np.linalg.det(frames) > 1e-9):  # seen from the front
        rows, cols = _region(frames[i], view)
        if rows.start >= rows.stop or cols.start >= cols.stop:
            continue
        x, y = view.part(rows, cols)
        forms = np.linalg.inv(frames[i]).astype(np.float32)
        a, b, inverse_z = (f[0] * x + (f[1] * y + f[2]) for f in forms)
        nearest = inverse_z > hits.inverse_z[rows, cols]
        hit = nearest & (a >= 0) & (b >= 0) & (a <= inverse_z) & (b <= inverse_z)
        for target, source in zip(hits, (np.int32(i), inverse_z, a, b), strict=True):
            np.copyto(target[rows, cols], source, where=hit)
    return hits


def _region(frame: Array, view: View) -> tuple[slice, slice]:
    """Rows and columns that a panel can cover: those of the part in front of the camera."""
    across, down, corner = frame.T
    corners = np.stack([corner, corner + across, corner + across + down, corner + down])
    points = corners if corners[:, 2].min() >= NEAR_M else _clipped(corners)
    if not len(points):
        return slice(0, 0), slice(0, 0)
    low, high = (f(points[:, :2] / points[:, 2:], 0) for f in (np.min, np.max))
    x_min, x_max, y_min, y_max = view.bounds
    cols = np.flatnonzero((x_max >= low[0]) & (x_min <= high[0]))
    rows = np.flatnonzero((y_max >= low[1]) & (y_min <= high[1]))
    if not len(rows) or not len(cols):
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)


def _clipped(polygon: Array) -> Array:
    """The part of a polygon (N, 3) with z >= NEAR_M (Sutherland-Hodgman)."""
    points = []
    for p, q in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if p[2] >= NEAR_M:
            points.append(p)
        if (p[2] >= NEAR_M) != (q[2] >= NEAR_M):
            points.append(p + (NEAR_M - p[2]) / (q[2] - p[2]) * (q - p))
    return np.array(points).reshape(-1, 3)
