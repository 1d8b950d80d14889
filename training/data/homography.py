"""Pairs of views of one photo: a homography between them is known, light and camera differ."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from alike_ros.errors import DataError
from training.config import DataConfig, PhotometryConfig, ViewConfig

Array = NDArray[Any]

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".ppm"}
#: One photo in so many is held back for validation.
HELD_BACK = 12


class HomographyPairs(Dataset[dict[str, Tensor]]):
    """Item i depends on (photos, config, seed, i) alone, so that a run can be resumed exactly.

    Items: image0, image1 (3, H, W) uint8 RGB and view1_from_view0 (3, 3) float32.
    """

    def __init__(self, photos: list[Path], config: DataConfig, seed: int) -> None:
        if not photos:
            raise DataError("no photos: collect some with python -m training.photos")
        self.photos = photos
        self.config = config
        self.seed = seed

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        cv2.setNumThreads(1)  # the workers are the parallelism
        rng = np.random.default_rng([self.seed, index])
        levels = pyramid(str(self.photos[rng.integers(len(self.photos))]))
        if self.config.views.repeated and rng.random() < self.config.views.repeated:
            levels = repeat(rng, levels[-2:])
        size = (self.config.height, self.config.width)
        images, view1_from_view0 = sample_views(rng, levels, size, self.config.views)
        if rng.random() < 0.5:
            images, view1_from_view0 = images[::-1], np.linalg.inv(view1_from_view0)
        image0, image1 = (disturb(rng, image, self.config.photometry) for image in images)
        return {
            "image0": torch.from_numpy(image0).permute(2, 0, 1),
            "image1": torch.from_numpy(image1).permute(2, 0, 1),
            "view1_from_view0": torch.from_numpy(view1_from_view0.astype(np.float32)),
        }


def list_photos(folder: Path) -> list[Path]:
    """Photos below a folder, in order of their names."""
    if not folder.is_dir():
        raise DataError(f"no folder of photos at {folder}, see python -m training.photos")
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def split_photos(photos: list[Path]) -> tuple[list[Path], list[Path]]:
    """Photos to train on and photos held back; a single photo serves as both."""
    held_back = photos[::HELD_BACK]
    return [p for i, p in enumerate(photos) if i % HELD_BACK] or photos, held_back


# Views


@lru_cache(maxsize=512)
def pyramid(path: str) -> list[Array]:
    """The photo (H, W, 3) uint8 RGB and its halvings, down to a shorter side of 200."""
    image = cv2.imread(path, cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f"{path} is not a readable picture")
    return halvings(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def halvings(image: Array) -> list[Array]:
    """The picture (H, W, 3) and its halvings, down to a shorter side of 200."""
    levels = [image]
    while min(levels[-1].shape[:2]) >= 400:
        height, width = levels[-1].shape[:2]
        half = (width // 2, height // 2)
        levels.append(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA))
    return levels


def repeat(rng: np.random.Generator, levels: list[Array]) -> list[Array]:
    """Halvings of a photo under tiles, as of brick walls: alike at first sight, never the same.

    All tiles show one piece of the photo; what is left of the photo itself tells them apart.
    """
    photo = levels[0]
    height, width = photo.shape[:2]
    largest = min(120, height // 2, width // 2)
    sides = np.exp(rng.uniform(np.log(min(20, largest)), np.log(largest), 2)).astype(int)
    y, x = rng.integers(0, np.array([height, width]) - sides)
    tile = photo[y : y + sides[0], x : x + sides[1]]
    count = (-(-height // sides[0]), -(-width // sides[1]), 1)
    tiles = np.tile(tile, count)[:height, :width]
    share = rng.uniform(0.4, 0.9)
    return halvings(cv2.addWeighted(tiles, share, photo, 1 - share, 0))


def sample_views(
    rng: np.random.Generator, levels: list[Array], size: tuple[int, int], config: ViewConfig
) -> tuple[list[Array], Array]:
    """A nearly frontal view and an oblique one of the same place, and view1_from_view0 (3, 3)."""
    height, width = levels[0].shape[:2]
    zoom = np.exp(rng.uniform(-config.log_zoom, config.log_zoom) / 2)
    margin = max(zoom, 1 / zoom)  # neither view shall be larger than the photo, or much blurred
    largest = min(width / size[1], height / size[0]) / margin  # photo pixels per view pixel
    smallest = min(config.min_scale * margin, largest)
    scale = np.exp(rng.uniform(np.log(smallest), np.log(largest)))
    reach = np.maximum(0, [width - scale * size[1], height - scale * size[0]])
    centre = np.array([width, height]) / 2 + rng.uniform(-0.5, 0.5, 2) * reach
    shift = rng.normal(0, config.shift, 2) * scale * size[::-1]
    strength = rng.uniform(config.mildest, 1)
    extent0, extent1 = (s * np.array(size[::-1]) for s in (scale / zoom, scale * zoom))
    place0 = sample_quad(rng, config, strength * config.frontal) * extent0 + centre
    place1 = sample_quad(rng, config, strength) * extent1 + centre + shift
    photo_from_view0, photo_from_view1 = (
        photo_from_view(place, size) for place in (place0, place1)
    )
    if config.shifted and rng.random() < config.shifted:
        photo_from_view1 = photo_from_view0 @ whole_shift(rng, size)
    images = [
        render(levels, homography, size) for homography in (photo_from_view0, photo_from_view1)
    ]
    view1_from_view0 = np.linalg.inv(photo_from_view1) @ photo_from_view0
    # not its sign, by which warps tell what is in front: a corner may lie beyond the horizon
    return images, view1_from_view0 / abs(view1_from_view0[2, 2])


def whole_shift(rng: np.random.Generator, size: tuple[int, int]) -> Array:
    """A translation (3, 3) by whole pixels, up to half of the view each way.

    Both views show the same pixels in other places (but for few pairs, whose views are cut from
    different halvings of the photo), so that what an error of the keypoints owes to the place is
    seen: ALIKE's coarse levels are stretched by up to half a cell at the borders (bilinear
    interpolation with align_corners), and pull keypoints along.
    """
    limit = np.array(size[::-1]) // 2
    shift = np.eye(3)
    shift[:2, 2] = rng.integers(-limit, limit + 1)
    return shift


def sample_quad(rng: np.random.Generator, config: ViewConfig, strength: float) -> Array:
    """Corners (4, 2) of a unit square around 0, each moved, then the square turned."""
    square = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    while True:
        quad = square + rng.uniform(-1, 1, (4, 2)) * config.corners * strength
        if cv2.isContourConvex(quad.astype(np.float32)):
            break
    limit = config.max_rotation
    angle = strength * np.clip(rng.normal(0, config.rotation), -limit, limit)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(quad @ np.array([[cos, sin], [-sin, cos]]))


def photo_from_view(quad: Array, size: tuple[int, int]) -> Array:
    """Homography (3, 3) from a view of `size` onto a quadrilateral (4, 2) of the photo."""
    right, bottom = size[1] - 1, size[0] - 1
    corners = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float32)
    return np.asarray(cv2.getPerspectiveTransform(corners, quad.astype(np.float32)))


def render(levels: list[Array], photo_from_view: Array, size: tuple[int, int]) -> Array:
    """The view (H, W, 3), cut from the level whose pixels are closest to its own in size."""
    corners = np.array([[0, 0, 1], [size[1], 0, 1], [size[1], size[0], 1], [0, size[0], 1]])
    quad = corners @ photo_from_view.T
    area = cv2.contourArea((quad[:, :2] / quad[:, 2:]).astype(np.float32))
    scale = np.sqrt(area / (size[0] * size[1]))
    level = levels[int(np.clip(round(np.log2(max(scale, 1e-3))), 0, len(levels) - 1))]
    sx, sy = level.shape[1] / levels[0].shape[1], level.shape[0] / levels[0].shape[0]
    level_from_photo = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])
    return np.asarray(
        cv2.warpPerspective(
            level,
            level_from_photo @ photo_from_view,
            size[::-1],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
    )


# Light and camera


def disturb(rng: np.random.Generator, image: Array, config: PhotometryConfig) -> Array:
    """A copy of the picture (H, W, 3) uint8 as another light and another camera would give it."""
    linear = image.astype(np.float32) / 255
    linear = change_light(rng, linear, config)
    if rng.random() < config.shadow_share:
        linear *= shadow(rng, image.shape[:2], config.shadow)[..., None]
    if rng.random() < config.blur_share:
        linear = blur(rng, linear, config.blur)
    if rng.random() < config.noise_share:
        linear += noise(rng, linear.shape, config)
    picture = (linear.clip(0, 1) * 255).round().astype(np.uint8)
    if rng.random() < config.grey_share:
        picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < config.jpeg_share:
        quality = int(rng.integers(config.jpeg_quality, 96))
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(picture)


def change_light(rng: np.random.Generator, image: Array, config: PhotometryConfig) -> Array:
    """Gamma, exposure, white balance and saturation of a picture in [0, 1]."""
    gamma = np.exp(rng.uniform(-config.log_gamma, config.log_gamma))
    gain = np.exp(rng.uniform(-config.log_gain, config.log_gain))
    balance = np.exp(rng.uniform(-config.log_colour, config.log_colour, 3))
    levels = np.linspace(0, 1, 256, dtype=np.float32) ** gamma
    curves = (levels[:, None] * gain * balance).astype(np.float32)  # (256, 3)
    values = (image * 255).round().astype(np.uint8)
    lit = np.stack([curves[values[..., c], c] for c in range(3)], axis=-1)
    saturation = np.float32(1 + rng.uniform(-config.saturation, config.saturation))
    grey = lit.mean(-1, keepdims=True)
    return np.asarray(grey + (lit - grey) * saturation)


def shadow(rng: np.random.Generator, size: tuple[int, int], strength: float) -> Array:
    """A smooth field (H, W) of factors between exp(-strength) and exp(strength)."""
    cells = int(rng.integers(2, 7))
    coarse = rng.uniform(-strength, strength, (cells, cells)).astype(np.float32)
    return np.exp(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC))


def blur(rng: np.random.Generator, image: Array, radius: float) -> Array:
    """Out of focus (sigma) or moved (length 3 sigma) by up to `radius` pixels, mostly by less."""
    sigma = radius * rng.random() ** 2
    if rng.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), max(sigma, 0.1)))
    half = max(1, int(np.ceil(1.5 * sigma)))
    angle = rng.uniform(0, np.pi)
    end = np.array([np.cos(angle), np.sin(angle)]) * 1.5 * sigma
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    for t in np.linspace(-1, 1, 6 * half + 1):  # soft line through the middle
        x, y = half + t * end
        x0, y0 = min(int(x), 2 * half - 1), min(int(y), 2 * half - 1)
        fx, fy = x - x0, y - y0
        kernel[y0 : y0 + 2, x0 : x0 + 2] += np.outer([1 - fy, fy], [1 - fx, fx])
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()))


def noise(rng: np.random.Generator, shape: tuple[int, ...], config: PhotometryConfig) -> Array:
    """Noise (H, W, 3): of each pixel alone, or grains of several pixels."""
    values: Array = rng.standard_normal(shape, np.float32)
    if rng.random() < config.grain_share:
        values = cv2.GaussianBlur(values, (0, 0), rng.uniform(0.4, 1.2))
        values = values / values.std()
    return np.asarray(values * np.float32(rng.uniform(0, config.noise)))
