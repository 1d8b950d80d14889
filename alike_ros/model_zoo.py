"""The weights that the authors of ALIKE released: fetched once, checked, kept in the cache."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from alike_ros.errors import ModelError
from alike_ros.resources import cache_dir

#: Name -> sha256 of NAME.pth.
RELEASED = {
    "alike-t": "c0840329a6b88518d914b03af2be956f5607055a389ba17441db02bb94f7d12e",
    "alike-s": "a9c0789ff0a09f576cc24afe4924d3233471499d1ce3b0248d650c8794e99a94",
    "alike-n": "8bd4789272eec779be280f8fc1007608ff604241440a0a3377c1559199412ee3",
    "alike-l": "bed5fbbf352ab1c3e92e2241881f8b84edce949984fa23bc7f2517eab93938a0",
}
URL = "https://github.com/Shiaoming/ALIKE/raw/main/models"
URL_VARIABLE = "ALIKE_MODELS_URL"  # of a mirror
TRIES = 3
TIMEOUT_S = 30.0
_CHUNK = 1 << 16

log = logging.getLogger(__name__)


def released_path(name: str, folder: Path | None = None) -> Path:
    """Where the weights of a name are, once fetched: in `folder`, or the user's cache."""
    if name not in RELEASED:
        raise ModelError(f"no released model {name!r}, there are {', '.join(RELEASED)}")
    return (folder or cache_dir() / "models") / f"{name}.pth"


def fetch(
    name: str,
    folder: Path | None = None,
    url: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """The weights of a name, downloaded unless they are there. Raises ModelError.

    url is the folder to download from: the authors' by default, or that of ALIKE_MODELS_URL. What
    is left of a download that broke off (.partial) is completed. progress is told the bytes that
    are there and of the whole file (0 where the server does not say).
    """
    target = released_path(name, folder)
    if target.is_dir():
        raise ModelError(f"{target} is a folder where the weights are to be: remove it first")
    if target.exists():
        if _sha256(target) == RELEASED[name]:
            return target
        raise ModelError(f"{target} is there but is not the released {name}: remove it first")
    base = url or os.environ.get(URL_VARIABLE) or URL
    if not base.startswith(("http://", "https://")):
        raise ModelError(f"{base!r} is no address to download from: expected https://...")
    source = f"{base.rstrip('/')}/{target.name}"
    partial = target.with_name(f"{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _download(source, partial, RELEASED[name], progress)
        if _sha256(partial) != RELEASED[name]:
            partial.unlink()
            raise ModelError(
                f"{source} is not the released {name} (its sha256 differs), so the download was "
                "removed; try again, or another address"
            )
        partial.replace(target)
    except OSError as error:
        raise ModelError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def _download(
    source: str, partial: Path, digest: str, progress: Callable[[int, int], None]
) -> None:
    """Completes `partial`, in several tries as long as each brings something."""
    for attempt in range(1, TRIES + 1):
        before = _size(partial)
        try:
            is_end_known = _resume(source, partial, progress)
            got = _size(partial)
            if is_end_known or got == before or _sha256(partial) == digest:
                return
            raise _Broken(f"the connection ended after {got} bytes, of an unknown number")
        except _Broken as broken:
            got = _size(partial)
            if attempt == TRIES or got == before:
                kept = (
                    f"; {got} bytes are kept, the same command goes on from there" if got else ""
                )
                raise ModelError(
                    f"cannot download {source}: {broken} (offline? a mirror's address goes into "
                    f"--url or {URL_VARIABLE}){kept}"
                ) from broken
            log.info("%s broke off after %d bytes (%s), going on", source, got, broken)


class _Broken(Exception):
    """The server or the way to it failed; what came before is in the partial file."""


def _resume(source: str, partial: Path, progress: Callable[[int, int], None]) -> bool:
    """One request for what the partial file lacks; all of it where the server knows no ranges.

    Returns whether the server marks the end, so that what came is all there is.
    """
    start = _size(partial)
    headers = {"User-Agent": "alike_ros"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        request = urllib.request.Request(source, headers=headers)
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return True  # nothing is missing: the checksum tells whether it is the right file
        raise _Broken(f"the server answers {error.code} {error.reason}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _Broken(_reason(error)) from error  # ValueError: it is no address
    with response:
        start = start if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else 0
        with partial.open("ab" if start else "wb") as file:
            _copy(response, file, start, total, progress)
        return bool(length) or bool(response.chunked)


def _copy(
    response: Any, file: Any, done: int, total: int, progress: Callable[[int, int], None]
) -> None:
    progress(done, total)
    for chunk in _chunks(response):
        file.write(chunk)
        done += len(chunk)
        progress(done, total)
    if done < total:
        raise _Broken(f"the connection broke off after {done} of {total} bytes")


def _chunks(response: Any) -> Iterator[bytes]:
    try:
        while chunk := response.read(_CHUNK):
            yield bytes(chunk)
    except http.client.IncompleteRead as error:
        yield error.partial
        raise _Broken("the connection broke off") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_reason(error)) from error


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)
    return str(getattr(cause, "strerror", None) or cause or type(error).__name__)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
