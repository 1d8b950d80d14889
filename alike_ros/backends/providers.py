"""Which onnxruntime execution provider runs the network."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import onnxruntime

from alike_ros.errors import ModelError

#: Setting -> onnxruntime's name, in the order in which `auto` takes them.
NAMES = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
_INSTALL = {
    "tensorrt": "pip install onnxruntime-gpu, and TensorRT (on a Jetson: NVIDIA's own wheel)",
    "cuda": "pip install onnxruntime-gpu (on a Jetson: NVIDIA's own wheel)",
    "openvino": "pip install onnxruntime-openvino",
}

log = logging.getLogger(__name__)


def open_session(
    model: bytes | str, provider: str, num_threads: int, cache_dir: Path
) -> tuple[onnxruntime.InferenceSession, str]:
    """A session and the provider that runs it.

    `auto` takes the first of `NAMES` that is installed and starts; an explicit provider that does
    not is a ModelError.
    """
    available = onnxruntime.get_available_providers()
    if provider != "auto":
        if NAMES[provider] not in available:
            raise ModelError(
                f"provider {provider} is not in this onnxruntime, which has "
                f"{', '.join(k for k, v in NAMES.items() if v in available)}; "
                f"{_INSTALL.get(provider, 'pip install onnxruntime')}, or take provider auto"
            )
        return _start(model, provider, num_threads, cache_dir), provider
    for name in [k for k, v in NAMES.items() if v in available and k != "cpu"]:
        try:
            return _start(model, name, num_threads, cache_dir), name
        except ModelError as error:
            log.warning("provider %s does not start, trying the next: %s", name, error)
    return _start(model, "cpu", num_threads, cache_dir), "cpu"


def cores() -> int:
    """Processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def threads(setting: int) -> int:
    """Threads for a setting in which 0 is one per core, at most 4: robots have other work."""
    return setting or min(cores(), 4)


def provider_options(provider: str, cache_dir: Path) -> dict[str, Any]:
    """What onnxruntime is told beyond the provider's name."""
    if provider == "tensorrt":
        return {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(cache_dir)}
    return {}


def _start(
    model: bytes | str, provider: str, num_threads: int, cache_dir: Path
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads(num_threads)
    options.log_severity_level = 3  # its warnings are about graph optimisation
    chosen = [(NAMES[provider], provider_options(provider, cache_dir))]
    try:
        session = onnxruntime.InferenceSession(model, options, providers=chosen)
    except Exception as error:  # onnxruntime's errors share no base but Exception
        raise ModelError(f"onnxruntime cannot load the model with {provider}: {error}") from error
    # onnxruntime falls back to the CPU without a word
    if session.get_providers()[0] != NAMES[provider]:
        raise ModelError(f"onnxruntime did not start {provider} (a missing driver or library?)")
    return session
