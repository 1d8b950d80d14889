"""The nodes in their own processes over DDS: frames in, odometry out."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here (rclpy)")

from ros_helpers import Part, rendered, write_bag

from alike_ros.backends import load_extractor
from alike_ros.config import Config
from alike_ros.data import CameraFrame, open_sequence
from alike_ros.errors import AlikeError
from alike_ros.geometry import inverse
from alike_ros.nodes.domain import free_domain
from alike_ros.nodes.playback import NodeRun, run_through_nodes
from alike_ros.nodes.player import Player
from alike_ros.odometry import VisualOdometry
from alike_ros.odometry.estimate import Status
from alike_ros.trajectory import Trajectory

pytestmark = pytest.mark.ros
ROOT = Path(__file__).resolve().parents[2]


def direct(sequence: Any, config: Config) -> Trajectory:
    """What the odometry gives without ROS."""
    extract = load_extractor(config)
    stereo = config.mode == "stereo"
    odometry = VisualOdometry(sequence.stereo if stereo else sequence.camera, config)
    stamps, poses = [], []
    for frame in sequence:
        right = extract(frame.right) if stereo else None
        depth = frame.depth if config.mode == "rgbd" else None
        estimate = odometry.track(frame.stamp_ns, extract(frame.image), depth, right)
        if estimate.world_from_cam is not None:
            stamps.append(estimate.stamp_ns)
            poses.append(estimate.world_from_cam)
    return Trajectory.from_poses(stamps, poses)


def rmse(run: NodeRun, truth: Trajectory) -> float:
    """Of the positions, both trajectories in the frame of the first camera."""
    stamps = run.trajectory.stamps_ns[:, None]
    nearest = truth.world_from_cam[np.abs(truth.stamps_ns - stamps).argmin(axis=1)]
    expected = (inverse(nearest[0]) @ nearest)[:, :3, 3]
    return float(np.sqrt(((run.trajectory.positions - expected) ** 2).sum(axis=1).mean()))


def check(run: NodeRun, sequence: Any, config: Config) -> None:
    """Every frame is answered, with its own stamp and the pose that it has without ROS."""
    assert run.exit_codes in ([0], [0, 0])
    assert not run.unusable
    assert run.num_unanswered == 0
    assert [item.stamp_ns for item in run.estimates] == [frame.stamp_ns for frame in sequence]
    expected = direct(sequence, config)
    assert run.trajectory.stamps_ns.tolist() == expected.stamps_ns.tolist()
    assert len(run.latency_ms) == len(expected)
    assert np.abs(run.trajectory.world_from_cam - expected.world_from_cam).max() < 1e-9


@pytest.mark.parametrize(("mode", "split"), [("rgbd", True), ("stereo", True), ("mono", False)])
def test_rendered_frames(config: Config, mode: str, split: bool) -> None:
    sequence = rendered(mode, 12)
    config = replace(config, mode=mode)
    run = run_through_nodes(sequence, config, split=split, progress=False)
    check(run, sequence, config)
    if mode != "mono":  # whose scale is unknown
        assert all(item.status == Status.TRACKING for item in run.estimates)
        assert all(item.metric_scale for item in run.estimates)
        assert rmse(run, sequence.truth) < 0.002  # 0.0003 measured


def test_frames_faster_than_the_node(config: Config) -> None:
    """The newest are taken, the others counted."""
    sequence = rendered("mono", 30)
    config = replace(config, mode="mono", num_threads=1)
    run = run_through_nodes(sequence, config, rate_hz=200, progress=False)
    assert run.num_played == 30
    assert run.num_unanswered > 0
    assert run.estimates[-1].stamp_ns == sequence.truth.stamps_ns[29]
    assert run.exit_codes == [0]


def test_bag_of_rendered_frames(config: Config, tmp_path: Path) -> None:
    source = rendered("rgbd", 12)
    write_bag(tmp_path / "bag", source, "rgbd", "MCAP")
    config = replace(config, mode="rgbd")
    sequence = open_sequence(tmp_path / "bag", "rgbd")
    run = run_through_nodes(sequence, config, progress=False)
    check(run, source, config)
    assert rmse(run, source.truth) < 0.002  # 0.0003 measured


def test_bag_of_real_frames(config: Config, shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "tum_fr1_rpy"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    source = Part(open_sequence(folder, "rgbd"), 12)
    write_bag(tmp_path / "bag", source, "rgbd", "SQLITE3")
    config = replace(config, mode="rgbd")
    sequence = open_sequence(tmp_path / "bag", "rgbd")
    run = run_through_nodes(sequence, config, progress=False)
    check(run, source, config)
    assert source.truth is not None
    assert rmse(run, source.truth) < 0.03  # 0.014 measured


def start(name: str, *parameters: str, domain_id: int = 0) -> subprocess.Popen[str]:
    """A node's process, alone in its domain unless one is given."""
    arguments = [word for item in parameters for word in ("-p", item)]
    return subprocess.Popen(
        [sys.executable, "-m", f"alike_ros.nodes.{name}", "--ros-args", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ
        | {
            "ROS_DOMAIN_ID": str(domain_id or free_domain()),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "PYTHONPATH": str(ROOT),
        },
    )


@pytest.mark.parametrize("name", ["vo_node", "features_node", "tracking_node"])
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_node_with_code_0(config: Config, name: str, kind: signal.Signals) -> None:
    process = start(name, f"model:={config.model or chr(39) * 2}")
    try:
        assert process.stdout is not None
        lines = []
        while not any("waiting for messages" in line for line in lines):
            lines.append(process.stdout.readline())
            assert lines[-1], lines
        process.send_signal(kind)
        assert process.wait(10) == 0
        assert "Traceback" not in process.stdout.read()
    finally:
        process.kill()


@pytest.fixture
def shared_memory() -> Iterator[None]:
    """Removes what killed processes leave in /dev/shm, 64 MB each: nobody else does."""

    def locks() -> set[Path]:
        return set(Path("/dev/shm").glob("fast*_el"))

    before = locks()
    yield
    for lock in locks() - before:
        with lock.open() as file, suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held as long as its process lives
            lock.with_name(lock.name.removesuffix("_el")).unlink(missing_ok=True)
            lock.unlink()


def test_killed_node_comes_back(
    config: Config, monkeypatch: pytest.MonkeyPatch, shared_memory: None
) -> None:
    """SIGKILL leaves its subscriptions behind; the next process works all the same."""
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    frames, domain_id = list(rendered("rgbd", 60)), free_domain()
    model = f"model:={config.model or chr(39) * 2}"
    with closing(Player(rendered("rgbd", 1).camera, "rgbd", "vo/status", domain_id)) as player:

        def answered(frame: CameraFrame) -> bool:
            player.publish(frame)
            return player.wait(lambda: frame.stamp_ns in player.odometry, 0.5)

        for part in (frames[:30], frames[30:]):
            process = start("vo_node", "mode:=rgbd", "frame_id:=''", model, domain_id=domain_id)
            try:
                assert any(answered(frame) for frame in part)
            finally:
                process.kill()
                process.wait()


def test_either_half_that_is_killed_comes_back(
    config: Config, monkeypatch: pytest.MonkeyPatch, shared_memory: None
) -> None:
    """The other half goes on without a restart."""
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    domain_id, names = free_domain(), ("features_node", "tracking_node")
    model = f"model:={config.model or chr(39) * 2}"

    def begin(name: str) -> subprocess.Popen[str]:
        return start(name, "mode:=rgbd", "frame_id:=''", model, domain_id=domain_id)

    halves = {name: begin(name) for name in names}
    frames = iter(rendered("rgbd", 180))
    camera = rendered("rgbd", 1).camera
    with closing(Player(camera, "rgbd", "tracking/status", domain_id)) as player:

        def answered(frame: CameraFrame) -> bool:
            player.publish(frame)
            return player.wait(lambda: frame.stamp_ns in player.odometry, 0.5)

        try:
            assert any(answered(next(frames)) for _ in range(60))
            for name in names:
                halves[name].kill()
                halves[name].wait()
                halves[name] = begin(name)
                assert any(answered(next(frames)) for _ in range(60)), name
        finally:
            for process in halves.values():
                process.kill()
                process.wait()


def test_wrong_parameter_stops_a_node_with_one_line() -> None:
    process = start("vo_node", "mode:=lidar")
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    # Kilted has renamed a variable that this test sets under both names, and says so
    lines = [line for line in output.strip().splitlines() if "[rmw_" not in line]
    assert len(lines) == 1
    assert "expected one of mono, rgbd, stereo" in output


def test_failing_node_is_reported_with_its_words(tmp_path: Path) -> None:
    config = Config(mode="mono", model=str(tmp_path / "missing.onnx"))
    begin = time.monotonic()
    with pytest.raises(AlikeError, match=r"vo_node ended with code 1(.|\n)*missing\.onnx"):
        run_through_nodes(rendered("mono", 3), config, progress=False)
    assert time.monotonic() - begin < 20
