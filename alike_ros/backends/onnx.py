"""Feature extraction with an inference graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from alike_ros.backends.forms import FeaturesForm, form_of
from alike_ros.backends.providers import threads
from alike_ros.backends.runtimes import open_runtime
from alike_ros.config import DetectorConfig
from alike_ros.errors import DataError, ModelError
from alike_ros.features import Features, check_image


class OnnxExtractor:
    """Runs an inference graph written by `alike export`, of either form (see `forms.py`)."""

    def __init__(
        self,
        model: str | Path | bytes,
        detector: DetectorConfig | None = None,
        provider: str = "auto",
        num_threads: int = 0,
        options: dict[str, str] | None = None,
    ) -> None:
        self.detector = detector or DetectorConfig()
        source, name = (model, "") if isinstance(model, bytes) else (str(model), Path(model).name)
        self._runtime = open_runtime(source, provider, num_threads, options)
        self.provider = self._runtime.provider
        metadata = self._runtime.metadata
        form = form_of(metadata, self._runtime.describer)
        if form is None:
            raise ModelError(
                f"{name or 'the model'} is not an inference graph of this version of alike_ros: "
                "make it with `alike export`"
            )
        self._form = form
        self.any_top_k = not isinstance(form, FeaturesForm)
        what = f"{metadata['variant']} ({name})" if name else metadata["variant"]
        if isinstance(form, FeaturesForm):
            what += f" in {form.precision}"
        self.description = f"{what} on {self.provider}, {threads(num_threads)} threads"

    def __call__(self, image: NDArray[np.uint8]) -> Features:
        """Features of an image: (H, W, 3) uint8 RGB or (H, W) uint8 grey, 64x64 or larger."""
        check_image(image)
        size = image.shape[:2]
        wanted = self._runtime.size
        if None not in wanted and wanted != size:
            raise DataError(
                f"image has shape {image.shape}, but the model was exported for "
                f"{wanted[0]}x{wanted[1]} only"
            )
        return self._form.features(self.run(image), size, self.detector)

    def run(self, image: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        """The graph alone: its outputs, which its form describes.

        The arrays are used again by the next call.
        """
        rgb = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image
        return self._runtime.run(np.ascontiguousarray(rgb, np.uint8))
