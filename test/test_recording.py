"""Recordings for the Rerun viewer. Most tests put a stand-in for rerun-sdk in its place."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from alike_ros.backends import load_other
from alike_ros.cli import main
from alike_ros.config import Config, override
from alike_ros.data import open_sequence
from alike_ros.features import Features
from alike_ros.geometry import from_Rt
from alike_ros.odometry import Estimate, Status
from alike_ros.recording import Recording
from alike_ros.replay import Step, replay
from alike_ros.results import Run

RGBD = override(Config(), {"mode": "rgbd", "detector.top_k": 500})
NOTHING = Features(*(np.empty(shape, np.float32) for shape in ((0, 2), 0, (0, 64))))


class FakeStream:
    """Keeps what is logged: (entity, archetype, its arguments, stamp)."""

    last = None

    def __init__(self, name):
        self.logged, self.name, self.stamp, self.is_open = [], name, None, True
        FakeStream.last = self

    def save(self, path):
        self.path = Path(path)

    def set_time(self, timeline, timestamp):
        self.stamp = int(timestamp.astype(np.int64))

    def log(self, entity, content, static=False):
        self.logged.append((entity, *content, None if static else self.stamp))

    def flush(self):
        pass

    def disconnect(self):
        self.is_open = False

    def of(self, entity):
        return [entry for entry in self.logged if entry[0] == entity]


@pytest.fixture
def stream(monkeypatch):
    """The stand-in; its `last` is the stream of the recording."""

    def archetype(name):
        return lambda *args, **options: (name, (*args, *options.values()))

    names = ("Transform3D", "Pinhole", "EncodedImage", "Points2D", "Points3D", "Scalars")
    names += ("LineStrips2D", "LineStrips3D", "TextLog")
    fake = SimpleNamespace(
        RecordingStream=FakeStream,
        ViewCoordinates=SimpleNamespace(RDF=("ViewCoordinates", ())),
        **{name: archetype(name) for name in names},
    )
    monkeypatch.setitem(sys.modules, "rerun", fake)
    return FakeStream


def record(tmp_path, source="render:room?frames=6"):
    sequence, run = open_sequence(source, "rgbd"), Run()
    with Recording(tmp_path / "new" / "run.rrd", sequence.name, sequence.camera, 0.7) as recording:
        replay(sequence, sequence, load_other("orb", 500), RGBD, run, recording.add)
    return sequence, run


def test_recording_holds_what_the_run_found(tmp_path, stream):
    sequence, run = record(tmp_path)
    last, stamps = stream.last, [frame.stamp_ns for frame in sequence]
    assert not last.is_open
    poses = last.of("world/camera")
    assert [entry[-1] for entry in poses] == stamps
    for entry, estimate in zip(poses, run.estimates, strict=True):
        np.testing.assert_array_equal(entry[2][0], estimate.world_from_cam[:3, 3])
        np.testing.assert_array_equal(entry[2][1], estimate.world_from_cam[:3, :3])
    np.testing.assert_array_equal(
        last.of("world/trajectory/0")[-1][2][0], [run.trajectory.positions]
    )
    assert len(last.of("world/keyframes")) == sum(e.is_keyframe for e in run.estimates) >= 1
    for name in ("time_ms/extract", "time_ms/track", "count/inliers"):
        assert [entry[-1] for entry in last.of(name)] == stamps
    assert [entry[-1] for entry in last.of("world/camera/image")] == [None, *stamps]
    assert [entry[2][0] for entry in last.of("status")] == ["tracking"]
    K = last.of("world/camera/image")[0][2][0]
    np.testing.assert_array_equal(K, sequence.camera.K)


def test_pictures_are_in_colour_and_matches_short(tmp_path, stream):
    sequence, _ = record(tmp_path)
    first = next(iter(sequence)).image
    [contents, kind] = stream.last.of("world/camera/image")[1][2]
    assert kind == "image/jpeg"
    shown = cv2.imdecode(np.frombuffer(contents, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(shown.astype(int) - first).mean() < 5  # measured: 2.3 grey levels
    lines = stream.last.of("world/camera/image/matches")[-1][2][0]
    assert lines.shape[1:] == (2, 2)
    assert len(lines) > 50
    # the camera has turned a little: most matches moved alike
    motion = lines[:, 1] - lines[:, 0]
    apart = np.linalg.norm(motion - np.median(motion, axis=0), axis=1)
    assert np.median(apart) < 20


def test_the_map_is_that_of_the_odometry(tmp_path, stream):
    record(tmp_path, source="render:room?frames=1")
    [landmarks] = stream.last.of("world/landmarks")
    assert len(landmarks[2][0]) > 100
    [keyframes] = stream.last.of("world/keyframes")
    np.testing.assert_array_equal(keyframes[2][0], np.zeros((1, 3)))


def test_a_long_path_is_not_written_again_and_again(tmp_path, stream):
    """Each of 2000 frames is a keyframe here: whole paths would be two million positions."""
    camera = SimpleNamespace(width=8, height=8, K=np.eye(3))
    odometry = SimpleNamespace(keyframe_poses=np.empty((0, 4, 4)), landmarks=np.empty((0, 3)))
    frame = SimpleNamespace(image=np.zeros((8, 8, 3), np.uint8), stamp_ns=0)
    path = np.arange(2000)[:, None] * [0.1, 0, 0.2]
    with Recording(tmp_path / "run.rrd", "long", camera, 0.7) as recording:
        for position in path:
            pose = from_Rt(np.eye(3), position)
            estimate = Estimate(0, Status.TRACKING, pose, is_keyframe=True)
            recording.add(Step(frame, NOTHING, estimate, {}), odometry)
    strips = [(e[0], e[2][0][0]) for e in stream.last.logged if e[0].startswith("world/traj")]
    assert sum(len(strip) for _, strip in strips) < 200 * len(path)  # measured 130
    shown = dict(strips)  # what each entity holds at the end
    assert len(shown) < 10
    ends = [strip[-1] for strip in shown.values()]
    begins = [strip[0] for strip in shown.values()]
    np.testing.assert_array_equal(begins[1:], ends[:-1])  # one line, without a gap
    whole = np.concatenate([path[:1], *(strip[1:] for strip in shown.values())])
    np.testing.assert_array_equal(whole, path)


def test_command_records(tmp_path, stream, capsys):
    arguments = ["run", "render:room?frames=3", "--mode", "rgbd", "--provider", "cpu"]
    arguments += ["--output", str(tmp_path / "out"), "--rerun", str(tmp_path / "run.rrd")]
    assert main(arguments) == 0
    assert stream.last.path == tmp_path / "run.rrd"
    assert len(stream.last.of("world/camera")) == 3
    assert "recorded: " in capsys.readouterr().out


def test_missing_package_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rerun", None)
    target = tmp_path / "run.rrd"
    arguments = ["--output", str(tmp_path / "out"), "--rerun", str(target)]
    assert main(["run", "render:room?frames=3", "--provider", "cpu", *arguments]) == 1
    assert "pip install rerun-sdk" in capsys.readouterr().err
    assert not target.exists()


def test_file_that_cannot_be_written(tmp_path, stream, capsys):
    (tmp_path / "file").write_text("")
    arguments = ["--output", str(tmp_path / "out"), "--rerun", str(tmp_path / "file" / "a.rrd")]
    assert main(["run", "render:room?frames=3", "--provider", "cpu", *arguments]) == 1
    assert "cannot write" in capsys.readouterr().err


def test_the_viewer_reads_the_file(tmp_path):
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")
    record(tmp_path)
    command = [sys.executable, "-m", "rerun", "rrd", "print", "-v"]
    done = subprocess.run(
        [*command, str(tmp_path / "new" / "run.rrd")], capture_output=True, text=True, check=True
    )
    for entity in ("world/camera/image/matches", "world/trajectory", "time_ms/track", "status"):
        assert f"/{entity}" in done.stdout
