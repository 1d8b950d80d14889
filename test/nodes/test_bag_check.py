"""A recording through the real nodes over DDS, held to limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here (rclpy)")
pytest.importorskip("rosbags.rosbag2", reason="pip install rosbags")

from alike_ros.cli import main
from alike_ros.data import open_sequence
from alike_ros.data.bag_writer import TOPICS, write_bag
from alike_ros.nodes.topics import INPUTS
from alike_ros.trajectory import Trajectory

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames of a room with depth."""
    path = tmp_path_factory.mktemp("bags") / "room"
    source = open_sequence("render:room?frames=12", "rgbd")
    write_bag(path, source, source, "rgbd")
    return path


def check(bag: Path, capsys: Any, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit code, and the JSON document with the checks by name."""
    written = bag.parent / "found.json"
    code = main(["bag", "check", str(bag), "--mode", "rgbd", "--json", str(written), *options])
    assert written.exists(), capsys.readouterr().err
    document = json.loads(written.read_text())
    written.unlink()
    assert document["holds"] == (code == 0)
    return code, document | {row["name"]: row for row in document["checks"]}


def test_written_topics_are_those_that_the_nodes_read() -> None:
    for mode, inputs in INPUTS.items():
        topics = TOPICS[mode]
        assert topics.image == f"/{inputs.image}"
        assert topics.camera_info == f"/{inputs.camera_info}"
        for written, name in (
            (topics.depth, inputs.depth),
            (topics.right, inputs.right_image),
            (topics.right_camera_info, inputs.right_camera_info),
        ):
            assert written == (f"/{name}" if name else "")


def test_limits_that_hold(bag: Path, capsys: Any) -> None:
    """All of them; the bag's own truth. Times are not held to anything here."""
    limits = {
        "ate": 0.002,  # 0.0003 measured
        "rpe": 0.002,
        "rpe_rotation": 0.1,
        "jump": 0.003,
        "jump_rotation": 0.2,
        "gaps": 0,
        "difference": 0,
        "latency": 1e6,
    }
    options = [f"--max-{name.replace('_', '-')}={limit}" for name, limit in limits.items()]
    code, found = check(bag, capsys, *options, "--min-rate", "0")
    assert code == 0, found
    assert found["frames"] == 12
    assert found["unusable"] == {}
    for name, limit in limits.items():
        assert found[name]["holds"]
        assert found[name]["limit"] == limit
        assert 0 <= found[name]["value"] <= limit
    assert 0 < found["rate"]["value"] <= 30.001


def test_limits_that_do_not_hold(bag: Path, capsys: Any, tmp_path: Path) -> None:
    """A truth that jumps by half a metre at frame 6."""
    truth = open_sequence(bag, "rgbd").truth
    assert truth is not None
    poses = truth.world_from_cam.copy()
    poses[6:, :3, 3] += [0.3, 0.4, 0]
    Trajectory(truth.stamps_ns, poses).write_tum(tmp_path / "truth.tum")
    limits = ["--max-ate", "0.05", "--max-jump", "0.05", "--max-rpe-rotation", "0.1"]
    code, found = check(bag, capsys, "--truth", str(tmp_path / "truth.tum"), *limits)
    assert code == 1
    assert not found["ate"]["holds"]
    assert not found["jump"]["holds"]
    assert found["jump"]["value"] == pytest.approx(0.5, abs=0.01)
    assert found["rpe_rotation"]["holds"]
    assert found["latency"]["value"] is None  # nothing was played in real time


def test_table_for_people(bag: Path, capsys: Any) -> None:
    """Of mono, whose motion is not as exact as that."""
    assert main(["bag", "check", str(bag), "--split", "--max-ate", "1", "--max-jump", "1e-9"]) == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines, err
    ate, jump = (next(x for x in lines if x.startswith(name)) for name in ("ate", "jump"))
    assert "<= 1  ok" in ate
    assert "<= 1e-09  BROKEN" in jump
    assert "latency" not in out  # neither measured nor limited
    assert any(line == "12 frames" for line in lines)


def test_limit_that_needs_a_truth(capsys: Any, tmp_path: Path) -> None:
    source: Any = open_sequence("render:room?frames=2", "mono")
    source.truth = None
    write_bag(tmp_path / "bag", source, source, "mono")
    assert main(["bag", "check", str(tmp_path / "bag"), "--max-ate", "1", "--max-rpe", "1"]) == 1
    assert "--max-ate, --max-rpe: bag has no truth" in capsys.readouterr().err
