"""Compilation by numba, and the folder in which what was compiled is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from numba import config, njit

from alike_ros.resources import cache_dir

F = TypeVar("F", bound=Callable[..., Any])
#: All that is compiled; numba itself only looks at the file that a function is in.
_SOURCES = ("simd.py", "kernels.py", "compiled_head.py")


def compiled(function: F) -> F:
    """Compiles at the first call, without the lock that Python's threads share.

    What was compiled is kept on disk, if there is a folder that can be written to.
    """
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}
    theirs, config.CACHE_DIR = config.CACHE_DIR, str(_folder())
    try:
        found: F = njit(cache=True, **options)(function)
    except RuntimeError:  # there is none
        found = njit(**options)(function)
    finally:
        config.CACHE_DIR = theirs
    return found


def is_kept(function: Any) -> bool:
    """Whether a function was compiled before, and is on disk."""
    folder = function.stats.cache_path
    return can_be_kept(function) and any(Path(folder).glob(f"*{function.__name__}-*"))


def can_be_kept(function: Any) -> bool:
    """Whether there is a folder for it."""
    return function.stats.cache_path is not None


def _folder() -> Path:
    """The user's NUMBA_CACHE_DIR, or a folder of ours; another one for other sources."""
    here = Path(__file__).parent
    sources = b"".join((here / name).read_bytes() for name in _SOURCES)
    base = Path(config.CACHE_DIR) if config.CACHE_DIR else cache_dir("") / "numba"
    return base / hashlib.sha256(sources).hexdigest()[:12]
