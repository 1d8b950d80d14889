"""Files that come with the package: models, configuration, and the user's cache folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from alike_ros.errors import DataError

_SOURCE_TREE = Path(__file__).resolve().parent.parent


def share_path(relative: str) -> Path:
    """A file of share/alike_ros: of a colcon install, of a pip install, or of the source tree."""
    roots = [Path(p) / "share/alike_ros" for p in _prefixes()]
    for root in [*roots, _SOURCE_TREE]:
        if (root / relative).exists():
            return root / relative
    raise DataError(f"alike_ros is installed without its {relative}: install it again")


def cache_dir(setting: str = "") -> Path:
    """The folder for what can be made again: `setting`, else the user's cache."""
    if setting:
        return Path(setting).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "alike_ros"


def _prefixes() -> list[str]:
    ament = os.environ.get("AMENT_PREFIX_PATH", "")
    return [*filter(None, ament.split(os.pathsep)), sys.prefix]
