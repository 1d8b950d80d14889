"""Photo textures, and an atlas that holds them at every resolution."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from alike_ros.errors import DataError
from alike_ros.images import decode, rgb_or_grey

Image = NDArray[np.uint8]

#: Photos that lie in the wheels of scikit-image: surfaces, and pictures to hang on them.
SURFACES = ("brick.png", "gravel.png", "grass.png")
PICTURES = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "hubble_deep_field.jpg",
    "motorcycle_left.png",
    "rocket.jpg",
)


class Photos:
    """The photos of an installed scikit-image, read as files: nothing of it is imported."""

    def __init__(self) -> None:
        spec = find_spec("skimage")
        if spec is None or not spec.submodule_search_locations:
            raise DataError("rendered scenes need photo textures: pip install scikit-image")
        folder = Path(spec.submodule_search_locations[0]) / "data"
        self.surfaces = [_photo(folder / name) for name in SURFACES]
        self.pictures = [_photo(folder / name) for name in PICTURES]

    def collage(self, random: np.random.Generator, height: int, width: int, count: int) -> Image:
        """A surface (height, width, 3) with `count` pictures at random places."""
        image = _tiled(self.surfaces[random.integers(len(self.surfaces))], random, height, width)
        image = _stained(image, random)
        for _ in range(count):
            _hang(image, self.pictures[random.integers(len(self.pictures))], random)
        return image

    def picture(self, random: np.random.Generator, height: int, width: int) -> Image:
        """The middle of one picture, cut to the wanted proportions."""
        picture = _mirrored(self.pictures[random.integers(len(self.pictures))], random)
        scale = max(height / picture.shape[0], width / picture.shape[1])
        picture = _resized(picture, scale * 1.001)
        y, x = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
        return picture[y : y + height, x : x + width]


@dataclass(frozen=True)
class Atlas:
    """Textures and their halved copies, side by side in one image for one `cv2.remap`.

    boxes (N * levels, 4) float32 holds x, y, width and height of level k of texture n in row
    `n * levels + k`. Levels below one texel repeat the last.
    """

    image: Image
    boxes: NDArray[np.float32]
    levels: int

    @classmethod
    def of(cls, textures: list[Image], levels: int = 6) -> Atlas:
        """Packs in rows, highest first."""
        pyramids = [level for texture in textures for level in _halved(texture, levels)]
        boxes = np.zeros((len(pyramids), 4), np.float32)
        atlas_width = max(4096, *(level.shape[1] for level in pyramids))
        x = y = row_height = 0
        for i in sorted(range(len(pyramids)), key=lambda i: -pyramids[i].shape[0]):
            height, width = pyramids[i].shape[:2]
            if x + width > atlas_width:
                x, y, row_height = 0, y + row_height, 0
            boxes[i] = x, y, width, height
            x, row_height = x + width, max(row_height, height)
        image = np.zeros((y + row_height, atlas_width, 3), np.uint8)
        for level, (x, y, width, height) in zip(pyramids, boxes.astype(int), strict=True):
            image[y : y + height, x : x + width] = level
        return cls(image, boxes, levels)


def _photo(path: Path) -> Image:
    try:
        image = rgb_or_grey(decode(path.read_bytes()))
    except (OSError, DataError) as error:
        raise DataError(
            f"{path} is missing or damaged: pip install --force-reinstall scikit-image"
        ) from error
    return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)


def _halved(texture: Image, levels: int) -> list[Image]:
    pyramid = [texture]
    while len(pyramid) < levels:
        height, width = pyramid[-1].shape[:2]
        half = (max(width // 2, 1), max(height // 2, 1))
        pyramid.append(np.asarray(cv2.resize(pyramid[-1], half, interpolation=cv2.INTER_AREA)))
    return pyramid


def _tiled(tile: Image, random: np.random.Generator, height: int, width: int) -> Image:
    """Mirrored copies, so that no seam shows."""
    tile = _mirrored(tile, random)
    pair = np.concatenate([tile, tile[:, ::-1]], axis=1)
    block = np.concatenate([pair, pair[::-1]], axis=0)
    repeats = (-(-height // block.shape[0]), -(-width // block.shape[1]), 1)
    return np.asarray(np.tile(block, repeats)[:height, :width])


def _stained(image: Image, random: np.random.Generator) -> Image:
    """A tint, and brightness that changes slowly: tells the copies of one tile apart."""
    height, width = image.shape[:2]
    spots = random.uniform(80, 208, (height // 96 + 2, width // 96 + 2, 1))
    spots = np.asarray(spots * random.uniform(0.7, 1.1, 3), np.uint8)
    spots = np.asarray(cv2.resize(spots, (width, height), interpolation=cv2.INTER_LINEAR))
    return np.asarray(cv2.multiply(image, spots, scale=1 / 160), np.uint8)


def _hang(image: Image, picture: Image, random: np.random.Generator) -> None:
    """Draws the picture somewhere, 150 to 400 texels wide, or as much as there is room for."""
    picture = _mirrored(picture, random)
    room = min(image.shape[0] / picture.shape[0], image.shape[1] / picture.shape[1])
    picture = _resized(picture, min(random.uniform(150, 400) / picture.shape[1], room))
    height, width = picture.shape[:2]
    y = random.integers(image.shape[0] - height + 1)
    x = random.integers(image.shape[1] - width + 1)
    image[y : y + height, x : x + width] = picture


def _mirrored(image: Image, random: np.random.Generator) -> Image:
    return image[:, ::-1] if random.random() < 0.5 else image


def _resized(image: Image, scale: float) -> Image:
    height, width = (max(int(n * scale + 1e-6), 1) for n in image.shape[:2])
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=kind), np.uint8)
