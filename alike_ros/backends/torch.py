"""Feature extraction with torch: the network as trained."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from alike_ros.config import DetectorConfig
from alike_ros.features import Features, check_image
from alike_ros.network import load_alike


class TorchExtractor:
    """Runs a `.pth` or `.safetensors` file on a torch device."""

    def __init__(
        self, model: str | Path, detector: DetectorConfig | None = None, device: str = "cpu"
    ) -> None:
        self.detector = detector or DetectorConfig()
        self._network = load_alike(model).to(device)
        self._device = device
        self.description = f"{self._network.variant} ({Path(model).name}) in torch on {device}"

    def __call__(self, image: NDArray[np.uint8]) -> Features:
        """Features of an image: (H, W, 3) uint8 RGB or (H, W) uint8 grey, 64x64 or larger."""
        check_image(image)
        rgb = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image
        pixels = torch.from_numpy(np.ascontiguousarray(rgb)).to(self._device)
        d = self.detector
        found = self._network.extract(
            pixels.permute(2, 0, 1).float() / 255, d.top_k, d.min_score, d.sub_pixel
        )
        return Features(*(x.cpu().numpy() for x in found))
