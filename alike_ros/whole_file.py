"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from alike_ros.errors import DataError


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Writes a file under another name first, so that no reader finds half of it.

    Makes its folder. Raises DataError where it cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(partial, path)  # noqa: PTH105 (says what it does)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from error
