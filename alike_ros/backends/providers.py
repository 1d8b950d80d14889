"""Which library runs the network, on what."""

from __future__ import annotations

import importlib.util
import logging
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import onnxruntime

from alike_ros.errors import ModelError

#: Setting -> onnxruntime's name. The settings `numba` and `openvino` are libraries of their own.
NAMES = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
GPU = ("tensorrt", "cuda")
#: Better than onnxruntime's `cpu`, best first.
_LIBRARIES = ("numba", "openvino")
_INSTALL = {
    "tensorrt": "pip install onnxruntime-gpu, and TensorRT (on a Jetson: NVIDIA's own wheel)",
    "cuda": "pip install onnxruntime-gpu (on a Jetson: NVIDIA's own wheel)",
    "numba": "pip install numba",
    "openvino": "pip install openvino",
}
T = TypeVar("T")

log = logging.getLogger(__name__)


def available() -> list[str]:
    """The providers that are installed, best first."""
    listed = onnxruntime.get_available_providers()
    found = [name for name in GPU if NAMES[name] in listed]
    found += [name for name in _LIBRARIES if importlib.util.find_spec(name)]
    return [*found, "cpu"] if NAMES["cpu"] in listed else found


def best_on_cpu() -> str:
    """What `auto` begins with where there is no GPU."""
    return next((name for name in available() if name in _faster()), "cpu")


def _faster() -> tuple[str, ...]:
    """The libraries that are known to be faster than onnxruntime: measured on x86-64 only."""
    return _LIBRARIES if platform.machine() in ("x86_64", "AMD64") else ()


def first_that_starts(
    provider: str, start: Callable[[str], T], without: tuple[str, ...] = ()
) -> T:
    """What `start` makes with a provider.

    `auto` takes the first that is installed, not left out, and starts; an explicit provider that
    does not is a ModelError.
    """
    if provider != "auto":
        if provider not in available():
            raise ModelError(
                f"provider {provider} is not installed here: there is {', '.join(available())}; "
                f"{_INSTALL.get(provider, 'pip install onnxruntime')}, or take provider auto"
            )
        return start(provider)
    wanted = [name for name in available() if name in (*GPU, *_faster())]
    for name in [name for name in wanted if name not in without]:
        try:
            return start(name)
        except ModelError as error:
            log.warning("provider %s does not start, trying the next: %s", name, error)
    return start("cpu")


def cores() -> int:
    """Processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def threads(setting: int) -> int:
    """Threads for a setting in which 0 is one per core, at most 4: robots have other work."""
    return setting or min(cores(), 4)


def provider_options(
    provider: str, precision: str = "fp32", folder: Path | None = None
) -> dict[str, str]:
    """What onnxruntime is told beyond the provider's name.

    folder keeps what the provider compiles; without one it compiles at every start.
    """
    if provider == "tensorrt":
        options = {"trt_fp16_enable": str(precision == "fp16")}
        if folder:
            options |= {
                "trt_engine_cache_enable": "True",
                "trt_engine_cache_path": str(folder),
                "trt_timing_cache_enable": "True",
                "trt_timing_cache_path": str(folder),
            }
        return options
    if provider == "cuda":
        return {
            # memory by need, not in powers of two: a Jetson shares it with everything else
            "arena_extend_strategy": "kSameAsRequested",
            "use_tf32": "0",  # else single precision is rounded to 10 bits
        }
    return {}


def chain(provider: str, options: dict[str, str]) -> list[tuple[str, dict[str, str]]]:
    """The providers of a session; CUDA takes what TensorRT leaves, the CPU what all leave."""
    chosen = [(NAMES[provider], options)]
    if provider == "tensorrt" and NAMES["cuda"] in onnxruntime.get_available_providers():
        chosen.append((NAMES["cuda"], provider_options("cuda")))
    return chosen


def size_of(session: onnxruntime.InferenceSession) -> tuple[int | None, int | None]:
    """Height and width of the images that a graph takes; None is any."""
    sides = session.get_inputs()[0].shape[:2]
    height, width = (side if isinstance(side, int) else None for side in sides)
    return height, width


def open_session(
    model: bytes | str,
    provider: str,
    num_threads: int,
    options: dict[str, str],
    size: tuple[int, ...] = (),
) -> onnxruntime.InferenceSession:
    """A session of onnxruntime. Raises ModelError unless the provider itself runs it.

    With a size (H, W), for images of that only: what follows from it is then computed once.
    """
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads(num_threads)
    settings.log_severity_level = 3  # its warnings are about graph optimisation
    # Threads that wait sleep: other processes need the cores, and two cores that had five to feed
    # ran this faster so, 640x480 in 121 ms (quiet tenth: 73) rather than in 154 (115)
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for side, length in zip(("height", "width"), size, strict=False):
        settings.add_free_dimension_override_by_name(side, length)
    if provider in GPU and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # finds what `pip install onnxruntime-gpu[cuda,cudnn]` brought
    try:
        # without fall-back, of which it would print a page: what comes instead is decided here
        session = onnxruntime.InferenceSession(
            model, settings, providers=chain(provider, options), enable_fallback=0
        )
    except Exception as error:  # onnxruntime's errors share no base but Exception
        raise ModelError(f"onnxruntime cannot load the model with {provider}: {error}") from error
    # onnxruntime falls back to the CPU without a word
    if session.get_providers()[0] != NAMES[provider]:
        raise ModelError(f"onnxruntime did not start {provider} (a missing driver or library?)")
    return session
