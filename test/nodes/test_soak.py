"""Endurance of a node: the command, not the time."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here (rclpy)")

from alike_ros.cli import main
from alike_ros.nodes import soak
from alike_ros.nodes.soak import Vitals, children

pytestmark = pytest.mark.ros
SOURCE = "render:room?frames=6"


def run(folder: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit code, and the JSON document with the checks by name."""
    written = folder / "found.json"
    code = main(["bag", "soak", SOURCE, "--mode", "rgbd", "--json", str(written), *options])
    document = json.loads(written.read_text())
    return code, document | {row["name"]: row for row in document["checks"]}


def test_seconds_of_frames(tmp_path: Path) -> None:
    """In so short a time the memory still grows, and the process of adjustment may just start."""
    options = ("--rate", "10", "--max-memory", "100", "--set", "bundle.background=false")
    code, found = run(tmp_path, "--minutes", "0.05", *options)
    assert code == 0, found
    for name in ("threads", "files", "errors", "unaccounted"):
        assert found[name]["limit"] == 0
        assert found[name]["value"] <= 0
    counts = found["counts"]
    assert counts["published"] == found["frames"] >= 30
    assert counts["odom"] == counts["with_pose"] > 0
    assert 0 < found["wait"]["value"] < found["overhead"]["value"]
    assert found["first"]["threads"] > 1


def test_cycles_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "_WARM_CYCLES", 1)
    code, found = run(tmp_path, "--cycles", "2", "--max-memory", "100")
    assert code == 0, found
    assert found["frames"] == 9
    assert found["threads"]["value"] == found["errors"]["value"] == 0
    assert found["overhead"]["value"] is None


def test_limits_that_do_not_hold(tmp_path: Path) -> None:
    code, found = run(tmp_path, "--minutes", "0.02", "--max-overhead", "0")
    assert code == 1
    assert not found["overhead"]["holds"]


def test_vitals_of_a_process() -> None:
    before, release = Vitals.of(os.getpid()), threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    kept = mmap.mmap(-1, 50_000_000, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # not in the heap
    kept.write(os.urandom(1) * len(kept))
    with Path(os.devnull).open():
        after = Vitals.of(os.getpid())
    release.set()
    thread.join()
    assert after.threads == before.threads + 1
    assert after.files == before.files + 1
    assert after.memory_kib - before.memory_kib > 0.9 * len(kept) / 1024
    assert Vitals.held([before, after]) == before


def test_vitals_of_a_family() -> None:
    own = Vitals.of(os.getpid())
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    ) as child:
        assert child.pid in children(os.getpid())
        assert Vitals.of_family(os.getpid()).threads >= own.threads + 1
        assert child.stdin is not None
        child.stdin.close()
    assert child.pid not in children(os.getpid())


def test_images_that_nobody_knows_of() -> None:
    counts = dict.fromkeys(("published", "unusable", "with_pose", "odom", *soak._LEFT_OUT), 0)
    counts |= {"received": 10, "processed": 7, "answered": 7, "overtaken": 2, "unpaired": 1}
    assert soak._unaccounted(counts) == 0
    assert soak._unaccounted(counts | {"received": 12}) == 2
    assert soak._unaccounted(counts | {"with_pose": 7, "odom": 6}) == 1
