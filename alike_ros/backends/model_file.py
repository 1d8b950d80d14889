"""From the setting `model` to an ONNX file: the default one, a given one, or exported weights."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from alike_ros.backends.forms import GRAPH_VERSION
from alike_ros.errors import ModelError
from alike_ros.model_zoo import RELEASED, released_path
from alike_ros.resources import share_path

#: Relative to share/alike_ros.
DEFAULT_MODEL = "models/alike-t.onnx"
WEIGHTS = (".pth", ".safetensors")

log = logging.getLogger(__name__)


def onnx_file(model: str, cache: Path) -> Path:
    """The ONNX file of a setting; weights are exported once, into `cache`.

    The setting is a path, the name of a released model that was fetched, or empty: the default.
    Raises ModelError for a missing file, another kind of file, or weights without torch.
    """
    path = Path(model).expanduser() if model else share_path(DEFAULT_MODEL)
    if model in RELEASED and not path.is_file():
        path = released_path(model)
        if not path.is_file():
            raise ModelError(f"{model} is not on this machine: alike models fetch {model}")
    if not path.is_file():
        raise ModelError(f"no model file {path}")
    if path.suffix == ".onnx":
        return path
    if path.suffix not in WEIGHTS:
        raise ModelError(f"{path} is not a model: expected .onnx, {' or '.join(WEIGHTS)}")
    return _exported(path, cache)


def _exported(weights: Path, cache: Path) -> Path:
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
    try:
        from alike_ros.network import load_alike
        from alike_ros.network.export import export_checked
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{weights} holds weights, which need {error.name} to be exported: pip install torch "
            f"onnx safetensors, or run `alike export {weights}` where they are installed and take "
            "the .onnx"
        ) from error
    target = cache / f"{weights.stem}-{digest}-graph{GRAPH_VERSION}.onnx"
    if not target.is_file():
        log.info("exporting %s to %s", weights, target)
        try:
            cache.mkdir(parents=True, exist_ok=True)
            export_checked(load_alike(weights), target)
        except OSError as error:
            raise ModelError(
                f"cannot write the exported model to {cache}: {error.strerror}; set "
                "engine_cache_dir to a folder that can be written"
            ) from error
    return target
