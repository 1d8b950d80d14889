"""ALIKE: ALNet plus detection; weights from `.pth` and `.safetensors` files."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from alike_ros.errors import ModelError
from alike_ros.network.alnet import VARIANTS, ALNet, Variant
from alike_ros.network.detection import detect, released_pixels
from alike_ros.whole_file import write_whole

__all__ = ["ALIKE", "VARIANTS", "Variant", "load_alike", "save_weights"]


class ALIKE(ALNet):
    """One published network size by name: alike-t, alike-s, alike-n or alike-l."""

    def __init__(self, variant: str) -> None:
        if variant not in VARIANTS:
            raise ModelError(f"unknown variant {variant!r}, known are {', '.join(VARIANTS)}")
        super().__init__(VARIANTS[variant])
        self.variant = variant

    @torch.inference_mode()
    def extract(
        self, image: Tensor, top_k: int = 0, min_score: float = 0.2, sub_pixel: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """RGB (3, H, W) in [0, 1] -> keypoints (N, 2), scores (N,), descriptors (N, dim)."""
        levels = self.levels(image[None])
        height, width = image.shape[-2:]
        score_map = self.score_map(levels, height, width)[0, 0]
        keypoints, scores, _ = detect(score_map, top_k, min_score, sub_pixel)
        points = keypoints if sub_pixel else released_pixels(keypoints, height, width)
        return keypoints, scores, self.describe(levels, points[None])[0]


def load_alike(path: str | Path) -> ALIKE:
    """The network of a weights file, in evaluation mode; the variant is read from the shapes.

    Raises ModelError for a file that is missing, unreadable or of another network. `.pth` files
    are read with `weights_only`: no code in them is run.
    """
    path = Path(path)
    weights = _read_weights(path)
    network = ALIKE(_variant_of(weights, path))
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(
            f"{path} does not hold the weights of an ALIKE network: {error}"
        ) from error
    return network.eval()


def save_weights(network: ALNet, path: str | Path) -> None:
    """Writes the state dict as `.safetensors`; raises DataError where that cannot be done."""
    weights = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    write_whole(path, save(weights))  # their save_file makes files that only the owner can read


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelError(f"no model file {path}")
    try:
        if path.suffix == ".safetensors":
            return dict(load(path.read_bytes()))
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise ModelError(f"{path} is not a readable weights file: {error}") from error
    if isinstance(weights, Mapping):  # a checkpoint of a training holds them as `model`
        weights = weights.get("model", weights)
    if not isinstance(weights, Mapping):
        raise ModelError(f"{path} holds a {type(weights).__name__}, expected a state dict")
    return dict(weights)


def _variant_of(weights: Mapping[str, Tensor], path: Path) -> str:
    try:
        channels = tuple(weights[f"block{i}.conv2.weight"].shape[0] for i in (1, 2, 3, 4))
        shape = (channels, weights["convhead2.weight"].shape[1], "convhead1.weight" not in weights)
    except KeyError as error:
        raise ModelError(f"{path} is not an ALIKE network: it has no {error}") from error
    except (AttributeError, IndexError) as error:
        raise ModelError(f"{path} is not an ALIKE network: {error}") from error
    for name, variant in VARIANTS.items():
        if (variant.channels, variant.dim, variant.single_head) == shape:
            return name
    raise ModelError(f"{path} has channels {channels}, which is none of {', '.join(VARIANTS)}")
