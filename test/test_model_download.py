"""Released weights from a local server that behaves well, badly, or not at all."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from alike_ros import model_zoo
from alike_ros.backends.model_file import onnx_file
from alike_ros.cli import main
from alike_ros.errors import ModelError
from alike_ros.model_zoo import fetch, released_path

WEIGHTS = np.random.default_rng(0).bytes(300_000)


@dataclass
class Mirror:
    """What the server sends, how many bytes it sends before it hangs up, and what it was asked."""

    url: str = ""
    content: bytes = WEIGHTS
    breaks_after: list[int] = field(default_factory=list)  # of the next requests
    knows_ranges: bool = True
    length: str = "told"  # or "chunked", or "unknown": until it hangs up
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Mirror]:
    """A server of alike-t, in whose place made-up weights are known; cache in tmp_path."""
    state = Mirror()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # chunks are not of 1.0

        def do_GET(self) -> None:
            wanted = self.headers["Range"] if state.knows_ranges else None
            state.ranges.append(self.headers["Range"])
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            if self.path != "/models/alike-t.pth":
                self.send_error(404)
            elif wanted and start >= len(state.content):
                self.send_error(416)
            else:
                self.send_response(206 if wanted else 200)
                if state.length == "told":
                    self.send_header("Content-Length", str(len(state.content) - start))
                elif state.length == "chunked":
                    self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                most = state.breaks_after.pop(0) if state.breaks_after else len(state.content)
                sent = state.content[start : start + most]
                self.wfile.write(_chunked(sent) if state.length == "chunked" else sent)
                if state.length == "chunked" and start + most >= len(state.content):
                    self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/models"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(model_zoo.URL_VARIABLE, state.url)
    monkeypatch.setitem(model_zoo.RELEASED, "alike-t", hashlib.sha256(WEIGHTS).hexdigest())
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def _chunked(data: bytes) -> bytes:
    pieces = [data[i : i + 9999] for i in range(0, len(data), 9999)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


def _partial() -> Path:
    path = released_path("alike-t")
    return path.with_name(f"{path.name}.partial")


def test_weights_are_fetched_once(mirror: Mirror, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    path = fetch("alike-t", progress=lambda done, total: told.append((done, total)))
    assert path == tmp_path / "alike_ros" / "models" / "alike-t.pth"
    assert path.read_bytes() == WEIGHTS
    assert told[0] == (0, len(WEIGHTS)) and told[-1] == (len(WEIGHTS), len(WEIGHTS))
    assert fetch("alike-t") == path
    assert mirror.ranges == [None]
    assert not _partial().exists()


def test_folder_and_address_may_be_given(mirror: Mirror, tmp_path: Path) -> None:
    path = fetch("alike-t", tmp_path / "new" / "folder", f"{mirror.url}/")
    assert path == tmp_path / "new" / "folder" / "alike-t.pth"
    assert path.read_bytes() == WEIGHTS


def test_a_download_that_breaks_off_goes_on(mirror: Mirror) -> None:
    mirror.breaks_after = [100_000, 50_000]
    assert fetch("alike-t").read_bytes() == WEIGHTS
    assert mirror.ranges == [None, "bytes=100000-", "bytes=150000-"]


@pytest.mark.parametrize("length", ["chunked", "unknown"])
def test_a_download_of_unknown_length_that_breaks_off_goes_on(mirror: Mirror, length: str) -> None:
    mirror.length = length
    mirror.breaks_after = [99_990, 50_000]
    assert fetch("alike-t").read_bytes() == WEIGHTS
    assert len(mirror.ranges) == 3
    released_path("alike-t").unlink()
    mirror.ranges.clear()
    mirror.content = WEIGHTS[:-1] + b"!"
    with pytest.raises(ModelError, match="sha256"):
        fetch("alike-t")
    assert len(mirror.ranges) == (1 if length == "chunked" else 2)


def test_the_next_call_goes_on_where_the_last_gave_up(mirror: Mirror) -> None:
    mirror.breaks_after = [1000] * model_zoo.TRIES
    with pytest.raises(ModelError, match=r"broke off.*3000 bytes are kept"):
        fetch("alike-t")
    assert _partial().stat().st_size == 3000
    mirror.ranges.clear()
    told: list[tuple[int, int]] = []
    path = fetch("alike-t", progress=lambda done, total: told.append((done, total)))
    assert path.read_bytes() == WEIGHTS
    assert mirror.ranges == ["bytes=3000-"]
    assert told[0] == (3000, len(WEIGHTS))
    assert not _partial().exists()


def test_without_ranges_it_starts_again(mirror: Mirror) -> None:
    mirror.knows_ranges = False
    mirror.breaks_after = [100_000]
    assert fetch("alike-t").read_bytes() == WEIGHTS


def test_a_whole_partial_file_needs_its_checksum_only(mirror: Mirror) -> None:
    _partial().parent.mkdir(parents=True)
    _partial().write_bytes(WEIGHTS)
    assert fetch("alike-t").read_bytes() == WEIGHTS
    assert mirror.ranges == [f"bytes={len(WEIGHTS)}-"]


def test_wrong_bytes_are_removed(mirror: Mirror) -> None:
    mirror.content = WEIGHTS[:-1] + b"!"
    with pytest.raises(ModelError, match="sha256"):
        fetch("alike-t")
    assert list(released_path("alike-t").parent.iterdir()) == []


def test_a_file_of_the_user_is_not_replaced(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "alike-t.pth").write_bytes(b"trained all night")
    with pytest.raises(ModelError, match="is not the released alike-t"):
        fetch("alike-t", tmp_path)
    assert (tmp_path / "alike-t.pth").read_bytes() == b"trained all night"
    assert not mirror.ranges


def test_offline_is_told(mirror: Mirror) -> None:
    with pytest.raises(ModelError, match="offline"):
        fetch("alike-t", url="http://127.0.0.1:9/models")  # the discard port: closed
    assert not released_path("alike-t").exists()
    with pytest.raises(ModelError, match="404"):
        fetch("alike-t", url=f"{mirror.url}/elsewhere")
    with pytest.raises(ModelError, match="https://"):
        fetch("alike-t", url="/some/folder")
    for odd in ("http://[::1/models", f"{mirror.url}/modèles"):
        with pytest.raises(ModelError, match="cannot download"):
            fetch("alike-t", url=odd)


def test_a_folder_that_cannot_be_written_is_told(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot write"):
        fetch("alike-t", tmp_path / "file" / "below")


def test_a_folder_in_the_place_of_the_file_is_told(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "alike-t.pth").mkdir()
    with pytest.raises(ModelError, match="is a folder"):
        fetch("alike-t", tmp_path)


def test_a_bare_name_stands_for_the_fetched_file(mirror: Mirror, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="alike models fetch alike-t"):
        onnx_file("alike-t", tmp_path)
    fetch("alike-t")
    with pytest.raises(ModelError, match=r"alike-t\.pth"):  # found, but these are no weights
        onnx_file("alike-t", tmp_path)


def test_commands(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    assert capsys.readouterr().out.count("not fetched") == 4
    assert main(["models", "fetch", "alike-t"]) == 0
    assert capsys.readouterr().out.strip() == str(released_path("alike-t"))
    assert main(["models", "list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert str(released_path("alike-t")) in listed[0]
    assert sum("not fetched" in line for line in listed) == 3
    assert main(["models", "fetch", "alike-t", "alike-x"]) == 1
    assert "alike-t, alike-s, alike-n, alike-l" in capsys.readouterr().err


def test_checksums_are_those_of_the_released_files(shared: Path) -> None:
    sums = shared / "weights" / "SHA256SUMS"
    if not sums.is_file():
        pytest.skip("no released weights in ../shared")
    known = {name: digest for digest, name in map(str.split, sums.read_text().splitlines())}
    assert {f"{name}.pth": digest for name, digest in model_zoo.RELEASED.items()} == known
