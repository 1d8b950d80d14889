"""What runs the network: onnxruntime, or torch for comparison."""

from __future__ import annotations

from alike_ros.backends.model_file import onnx_file
from alike_ros.config import Config
from alike_ros.features import Extractor
from alike_ros.resources import cache_dir

__all__ = ["load_extractor"]


def load_extractor(config: Config | None = None) -> Extractor:
    """The extractor that the settings ask for. Raises ModelError."""
    from alike_ros.backends.onnx import OnnxExtractor  # onnxruntime takes a while to import

    config = config or Config()
    cache = cache_dir(config.engine_cache_dir)
    model = onnx_file(config.model, cache)
    return OnnxExtractor(model, config.detector, config.provider, config.num_threads, cache)
