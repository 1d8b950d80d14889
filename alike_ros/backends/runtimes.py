"""What loads an inference graph and runs it: onnxruntime, OpenVINO or kernels of our own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from alike_ros.backends.outputs import Outputs
from alike_ros.backends.providers import (
    GPU,
    NAMES,
    first_that_starts,
    open_session,
    provider_options,
    size_of,
)
from alike_ros.descriptors import Describer, DescriptorHead
from alike_ros.errors import ModelError

#: Of a graph's inputs and outputs.
_TYPES = {"tensor(uint8)": np.uint8, "tensor(int32)": np.int32, "tensor(float)": np.float32}


class Runtime(Protocol):
    """A graph that is ready to run."""

    provider: str

    @property
    def metadata(self) -> Mapping[str, str]:
        """Of the ONNX file."""
        ...

    @property
    def size(self) -> tuple[int | None, int | None]:
        """Height and width of the images; None takes any."""
        ...

    def run(self, rgb: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        """Outputs for a contiguous image (H, W, 3), strips as one map (see `outputs.py`).

        The arrays are used again by the next call. Raises ModelError.
        """
        ...

    def describer(self, head: DescriptorHead) -> Describer:
        """What runs the head: itself, unless the runtime has something faster."""
        ...


def open_runtime(
    model: bytes | str, provider: str, num_threads: int, options: dict[str, str] | None = None
) -> Runtime:
    """The graph with a provider, or the first that starts (`auto`). Raises ModelError.

    Options, if given, are what onnxruntime passes to the provider.
    """

    def start(name: str) -> Runtime:
        if name == "openvino":
            try:
                from alike_ros.backends.openvino import OpenVinoRuntime
            except ImportError as error:  # of a wheel for another system
                raise ModelError(f"openvino cannot be imported: {error}") from error
            return OpenVinoRuntime(model, num_threads)
        if name == "numba":
            try:
                from alike_ros.backends.compiled import CompiledRuntime
            except Exception as error:  # llvmlite's are not all ImportErrors
                raise ModelError(f"numba cannot be imported: {error}") from error
            return CompiledRuntime(model, num_threads)
        return OnnxRuntime(model, name, num_threads, options)

    return first_that_starts(provider, start)


class OnnxRuntime:
    """A graph with one of onnxruntime's providers.

    On the CPU it is loaded again for each size of images (0.1 s): alike-t's network then took 0.94
    : 1 of the time of a graph that has to ask for sizes all the way.
    """

    def __init__(
        self,
        model: bytes | str,
        provider: str,
        num_threads: int,
        options: dict[str, str] | None = None,
    ) -> None:
        given = provider_options(provider) if options is None else options
        self._open = partial(open_session, model, provider, num_threads, given)
        self._session = self._open()
        self.provider = provider
        self._bound: _Bound | _BoundOnGpu | None = None

    @property
    def metadata(self) -> Mapping[str, str]:
        """Of the ONNX file."""
        metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        return metadata

    @property
    def size(self) -> tuple[int | None, int | None]:
        """Height and width of the images; None takes any."""
        return size_of(self._session)

    def run(self, rgb: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        """Outputs for an image (H, W, 3); the arrays are used again by the next call."""
        try:
            if self._bound is None or self._bound.shape != rgb.shape:
                self._bound = self._bind(rgb)
            return self._bound.run(rgb)
        except onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException as error:
            raise ModelError(f"{self.provider} failed to run the network: {error}") from error

    def describer(self, head: DescriptorHead) -> Describer:
        """The head itself."""
        return head

    def _bind(self, rgb: NDArray[np.uint8]) -> _Bound | _BoundOnGpu:
        on_gpu = self._session.get_providers()[0] in [NAMES[name] for name in GPU]
        if None not in self.size:
            return _BoundOnGpu(self._session) if on_gpu else _Bound(self._session, rgb)
        return _Bound(self._session if on_gpu else self._open(rgb.shape[:2]), rgb)


class _Bound:
    """A session whose outputs go to the arrays that it made for the first image of a size."""

    def __init__(self, session: onnxruntime.InferenceSession, rgb: NDArray[np.uint8]) -> None:
        self.shape = rgb.shape
        self._session = session
        names = [output.name for output in session.get_outputs()]
        found = dict(zip(names, session.run(names, {"image": rgb}), strict=True))
        self._outputs = Outputs({name: (x.shape, x.dtype) for name, x in found.items()})
        self._binding = session.io_binding()
        for name, array in self._outputs.arrays.items():
            kind, address = array.dtype.type, array.ctypes.data
            self._binding.bind_output(name, "cpu", 0, kind, array.shape, address)

    def run(self, rgb: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        self._binding.bind_cpu_input("image", rgb)
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()
        return self._outputs.maps


class _BoundOnGpu:
    """A session of fixed shapes with input and outputs in the GPU's memory, at one address.

    A recorded CUDA graph (`enable_cuda_graph`) needs that.
    """

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._binding = session.io_binding()
        (image,) = session.get_inputs()
        self.shape = tuple(image.shape)
        self._image = self._allocate(image)
        self._binding.bind_ortvalue_input(image.name, self._image)
        self._outputs = {x.name: self._allocate(x) for x in session.get_outputs()}
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def run(self, rgb: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        self._image.update_inplace(rgb)
        self._session.run_with_iobinding(self._binding)
        return {name: value.numpy() for name, value in self._outputs.items()}

    @staticmethod
    def _allocate(argument: Any) -> onnxruntime.OrtValue:
        kind = _TYPES[argument.type]
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(argument.shape, kind, "cuda", 0)
