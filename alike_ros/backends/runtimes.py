"""What loads an inference graph and runs it: onnxruntime or OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from alike_ros.backends.providers import first_that_starts, open_session, provider_options
from alike_ros.errors import ModelError


class Runtime(Protocol):
    """A graph that is ready to run."""

    provider: str
    names: list[str]  # of the outputs

    @property
    def metadata(self) -> Mapping[str, str]:
        """Of the ONNX file."""
        ...

    @property
    def size(self) -> tuple[int | None, int | None]:
        """Height and width of the images; None takes any."""
        ...

    def run(self, rgb: NDArray[np.uint8]) -> list[NDArray[Any]]:
        """Outputs for a contiguous image (H, W, 3); the arrays are used again by the next call.

        Raises ModelError.
        """
        ...


def open_runtime(
    model: bytes | str, provider: str, num_threads: int, options: dict[str, str] | None = None
) -> Runtime:
    """The graph with a provider, or the first that starts (`auto`). Raises ModelError.

    Options, if given, are what onnxruntime passes to the provider.
    """

    def start(name: str) -> Runtime:
        if name == "openvino":
            from alike_ros.backends.openvino import OpenVinoRuntime  # not installed everywhere

            return OpenVinoRuntime(model, num_threads)
        return OnnxRuntime(model, name, num_threads, options)

    return first_that_starts(provider, start)


class OnnxRuntime:
    """A graph with one of onnxruntime's providers."""

    def __init__(
        self,
        model: bytes | str,
        provider: str,
        num_threads: int,
        options: dict[str, str] | None = None,
    ) -> None:
        given = provider_options(provider) if options is None else options
        self._session = open_session(model, provider, num_threads, given)
        self.provider = provider
        self.names = [output.name for output in self._session.get_outputs()]
        self._bound: _Bound | None = None

    @property
    def metadata(self) -> Mapping[str, str]:
        """Of the ONNX file."""
        metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        return metadata

    @property
    def size(self) -> tuple[int | None, int | None]:
        """Height and width of the images; None takes any."""
        sides = self._session.get_inputs()[0].shape[:2]
        height, width = (side if isinstance(side, int) else None for side in sides)
        return height, width

    def run(self, rgb: NDArray[np.uint8]) -> list[NDArray[Any]]:
        """Outputs for an image (H, W, 3); the arrays are used again by the next call."""
        try:
            if self._bound is None or self._bound.shape != rgb.shape:
                self._bound = _Bound(self._session, rgb, self.names)
            return self._bound.run(rgb)
        except onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException as error:
            raise ModelError(f"{self.provider} failed to run the network: {error}") from error


class _Bound:
    """A session whose outputs go to the arrays that it made for the first image of a size."""

    def __init__(
        self, session: onnxruntime.InferenceSession, rgb: NDArray[np.uint8], names: list[str]
    ) -> None:
        self.shape = rgb.shape
        self._session = session
        self._outputs: list[NDArray[Any]] = session.run(names, {"image": rgb})
        self._binding = session.io_binding()
        for name, array in zip(names, self._outputs, strict=True):
            kind, address = array.dtype.type, array.ctypes.data
            self._binding.bind_output(name, "cpu", 0, kind, array.shape, address)

    def run(self, rgb: NDArray[np.uint8]) -> list[NDArray[Any]]:
        self._binding.bind_cpu_input("image", rgb)
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()
        return self._outputs
