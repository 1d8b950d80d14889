"""Bags that are written come back: the same images, depth, cameras and truth."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags.rosbag2", reason="pip install rosbags")

from alike_ros.camera import Camera, StereoCamera
from alike_ros.cli import main
from alike_ros.config import MODES
from alike_ros.data import open_sequence
from alike_ros.data.bag_file import Bag
from alike_ros.data.bag_writer import STORAGES, TRUTH, write_bag
from alike_ros.data.sequence import CameraFrame
from alike_ros.errors import DataError
from alike_ros.geometry import from_Rt, rotation_exp
from alike_ros.trajectory import Trajectory

RATIONAL = "rational_polynomial"
ROOT = Path(__file__).resolve().parents[2]


def assert_same_frames(read: Any, source: Any) -> None:
    frames, expected = list(read), list(source)
    assert len(frames) == len(expected) > 0
    for frame, other in zip(frames, expected, strict=True):
        assert frame.stamp_ns == other.stamp_ns
        for name in ("image", "depth", "right"):
            left, right = getattr(frame, name), getattr(other, name)
            assert (left is None) == (right is None)
            if left is not None:
                np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("storage", STORAGES)
def test_rendered_frames_come_back(mode: str, storage: str, tmp_path: Path) -> None:
    source = open_sequence("render:room?frames=4", mode)
    write_bag(tmp_path / "bag", source, source, mode, storage)
    read = open_sequence(tmp_path / "bag", mode)
    assert_same_frames(read, source)
    assert not read.skipped
    np.testing.assert_array_equal(read.camera.K, source.camera.K)
    if source.stereo is not None and read.stereo is not None:
        assert read.stereo.baseline == pytest.approx(source.stereo.baseline)
    assert read.truth is not None and source.truth is not None
    assert read.truth.stamps_ns.tolist() == source.truth.stamps_ns.tolist()
    # quaternions in between
    assert np.abs(read.truth.world_from_cam - source.truth.world_from_cam).max() < 1e-12


class Grey:
    """A raw stereo pair of two lenses, and truth at 100 Hz that lasts longer than the images."""

    name = "grey"

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        K = np.array([[60.0, 0, 31.5], [0, 61, 23.5], [0, 0, 1]])
        right_from_left = from_Rt(rotation_exp(np.array([0.01, 0.02, 0.03])), [-0.11, 0.002, 0.0])
        self.camera = Camera(64, 48, K, (0.1, -0.05, 0.001, 0.002))
        right = Camera(64, 48, K + np.diag([3.0, 3, 0]), (0.0, 0.1, 0, 0, 0, 0, 0, 0.2), RATIONAL)
        self.stereo = StereoCamera(self.camera, right, right_from_left)
        stamps_ns = 10**9 + np.arange(100) * 10_000_000
        self.truth = Trajectory(stamps_ns, np.tile(np.eye(4), (100, 1, 1)))

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[CameraFrame]:
        random = np.random.default_rng(0)
        for i in range(3):
            left, right = random.integers(0, 255, (2, 48, 64), np.uint8)
            yield CameraFrame(1_500_000_000 + i * 50_000_000, left, None, right)


def test_grey_pairs_of_distorted_cameras(tmp_path: Path) -> None:
    source = Grey()
    write_bag(tmp_path / "bag", source, source, "stereo")
    read = open_sequence(tmp_path / "bag", "stereo")
    assert_same_frames(read, source)
    assert read.stereo is not None
    for one, other in (
        (read.stereo.left, source.camera),
        (read.stereo.right, source.stereo.right),
    ):
        np.testing.assert_array_equal(one.K, other.K)
        assert (one.distortion, one.distortion_model) == (other.distortion, other.distortion_model)
    difference = read.stereo.right_from_left - source.stereo.right_from_left
    assert np.abs(difference).max() < 1e-12
    assert read.truth is not None
    # of the truth, what lies around the images: 1.48 to 1.62 s, the end not included
    assert read.truth.stamps_ns.tolist() == [10**9 + i * 10_000_000 for i in range(48, 62)]


def test_wrong_use(tmp_path: Path) -> None:
    source = open_sequence("render:room?frames=2", "mono")
    with pytest.raises(DataError, match="no right images"):
        write_bag(tmp_path / "bag", source, source, "stereo")
    assert not (tmp_path / "bag").exists()
    with pytest.raises(DataError, match="has no images"):
        write_bag(tmp_path / "bag", source, [], "mono")
    assert not (tmp_path / "bag").exists()
    write_bag(tmp_path / "bag", source, source, "mono")
    with pytest.raises(DataError, match="exists: remove it"):
        write_bag(tmp_path / "bag", source, source, "mono")
    with pytest.raises(DataError, match="cannot write"):
        write_bag(Path("/proc/bag"), source, source, "mono")


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = tmp_path / "new" / "bag"
    arguments = ["bag", "make", "render:room?frames=9", str(bag), "--mode", "rgbd"]
    assert main([*arguments, "--frames", "3"]) == 0
    assert "3 frames of render_room, mode rgbd, with truth" in capsys.readouterr().out
    assert Bag(bag).counts == {
        "/rgb/image": 3,
        "/rgb/camera_info": 3,
        "/depth/image": 3,
        TRUTH: 3,
    }
    assert main(arguments) == 1
    assert "exists" in capsys.readouterr().err


def test_ctrl_c_keeps_what_was_written(tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    command = [sys.executable, "-m", "alike_ros", "bag", "make", "render:room?frames=100000", bag]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ
    )
    deadline = time.monotonic() + 60
    while sum(file.stat().st_size for file in bag.glob("*.mcap")) < 10**7:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    read = open_sequence(bag, "mono")
    count = len(read)
    assert f"{count} frames of render_room".encode() in output
    assert len(list(islice(read, count))) == count > 5
