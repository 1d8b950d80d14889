"""TensorRT engines on disk: which one fits, and where it lies. Not yet run with TensorRT.

An engine takes minutes to build and holds only for what is in its key.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import onnxruntime

from alike_ros.backends.forms import FeaturesForm

_MARK = "engine.json"  # written when the engine is complete; says what it is for

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """What an engine depends on, besides the graph."""

    device: str
    tensorrt: str
    onnxruntime: str


def engine_key(model_sha: str, form: FeaturesForm, machine: Machine) -> str:
    """The folder's name of an engine: readable, and different wherever the engine is."""
    parts = {"model": model_sha, **asdict(form), **asdict(machine)}
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return f"{form.height}x{form.width}-top{form.top_k}-{form.precision}-{digest[:16]}"


def engine_folder(cache: Path, key: str) -> Path | None:
    """The folder of an engine, made if need be; None, and a warning, where none can be."""
    folder = cache / "tensorrt" / key
    if is_built(folder):
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        log.warning(
            "cannot write to %s (%s): the TensorRT engine will be built again at every start; "
            "set engine_cache_dir to a folder that can be written",
            folder,
            error.strerror,
        )
        return None
    return folder


def is_built(folder: Path | None) -> bool:
    """Whether a complete engine lies there."""
    return folder is not None and (folder / _MARK).is_file()


def mark_built(folder: Path | None, form: FeaturesForm, machine: Machine) -> None:
    """To be called when the engine has been built and has run."""
    if folder and not is_built(folder):
        text = json.dumps({**asdict(form), **asdict(machine)}, indent=2)
        try:
            (folder / _MARK).write_text(text + "\n")
        except OSError as error:
            log.warning(
                "cannot write to %s (%s): the TensorRT engine will be built again at the next "
                "start",
                folder,
                error.strerror,
            )


def this_machine() -> Machine:
    """The GPU and the versions here; what cannot be found out is `unknown`."""
    return Machine(_device(), _tensorrt(), onnxruntime.__version__)


def _device() -> str:
    query = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader", "--id=0"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        board = Path("/proc/device-tree/model")  # a Jetson
        return board.read_text().strip("\0\n ") if board.is_file() else "unknown"


def _tensorrt() -> str:
    for name in ("libnvinfer.so.10", "libnvinfer.so.8", "libnvinfer.so"):
        try:
            return str(ctypes.CDLL(name).getInferLibVersion())
        except (OSError, AttributeError):
            continue
    return "unknown"
