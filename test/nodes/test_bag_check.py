"""A recording through the real nodes over DDS, held to limits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here (rclpy)")
pytest.importorskip("rosbags.rosbag2", reason="pip install rosbags")

from alike_ros.camera import Camera
from alike_ros.cli import main
from alike_ros.config import NodeConfig, load_yaml
from alike_ros.data import CameraFrame, open_sequence
from alike_ros.data.bag_writer import TOPICS, write_bag
from alike_ros.nodes import playback
from alike_ros.nodes.topics import INPUTS
from alike_ros.recording_limits import accuracy_figures
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
        "live_ate": 0.05,  # 0.0004 measured; frames may be overtaken
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


ROBOT = """\
/**:
  ros__parameters:
    mode: rgbd
    frame_id: base_link
    guess_frame_id: wheels
    image_transport: compressed
    depth_transport: compressedDepth
    rectified_images: true
    publish_null_when_lost: true
    max_update_rate: 5.0
"""


class GoesDark:
    """A room through a lens that bends lines; the light goes out at the end, for half a second."""

    def __init__(self, folder: Path) -> None:
        K = np.array([[400.0, 0, 320], [0, 400, 240], [0, 0, 1]])
        Camera(640, 480, K, (-0.28, 0.07, 0, 0)).to_yaml(folder / "camera.yaml")
        self._room = open_sequence("render:room?frames=24", "rgbd", folder / "camera.yaml")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._room, name)

    def __len__(self) -> int:
        return len(self._room)

    def __iter__(self) -> Iterator[CameraFrame]:
        for i, frame in enumerate(self._room):
            yield frame if i < 9 else replace(frame, image=np.zeros_like(frame.image))


def test_settings_of_a_robot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that do not fit what is played do no harm."""
    monkeypatch.setattr(playback, "START_TIMEOUT_S", 30.0)
    (tmp_path / "robot.yaml").write_text(ROBOT)
    config = load_yaml(NodeConfig(), tmp_path / "robot.yaml")
    sequence: Any = GoesDark(tmp_path)
    run = playback.run_through_nodes(sequence, config, progress=False)
    assert run.num_unanswered == 0
    assert not run.unusable
    has_pose = [item.world_from_cam is not None for item in run.estimates]
    assert all(has_pose[:9])
    assert not has_pose[-1]
    values = accuracy_figures(run.trajectory, sequence.truth, correct_scale=False)
    assert values["ate"] < 0.005  # 0.0012 measured; 0.063 if taken for rectified


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
