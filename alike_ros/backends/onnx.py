"""Feature extraction with onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from alike_ros.backends.forms import FeaturesForm, MapsForm, form_of
from alike_ros.backends.providers import open_session, threads
from alike_ros.config import DetectorConfig
from alike_ros.errors import DataError, ModelError
from alike_ros.features import Features, check_image

_NUMPY = {"tensor(float)": np.float32, "tensor(int32)": np.int32}


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
        self._session, self.provider = open_session(source, provider, num_threads, options)
        metadata = self._session.get_modelmeta().custom_metadata_map
        form = form_of(metadata, threads(num_threads))
        if form is None:
            raise ModelError(
                f"{name or 'the model'} is not an inference graph of this version of alike_ros: "
                "make it with `alike export`"
            )
        self._form = form
        self._bound: _Bound | None = None
        self._size = self._session.get_inputs()[0].shape[:2]
        self._names = [output.name for output in self._session.get_outputs()]
        what = f"{metadata['variant']} ({name})" if name else metadata["variant"]
        if isinstance(form, FeaturesForm):
            what += f" in {form.precision}"
        self.description = f"{what} on {self.provider}, {threads(num_threads)} threads"

    def __call__(self, image: NDArray[np.uint8]) -> Features:
        """Features of an image: (H, W, 3) uint8 RGB or (H, W) uint8 grey, 64x64 or larger."""
        check_image(image)
        size = image.shape[:2]
        if isinstance(self._size[0], int) and tuple(self._size) != size:
            raise DataError(
                f"image has shape {image.shape}, but the model was exported for "
                f"{self._size[0]}x{self._size[1]} only"
            )
        outputs = dict(zip(self._names, self.run(image), strict=True))
        return self._form.features(outputs, size, self.detector)

    def run(self, image: NDArray[np.uint8]) -> list[NDArray[Any]]:
        """The graph alone: its outputs, which its form describes.

        The arrays are used again by the next call.
        """
        rgb = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image
        rgb = np.ascontiguousarray(rgb, np.uint8)
        if self._bound is None or self._bound.size != rgb.shape[:2]:
            self._bound = _Bound(self._session, self._form, rgb.shape[:2])
        try:
            return self._bound.run(rgb)
        except onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException as error:
            raise ModelError(f"{self.provider} failed to run the network: {error}") from error


class _Bound:
    """A session whose outputs go to arrays that are made once for an image size."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        form: MapsForm | FeaturesForm,
        size: tuple[int, ...],
    ) -> None:
        self.size = size
        self._session = session
        self._binding = session.io_binding()
        self._outputs = []
        for output in session.get_outputs():
            array = np.empty(form.shape(output.name, output.shape, size), _NUMPY[output.type])
            self._binding.bind_output(
                output.name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data
            )
            self._outputs.append(array)

    def run(self, rgb: NDArray[np.uint8]) -> list[NDArray[Any]]:
        self._binding.bind_cpu_input("image", rgb)
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()
        return self._outputs
