"""Pairs of crops of two images whose depth and poses are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alike_ros.geometry import from_Rt, inverse
from training.config import DataConfig
from training.data.homography import disturb
from training.warp import warp_depth

Array = NDArray[Any]

#: A pair of crops must share this part of view 0's points, of which so many tries are made.
MIN_OVERLAP = 0.1
TRIES = 10


@dataclass(frozen=True)
class DepthView:
    """An undistorted image (H, W, 3) uint8 RGB, depth (H, W) in metres, NaN where unknown."""

    image: Array
    depth: Array
    K: Array  # (3, 3), the centre of the top-left pixel is (0, 0)
    cam_from_world: Array  # (4, 4)


def make_pair(
    rng: np.random.Generator, view0: DepthView, view1: DepthView, config: DataConfig
) -> dict[str, Tensor]:
    """Crops of two images of the same place, disturbed, in the keys that losses are made from."""
    size = (config.height, config.width)
    view0, view1 = covering(view0, size), covering(view1, size)
    for _ in range(TRIES):
        crop0, crop1 = crop_pair(rng, view0, view1, size)
        if overlap(crop0, crop1) >= MIN_OVERLAP:
            break
    image0, image1 = (disturb(rng, crop.image, config.photometry) for crop in (crop0, crop1))
    return {
        "image0": torch.from_numpy(image0).permute(2, 0, 1),
        "image1": torch.from_numpy(image1).permute(2, 0, 1),
        "depth0": torch.from_numpy(crop0.depth),
        "depth1": torch.from_numpy(crop1.depth),
        "K0": torch.from_numpy(crop0.K.astype(np.float32)),
        "K1": torch.from_numpy(crop1.K.astype(np.float32)),
        "view1_from_view0": torch.from_numpy(relative_pose(crop0, crop1).astype(np.float32)),
    }


def relative_pose(view0: DepthView, view1: DepthView) -> Array:
    """view1_from_view0 (4, 4)."""
    return view1.cam_from_world @ inverse(view0.cam_from_world)


def covering(view: DepthView, size: tuple[int, int]) -> DepthView:
    """The view enlarged where it is smaller than `size` (height, width), otherwise itself."""
    height, width = view.depth.shape
    return resized(view, max(1.0, size[0] / height, size[1] / width))


def resized(view: DepthView, scale: float) -> DepthView:
    """The view in another resolution; depth is not interpolated."""
    if scale == 1:
        return view
    height, width = view.depth.shape
    shape = (round(width * scale), round(height * scale))
    sx, sy = shape[0] / width, shape[1] / height
    resize = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return DepthView(
        cv2.resize(view.image, shape, interpolation=kind),
        cv2.resize(view.depth, shape, interpolation=cv2.INTER_NEAREST_EXACT),
        resize @ view.K,
        view.cam_from_world,
    )


def crop_pair(
    rng: np.random.Generator, view0: DepthView, view1: DepthView, size: tuple[int, int]
) -> tuple[DepthView, DepthView]:
    """Crops around a random place of view 0 and around where view 1 sees it."""
    known = np.argwhere(np.isfinite(view0.depth))
    if not len(known):
        return crop(view0, (0, 0), size), crop(view1, (0, 0), size)
    y, x = known[rng.integers(len(known))]
    z = view0.depth[y, x]
    point = np.append(np.linalg.inv(view0.K) @ [x, y, 1] * z, 1)
    seen = view1.K @ (relative_pose(view0, view1) @ point)[:3]
    there = seen[:2] / max(seen[2], 1e-3)
    jitter = rng.uniform(-0.25, 0.25, 2) * size[::-1]
    return crop(view0, np.array([x, y]), size), crop(view1, there + jitter, size)


def crop(view: DepthView, centre: Array | tuple[float, float], size: tuple[int, int]) -> DepthView:
    """The part of `size` (height, width) around a pixel (x, y), moved to lie inside the image."""
    height, width = view.depth.shape
    limit = np.array([width - size[1], height - size[0]])
    left, top = np.clip(np.asarray(centre) - np.array(size[::-1]) / 2, 0, limit).astype(int)
    rows, columns = slice(top, top + size[0]), slice(left, left + size[1])
    shift = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]], np.float64)
    depth = np.ascontiguousarray(view.depth[rows, columns], np.float32)
    return DepthView(view.image[rows, columns], depth, shift @ view.K, view.cam_from_world)


def overlap(view0: DepthView, view1: DepthView) -> float:
    """Share of a grid of pixels of view 0 that view 1 sees."""
    height, width = view0.depth.shape
    steps = [np.linspace(0.1, 0.9, 9) * (length - 1) for length in (width, height)]
    points = np.stack(np.meshgrid(*steps), axis=-1).reshape(-1, 2).round()
    _, visible, _ = warp_depth(
        torch.from_numpy(points),
        torch.from_numpy(view0.depth),
        torch.from_numpy(view1.depth),
        torch.from_numpy(view0.K),
        torch.from_numpy(view1.K),
        torch.from_numpy(relative_pose(view0, view1)),
    )
    return float(visible.double().mean())


def undistorted(image: Array, depth: Array, K: Array, distortion: Array) -> tuple[Array, Array]:
    """Image and depth as an ideal camera with the same K sees them."""
    height, width = depth.shape
    maps = cv2.initUndistortRectifyMap(K, distortion, np.eye(3), K, (width, height), cv2.CV_32FC1)
    linear = cv2.remap(image, *maps, cv2.INTER_LINEAR)
    nearest = cv2.remap(
        depth, *maps, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=float("nan")
    )
    return np.asarray(linear), np.asarray(nearest)


def rigid(R: Array, t: Array) -> Array:
    """Rotation and translation -> 4x4 float64."""
    return from_Rt(np.asarray(R, np.float64), np.asarray(t, np.float64))
