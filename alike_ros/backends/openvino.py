"""The inference graph with OpenVINO: faster than onnxruntime on x86-64 processors.

alike-t, 640x480, two threads, in turn with onnxruntime: 6.4 : 7.9 ms for the network; of graphs
before this one alike-s 12.9 : 16.5, alike-n 24.5 : 30.2, alike-l 150 : 160. Only alike-l needs it:
the others are faster in kernels of our own (`compiled.py`).
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alike_ros.backends.outputs import Outputs
from alike_ros.backends.providers import threads
from alike_ros.descriptors import Describer, DescriptorHead
from alike_ros.errors import ModelError

# With this module, OpenVINO reports over the network, from a thread of its own, that it was
# imported. Robots keep that to themselves.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino  # noqa: E402


class OpenVinoRuntime:
    """A graph on the CPU, compiled (0.1 s) when an image of another size comes."""

    provider = "openvino"

    def __init__(self, model: bytes | str, num_threads: int) -> None:
        self._settings = {
            "INFERENCE_NUM_THREADS": threads(num_threads),
            "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16, on processors that have it
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # other processes need the cores
        }
        try:
            self._model = _core().read_model(model)
        except RuntimeError as error:
            raise ModelError(f"openvino cannot load the model: {_reason(error)}") from error
        self._request: _Request | None = None

    @property
    def metadata(self) -> Mapping[str, str]:
        """Of the ONNX file."""
        if not self._model.has_rt_info(["framework"]):
            return {}
        found = self._model.rt_info["framework"].items()
        return {name: value.astype(str) for name, value in found}

    @property
    def size(self) -> tuple[int | None, int | None]:
        """Height and width of the images; None takes any."""
        sides = self._model.input(0).partial_shape[:2]
        height, width = (side.get_length() if side.is_static else None for side in sides)
        return height, width

    def run(self, rgb: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        """Outputs for an image (H, W, 3); the arrays are used again by the next call."""
        try:
            if self._request is None or self._request.image.shape != rgb.shape:
                self._request = self._compile(rgb.shape)
            return self._request.run(rgb)
        except RuntimeError as error:
            raise ModelError(f"openvino failed to run the network: {_reason(error)}") from error

    def describer(self, head: DescriptorHead) -> Describer:
        """The head itself."""
        return head

    def _compile(self, shape: tuple[int, ...]) -> _Request:
        model = self._model.clone()
        model.reshape(list(shape))
        compiled = _core().compile_model(model, "CPU", self._settings)
        return _Request(compiled)


class _Request:
    """A graph compiled for one size, and the arrays in which it finds and leaves its data."""

    def __init__(self, model: openvino.CompiledModel) -> None:
        self._request = model.create_infer_request()
        self.image: NDArray[np.uint8] = self._request.get_input_tensor().data
        kinds = {x.get_any_name(): (x.shape, x.element_type.to_dtype()) for x in model.outputs}
        self._outputs = Outputs(kinds)
        for name, array in self._outputs.arrays.items():
            self._request.set_tensor(name, openvino.Tensor(array, shared_memory=True))

    def run(self, rgb: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        self.image[:] = rgb  # an array of the caller's would have to be writable; takes 0.05 ms
        self._request.infer(share_outputs=True)
        return self._outputs.maps


@functools.cache
def _core() -> openvino.Core:
    """One for the life of the process, loaded in a thread that ends.

    On processors with AMX, OpenVINO's CPU plugin gives the thread that loads it a stack for signal
    handlers (20 kB) and frees that stack with the last core. Were it the main thread's, the next
    Ctrl-C would crash the process.
    """
    with ThreadPoolExecutor(1) as loader:
        return loader.submit(_load).result()


def _load() -> openvino.Core:
    core = openvino.Core()
    core.get_property("CPU", "FULL_DEVICE_NAME")  # the plugin is loaded when it is asked for
    return core


def _reason(error: RuntimeError) -> str:
    """The last line; those before it say where in OpenVINO's sources it was raised."""
    return str(error).strip().splitlines()[-1]
