"""Feature extraction with onnxruntime."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from alike_ros.backends.providers import open_session, threads
from alike_ros.config import DetectorConfig
from alike_ros.descriptors import DescriptorHead
from alike_ros.errors import DataError, ModelError
from alike_ros.features import Features, check_image
from alike_ros.keypoints import Scratch, detect, released_pixels

#: The `graph` of the model's metadata that this code reads.
GRAPH_VERSION = "1"
#: Output -> pixels of the padded image per cell.
_STRIDES = {"logits": 1, "block1": 1, "level2": 2, "level3": 8, "level4": 32}
STRIDE = 32  # images are padded to multiples of this


class OnnxExtractor:
    """Runs an inference graph written by `alike export`; keypoints and descriptors in NumPy."""

    def __init__(
        self,
        model: str | Path,
        detector: DetectorConfig | None = None,
        provider: str = "auto",
        num_threads: int = 0,
        cache_dir: Path | None = None,
    ) -> None:
        self.detector = detector or DetectorConfig()
        self._session, self.provider = open_session(
            str(model), provider, num_threads, cache_dir or Path(model).parent
        )
        metadata = self._session.get_modelmeta().custom_metadata_map
        if metadata.get("graph") != GRAPH_VERSION:
            raise ModelError(
                f"{model} is not an inference graph of this version of alike_ros: "
                "make it with `alike export`"
            )
        self._head = DescriptorHead.from_json(metadata["descriptor_head"])
        self._scratch = Scratch((0, 0))
        self._bound: _Bound | None = None
        self._size = self._session.get_inputs()[0].shape[:2]
        self.description = (
            f"{metadata['variant']} ({Path(model).name}) on {self.provider}, "
            f"{threads(num_threads)} threads"
        )

    def __call__(self, image: NDArray[np.uint8]) -> Features:
        """Features of an image: (H, W, 3) uint8 RGB or (H, W) uint8 grey, 64x64 or larger."""
        check_image(image)
        height, width = image.shape[:2]
        if isinstance(self._size[0], int) and self._size != [height, width]:
            raise DataError(
                f"image has shape {image.shape}, but the model was exported for "
                f"{self._size[0]}x{self._size[1]} only"
            )
        logits, *maps = self.run(image)
        if self._scratch.shape != (height, width):
            self._scratch = Scratch((height, width))
        keypoints, scores = detect(logits[:height, :width], self.detector, self._scratch)
        points = keypoints
        if not self.detector.sub_pixel:
            points = released_pixels(keypoints, height, width)
        return Features(keypoints, scores, self._head.describe(maps, points))

    def run(self, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """The network alone: score logits and the maps of the descriptors, of the padded image.

        The arrays are used again by the next call.
        """
        rgb = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image
        rgb = np.ascontiguousarray(rgb, np.uint8)
        if self._bound is None or self._bound.size != rgb.shape[:2]:
            self._bound = _Bound(self._session, rgb.shape[:2])
        try:
            return self._bound.run(rgb)
        except onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException as error:
            raise ModelError(f"{self.provider} failed to run the network: {error}") from error


class _Bound:
    """A session whose outputs go to arrays that are made once for an image size."""

    def __init__(self, session: onnxruntime.InferenceSession, size: tuple[int, ...]) -> None:
        self.size = size
        self._session = session
        self._binding = session.io_binding()
        height, width = (side + -side % STRIDE for side in size)
        self._outputs = []
        for output in session.get_outputs():
            stride = _STRIDES[output.name]
            shape = (*output.shape[:-2], height // stride, width // stride)
            array = np.empty(shape, np.float32)
            self._binding.bind_output(
                output.name, "cpu", 0, np.float32, array.shape, array.ctypes.data
            )
            self._outputs.append(array)

    def run(self, rgb: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        self._binding.bind_cpu_input("image", rgb)
        self._session.run_with_iobinding(self._binding)
        return self._outputs
