"""Arrays as text: how those that do not run in an ONNX graph travel in its metadata."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]


def to_json(arrays: Mapping[str, Float | None]) -> str:
    """Arrays by name, some of which may not be there."""
    return json.dumps({name: _encode(array) for name, array in arrays.items()})


def from_json(text: str) -> dict[str, Any]:
    """The inverse of `to_json`."""
    return {name: _decode(item) for name, item in json.loads(text).items()}


def _encode(array: Float | None) -> dict[str, Any] | None:
    if array is None:
        return None
    data = base64.b64encode(array.astype("<f4").tobytes()).decode("ascii")
    return {"shape": array.shape, "float32": data}


def _decode(item: dict[str, Any] | None) -> Float | None:
    if item is None:
        return None
    array: Float = np.frombuffer(base64.b64decode(item["float32"]), "<f4").astype(np.float32)
    return array.reshape([int(side) for side in item["shape"]])
