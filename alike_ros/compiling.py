"""Compilation by numba, and the folder in which what was compiled is kept."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba import config, njit

from alike_ros.errors import CompileError
from alike_ros.resources import cache_dir

F = TypeVar("F", bound=Callable[..., Any])
#: All that is compiled, and where its constants are from; numba itself only looks at the file that
#: a function is in.
_SOURCES = (
    "backends/simd.py",
    "backends/kernels.py",
    "backends/compiled_head.py",
    "compiled_matching.py",
    "matching.py",
    "odometry/compiled_reprojection.py",
    "odometry/reprojection.py",
)

log = logging.getLogger(__name__)


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


@contextmanager
def compiling(what: str, seconds: int, function: Any) -> Iterator[None]:
    """Says first that it takes seconds, unless the function is kept on disk.

    CompileError: what goes wrong meanwhile.
    """
    kept = is_kept(function)
    if not kept:
        once = "once" if can_be_kept(function) else "as at every start"
        log.warning("compiling %s for this processor, %s: some %d s", what, once, seconds)
    try:
        yield
    except Exception as error:  # numba's, llvmlite's, or of what is kept on disk
        reason = f"{type(error).__name__}: {error}"
        if kept:
            reason += f" (if what is kept in {_folder()} is broken, delete it)"
        raise CompileError(f"numba {numba.__version__} does not compile: {reason}") from error


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
