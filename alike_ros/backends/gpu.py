"""Feature extraction on a GPU: a graph of fixed shapes for each image size that comes.

Run with CUDA on an H200. TensorRT has not been run: tested on the CPU as far as that goes.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from alike_ros.backends import engines
from alike_ros.backends.forms import FEATURES_VERSION, FeaturesForm
from alike_ros.backends.onnx import OnnxExtractor
from alike_ros.backends.providers import (
    GPU,
    first_that_starts,
    open_session,
    provider_options,
)
from alike_ros.config import Config, DetectorConfig
from alike_ros.errors import AlikeError, ConfigError, ModelError
from alike_ros.features import Features, check_image

#: Of TensorRT's TopK.
MAX_TOP_K = 3840

log = logging.getLogger(__name__)


class LiveExtractor(Protocol):
    """An extractor whose detector can be changed while it runs.

    With `any_top_k`, detector.top_k may be another for every image; else a graph is made for it.
    """

    any_top_k: bool
    detector: DetectorConfig

    @property
    def description(self) -> str:
        """What runs, in words."""
        ...

    def __call__(self, image: NDArray[np.uint8]) -> Features:
        """Features of an image."""
        ...


class SwapExtractor:
    """Serves with one extractor until a better one, made in a thread, is ready."""

    any_top_k = False

    def __init__(
        self, first: LiveExtractor, make: Callable[[], LiveExtractor], better: str
    ) -> None:
        self.detector = first.detector
        self._serving = first
        self._better = better
        self._note = f", while {better} is being built"
        # a daemon: a build cannot be stopped, and must not keep the process from ending
        self._thread = threading.Thread(target=self._swap, args=(make,), daemon=True)
        self._thread.start()

    @property
    def description(self) -> str:
        """What serves now."""
        return self._serving.description + self._note

    def __call__(self, image: NDArray[np.uint8]) -> Features:
        """Features of an image, from whichever serves now."""
        serving = self._serving
        serving.detector = self.detector
        return serving(image)

    def _swap(self, make: Callable[[], LiveExtractor]) -> None:
        try:
            ready = make()
        except AlikeError as error:
            self._note = f", as {self._better} failed"
            log.warning("going on with %s: %s", self._serving.description, error)
            return
        self._serving, self._note = ready, ""
        log.info("from now on: %s", ready.description)


class GpuExtractor:
    """Runs a model on `tensorrt` or `cuda`: the graph is made when an image of its size comes.

    With tensorrt, CUDA or else the CPU serves while an engine is built.
    """

    any_top_k = False

    def __init__(self, model: Path, config: Config, provider: str, cache: Path) -> None:
        self.detector = config.detector
        self._source = GraphSource(model)
        check_starts(provider)
        self._config = config
        self._provider = provider
        self._cache = cache
        self._made_for = _in_graph(config.detector)
        self._extractors: dict[tuple[int, ...], LiveExtractor] = {}

    @property
    def description(self) -> str:
        """What runs; before the first image, what will."""
        if not self._extractors:
            return f"{self._source.path.name} on {self._provider}, made for the first image"
        return "; ".join(extractor.description for extractor in self._extractors.values())

    def __call__(self, image: NDArray[np.uint8]) -> Features:
        """Features of an image: (H, W, 3) uint8 RGB or (H, W) uint8 grey, 64x64 or larger."""
        check_image(image)
        size = image.shape[:2]
        if self._made_for != _in_graph(self.detector):
            self._extractors, self._made_for = {}, _in_graph(self.detector)
        if size not in self._extractors:
            self._extractors[size] = self._make(size)
        extractor = self._extractors[size]
        extractor.detector = self.detector
        return extractor(image)

    def _make(self, size: tuple[int, ...]) -> LiveExtractor:
        form = FeaturesForm.for_detector(size, self.detector, self._config.precision)
        if self._provider == "cuda":
            return self._on_cuda(form)
        engine = Engine(self._source, form, self._config, self._cache)
        if engine.is_built:
            return engine.load()
        return SwapExtractor(self._meanwhile(form), engine.load, "the TensorRT engine")

    def _meanwhile(self, form: FeaturesForm) -> LiveExtractor:
        try:
            return self._on_cuda(form)
        except ModelError:
            return first_that_starts("auto", self._on_cpu, without=GPU)

    def _on_cpu(self, provider: str) -> OnnxExtractor:
        threads = self._config.num_threads
        return OnnxExtractor(self._source.path, self.detector, provider, threads)

    def _on_cuda(self, form: FeaturesForm) -> OnnxExtractor:
        graph = self._source.graph(form)
        return OnnxExtractor(
            graph, self.detector, "cuda", self._config.num_threads, cuda_options()
        )


class Engine:
    """The TensorRT engine of a model for a form, in a folder of the cache if there can be one."""

    def __init__(
        self, source: GraphSource, form: FeaturesForm, config: Config, cache: Path
    ) -> None:
        if form.top_k > MAX_TOP_K:
            raise ConfigError(
                f"TensorRT finds at most {MAX_TOP_K} keypoints, detector.top_k is {form.top_k} "
                "(0 means 5000): set a lower one"
            )
        self._source, self._form, self._config = source, form, config
        self._machine = engines.this_machine()
        key = engines.engine_key(source.sha, form, self._machine)
        self.folder = engines.engine_folder(cache, key)

    @property
    def is_built(self) -> bool:
        """Whether `load` takes seconds rather than minutes."""
        return engines.is_built(self.folder)

    def load(self) -> OnnxExtractor:
        """The extractor that runs the engine, which is built if need be. Raises ModelError."""
        config, form = self._config, self._form
        options = provider_options("tensorrt", precision=form.precision, folder=self.folder)
        graph = self._source.graph(form)
        extractor = OnnxExtractor(graph, config.detector, "tensorrt", config.num_threads, options)
        extractor.run(np.zeros((form.height, form.width, 3), np.uint8))  # what is made lazily
        engines.mark_built(self.folder, form, self._machine)
        return extractor


class GraphSource:
    """A model file of either form, from which graphs of the form FeaturesForm are made."""

    def __init__(self, path: Path) -> None:
        try:
            import onnx
        except ModuleNotFoundError as error:
            raise ModelError("tensorrt and cuda need onnx: pip install onnx") from error
        self.path = path
        content = path.read_bytes()
        self.sha = hashlib.sha256(content).hexdigest()
        try:
            self._model = onnx.load_from_string(content)
        except Exception as error:  # protobuf's, which comes in several flavours
            raise ModelError(f"cannot load the model {path}: {error}") from error
        self._metadata = {item.key: item.value for item in self._model.metadata_props}

    def graph(self, form: FeaturesForm) -> bytes:
        """The graph of a form; the file itself if it is one already. Raises ModelError."""
        from alike_ros.backends.feature_graph import feature_graph

        if self._metadata.get("graph") == FEATURES_VERSION:
            return bytes(self._model.SerializeToString())
        return bytes(feature_graph(self._model, form).SerializeToString())


def cuda_options() -> dict[str, str]:
    """For a graph of fixed shapes: its kernels are recorded once and launched together."""
    return provider_options("cuda") | {"enable_cuda_graph": "1"}


def check_starts(provider: str) -> None:
    """Raises ModelError unless a provider is installed and starts."""
    options = provider_options(provider)
    first_that_starts(provider, lambda name: open_session(_probe(), name, 1, options))


def _in_graph(detector: DetectorConfig) -> tuple[int, bool]:
    """The settings that a graph is made for; the others may change while it runs."""
    return detector.top_k, detector.sub_pixel


def _probe() -> bytes:
    """A model with which to see whether a provider starts."""
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "probe", [x], [y])
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    return bytes(model.SerializeToString())
