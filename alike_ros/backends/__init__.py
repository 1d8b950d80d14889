"""What runs the network: kernels of our own, OpenVINO, onnxruntime, or torch for comparison."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from alike_ros.backends.model_file import onnx_file
from alike_ros.config import Config
from alike_ros.errors import ConfigError
from alike_ros.features import Extractor
from alike_ros.resources import cache_dir

if TYPE_CHECKING:
    from alike_ros.backends.gpu import LiveExtractor

__all__ = ["load_extractor", "load_other"]

log = logging.getLogger(__name__)


def load_extractor(config: Config | None = None) -> LiveExtractor:
    """The extractor that the settings ask for. Raises ModelError."""
    from alike_ros.backends.gpu import GpuExtractor
    from alike_ros.backends.onnx import OnnxExtractor  # onnxruntime takes a while to import
    from alike_ros.backends.providers import first_that_starts

    config = config or Config()
    if config.precision == "fp16" and config.provider in ("numba", "openvino", "cpu"):
        raise ConfigError(
            f"precision fp16 is for the providers tensorrt and cuda, not for {config.provider}"
        )
    cache = cache_dir(config.engine_cache_dir)
    model = onnx_file(config.model, cache)

    def start(provider: str) -> LiveExtractor:
        if provider in ("tensorrt", "cuda"):
            return GpuExtractor(model, config, provider, cache)
        if config.precision == "fp16":
            log.warning("precision fp16 is for tensorrt and cuda: %s runs in fp32", provider)
        return OnnxExtractor(model, config.detector, provider, config.num_threads)

    return first_that_starts(config.provider, start)


def load_other(name: str, top_k: int) -> Extractor:
    """An extractor to compare with: orb, sift, rootsift or xfeat; top_k 0 is all, up to 5000."""
    if name == "xfeat":
        from alike_ros.backends.xfeat import XFeatExtractor

        return XFeatExtractor(top_k)
    from alike_ros.backends.classical import OrbExtractor, SiftExtractor

    return OrbExtractor(top_k) if name == "orb" else SiftExtractor(top_k, name == "rootsift")
