"""`alike evaluate odometry`, on rendered scenes of which everything is known."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alike_ros.backends import load_other
from alike_ros.cli import main
from alike_ros.config import Config, override
from alike_ros.data import open_sequence
from alike_ros.data.perturbation import PERTURBATIONS
from alike_ros.geometry import from_Rt
from alike_ros.odometry import Estimate, Status
from alike_ros.odometry_evaluation import FeatureOdometry, Trial, evaluate, trials
from alike_ros.opencv_odometry import OpencvRgbdOdometry, is_available
from alike_ros.trajectory import Trajectory

ROOT = Path(__file__).parents[1]
KEYS = [
    *("sequence", "extractor", "perturbation", "level", "ate_rmse_m", "rpe_trans_rmse_m"),
    *("rpe_rot_rmse_deg", "lost", "initialising", "fps", "nees", "run"),
]
RGBD = override(Config(), {"mode": "rgbd", "detector.top_k": 500})


class Counting:
    """An extractor that counts its images."""

    description = "counts"

    def __init__(self):
        self.images, self._extract = 0, load_other("orb", 500)

    def __call__(self, image):
        self.images += 1
        return self._extract(image)


def run(sequence, extractor, *trial, config=RGBD):
    return evaluate("room", sequence, "orb", FeatureOdometry(extractor), Trial(*trial), config)


def test_command_writes_rows_and_a_picture(tmp_path, capsys):
    rows_file, picture = tmp_path / "out" / "rows.json", tmp_path / "rows.png"
    arguments = [
        *("evaluate", "odometry", "render:room?frames=8", "--mode", "rgbd"),
        *("--perturb", "exposure", "--extractors", "alike,orb", "--provider", "cpu"),
        *("--set", "detector.top_k=500", "--json", str(rows_file), "--plot", str(picture)),
    ]
    assert main(arguments) == 0
    rows = json.loads(rows_file.read_text())
    assert all(list(row) == KEYS for row in rows)
    levels = [("none", 0), *(("exposure", x) for x in (1, 2, 3))]
    ran = [(row["extractor"], row["perturbation"], row["level"]) for row in rows]
    assert ran == [(name, *level) for name in ("alike", "orb") for level in levels]
    assert {row["sequence"] for row in rows} == {"render_room"}
    for row in rows:
        assert row["lost"] == 0
        assert row["ate_rmse_m"] < (0.01 if row["extractor"] == "alike" else 0.03)
        assert row["fps"] > 0
        assert row["nees"] > 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "perturbation" in printed
    assert "exposure" in printed

    # going on from the file adds what is missing and leaves the rest as it is
    rows_file.write_text(json.dumps(rows[:-1]))
    assert main([*arguments, "--resume"]) == 0
    again = json.loads(rows_file.read_text())
    assert again[:-1] == rows[:-1]
    assert {**again[-1], "fps": 0} == {**rows[-1], "fps": 0}


def test_runs_begin_later_and_their_medians_are_told(tmp_path, capsys):
    """Random changes differ from run to run: their seeds do."""
    rows_file, picture = tmp_path / "rows.json", tmp_path / "rows.png"
    arguments = [
        *("evaluate", "odometry", "render:room?frames=9", "--mode", "rgbd", "--extractors", "orb"),
        *("--perturb", "stamp-jitter", "--json", str(rows_file), "--plot", str(picture)),
    ]
    assert main([*arguments, "--runs", "2"]) == 0
    first = json.loads(rows_file.read_text())
    assert main([*arguments, "--runs", "3", "--resume"]) == 0
    rows = json.loads(rows_file.read_text())
    assert rows[:8] == first  # the others are new
    assert [row["run"] for row in rows] == [0, 1] * 4 + [2] * 4
    medians = capsys.readouterr().out.rpartition("medians\n")[2].splitlines()[1:]
    levels = ("none", "0"), ("stamp-jitter", "1"), ("stamp-jitter", "5"), ("stamp-jitter", "10")
    for line, (name, level) in zip(medians, levels, strict=True):
        cells = line.split()
        errors = [
            row["ate_rmse_m"]
            for row in rows
            if (row["perturbation"], row["level"]) == (name, float(level))
        ]
        assert len(set(errors)) == 3
        assert cells[:4] == ["orb", name, level, "3"]
        assert float(cells[4]) == pytest.approx(np.median(errors), abs=6e-6)
        assert float(cells[5]) == pytest.approx(max(errors), abs=6e-6)


def test_later_runs_leave_out_the_first_frames():
    frames = open_sequence("render:room?frames=6", "rgbd")
    stamps = [frame.stamp_ns for frame in frames]
    ran = [frame.stamp_ns for frame, _ in Trial(run=2, frames=5).of(frames, lambda: None)]
    assert ran == stamps[2:5]
    assert not list(Trial(run=6).of(frames, lambda: None))


@pytest.mark.parametrize(
    "other",
    [
        ("--mode", "mono"),
        ("--model", "other.onnx"),
        ("--set", "detector.top_k=501"),
        ("--seed", "1"),
        ("--frames", "3"),
    ],
)
def test_rows_of_other_settings_are_not_taken_for_these(tmp_path, capsys, other):
    rows_file = tmp_path / "rows.json"
    arguments = [
        *("evaluate", "odometry", "render:room?frames=3", "--mode", "rgbd"),
        *("--extractors", "orb", "--json", str(rows_file)),
    ]
    assert main(arguments) == 0
    written = rows_file.read_bytes()
    assert main([*arguments, *other, "--resume"]) == 1
    error = capsys.readouterr().err
    assert other[1].rpartition("=")[2] in error and f"{rows_file} is of other settings" in error
    (tmp_path / "rows.settings.json").unlink()
    assert main([*arguments, "--resume"]) == 1
    assert "does not tell the settings" in capsys.readouterr().err
    assert rows_file.read_bytes() == written


def test_rows_of_another_sequence_of_the_same_name_are_not_taken_for_its_own(tmp_path, capsys):
    rows_file = tmp_path / "rows.json"
    options = ["--mode", "rgbd", "--extractors", "orb", "--json", str(rows_file), "--resume"]

    def go_on(source):
        return main(["evaluate", "odometry", source, *options])

    assert go_on("render:room?frames=3") == 0
    assert go_on("render:yard?frames=3") == 0  # another name: its row is added
    assert go_on("render:room?frames=3") == 0  # and nothing is left to do
    rows = json.loads(rows_file.read_text())
    assert [row["sequence"] for row in rows] == ["render_room", "render_yard"]
    for source in ("render:room?frames=4", "render:yard?frames=4"):
        assert go_on(source) == 1
        assert f"{source!r}" in capsys.readouterr().err
    assert json.loads(rows_file.read_text()) == rows


def test_mono_has_no_nees(tmp_path):
    rows_file = tmp_path / "rows.json"
    source = "render:room?frames=8"
    arguments = ["--extractors", "sift", "--json", str(rows_file)]
    assert main(["evaluate", "odometry", source, "--mode", "mono", *arguments]) == 0
    [row] = json.loads(rows_file.read_text())
    assert list(row) == KEYS
    assert row["nees"] is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["render:room", "--perturb", "rain"], "unknown name 'rain', known are: dropped"),
        (["render:room", "--extractors", "surf"], "unknown name 'surf', known are: alike"),
        (["render:room", "--extractors", ""], "--extractors names none that runs, of: alike"),
        (["render:room", "--extractors", "opencv-rgbd"], "--mode rgbd"),
        (["render:room", "--resume"], "--json FILE"),
        (["nowhere"], "nowhere does not exist"),
    ],
)
def test_wrong_use_is_told_in_one_line(arguments, told, capsys):
    assert main(["evaluate", "odometry", *arguments]) == 1
    assert told in capsys.readouterr().err


def test_sequence_without_truth(tmp_path, capsys):
    cv2 = pytest.importorskip("cv2")
    sequence = open_sequence("render:room?frames=1")
    cv2.imwrite(str(tmp_path / "0.png"), next(iter(sequence)).image)
    sequence.camera.to_yaml(tmp_path / "camera.yaml")
    assert main(["evaluate", "odometry", str(tmp_path)]) == 1
    assert "has no truth" in capsys.readouterr().err


def test_help_names_every_perturbation(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "odometry", "--help"])
    text = capsys.readouterr().out
    assert "examples:\n  alike evaluate odometry" in text
    assert all(name in text for name in PERTURBATIONS)


def test_interrupted_evaluation_keeps_its_rows(tmp_path):
    rows_file = tmp_path / "rows.json"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "alike_ros", "evaluate", "odometry", "render:room?frames=9"),
            *("--mode", "rgbd", "--perturb", "--extractors", "orb,sift"),
            *("--json", str(rows_file)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    seen = b""
    while b"orb dropped 30" not in seen and process.poll() is None:
        seen += process.stderr.read1(200)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    rows = json.loads(rows_file.read_text())
    assert [row["perturbation"] for row in rows[:2]] == ["none", "dropped"]
    assert printed.count(b"render_room") == len(rows)


def test_features_of_an_image_are_extracted_once():
    sequence, extractor = open_sequence("render:room?frames=8", "rgbd"), Counting()
    contender = FeatureOdometry(extractor)
    rows = [
        evaluate("room", sequence, "orb", contender, Trial(*what), RGBD)
        for what in (("none", 0), ("depth-holes", 20), ("stamp-jitter", 1))
    ]
    assert extractor.images == 8
    assert rows[1].ate_rmse_m != rows[0].ate_rmse_m
    # the time that the features took counts in each run: 1.0 if the machine were quiet
    assert rows[2].fps < 3 * rows[0].fps
    evaluate("room", sequence, "orb", contender, Trial("jpeg", 20), RGBD)
    assert extractor.images == 16


def test_wrong_stamps_are_compared_with_the_truth_of_the_frame():
    sequence = open_sequence("render:room?frames=10", "rgbd")
    right, wrong = (run(sequence, Counting(), *what) for what in ((), ("stamp-jitter", 10)))
    assert wrong.ate_rmse_m == pytest.approx(right.ate_rmse_m, rel=0.5)


def test_blackout_is_counted_as_lost():
    source = "render:room?frames=30&motion=still&rate_hz=10"  # black from 2.0 s on
    unbridged = override(RGBD, {"tracking.bridge_s": 0.0})  # else velocity carries on for a while
    row = run(open_sequence(source, "rgbd"), Counting(), "blackout", 0.5, config=unbridged)
    assert row.lost == 5


class Truthful:
    """A contender that knows the truth, in another unit of length."""

    description = "knows"

    def __call__(self, frames, sequence, config, run):
        for frame, pose in zip(frames, sequence.truth.world_from_cam, strict=True):
            scaled = from_Rt(pose[:3, :3], 40 * pose[:3, 3])
            run.estimates.append(Estimate(frame.stamp_ns, Status.TRACKING, scaled))


def test_mono_has_no_metres_where_the_camera_hardly_moved():
    """4 mm, and 20 cm: less tells no scale."""
    for rate_hz, ate in ((500, None), (10, pytest.approx(0, abs=1e-6))):
        sequence = open_sequence(f"render:room?frames=5&motion=circle&rate_hz={rate_hz}")
        row = evaluate("room", sequence, "truth", Truthful(), Trial(), Config())
        assert (row.ate_rmse_m, row.rpe_trans_rmse_m) == (ate, ate)
        assert row.rpe_rot_rmse_deg < 1e-3


def test_a_run_without_any_pose_is_told_from_a_good_one():
    mono = override(Config(), {"detector.top_k": 500})
    still, moving = (
        run(open_sequence(f"render:room?frames=20&motion={motion}"), Counting(), config=mono)
        for motion in ("still", "circle")
    )
    assert (still.ate_rmse_m, still.lost, still.initialising) == (None, 0, 20)
    assert moving.ate_rmse_m < 0.02  # measured 0.005
    assert (moving.lost, moving.initialising < 20) == (0, True)  # measured 10


def test_trials_start_plain_and_leave_out_what_does_not_matter():
    names = list(PERTURBATIONS)
    by_mode = {mode: trials(mode, names, 0, None) for mode in ("mono", "rgbd")}
    assert [found[0].perturbation for found in by_mode.values()] == ["none", "none"]
    assert len(by_mode["rgbd"]) == 1 + 3 * len(names)
    missing = {t.perturbation for t in by_mode["rgbd"]} - {t.perturbation for t in by_mode["mono"]}
    assert missing == {"depth-holes"}
    thrice = trials("mono", ["jpeg"], 0, None, runs=3)
    assert [(t.level, t.run) for t in thrice[:4]] == [(0, 0), (0, 1), (0, 2), (50, 0)]
    assert len(thrice) == 12


@pytest.mark.skipif(not is_available(), reason="this OpenCV has no RGB-D odometry")
def test_opencv_odometry_follows_and_says_lost():
    sequence = open_sequence("render:room?frames=5", "rgbd")
    odometry = OpencvRgbdOdometry(sequence.camera, RGBD.depth)
    frames = list(sequence)
    estimates = [odometry.track(frame) for frame in frames]
    found = Trajectory.from_poses(
        [e.stamp_ns for e in estimates], [e.world_from_cam for e in estimates]
    )
    errors = found.positions - sequence.truth.positions
    assert np.linalg.norm(errors, axis=1).max() < 1e-3  # measured: 6e-6 m of 0.09 m
    blind = np.full_like(frames[0].depth, np.nan)
    assert odometry.track(type(frames[0])(10**12, frames[0].image, blind)).world_from_cam is None


@pytest.mark.skipif(not is_available(), reason="this OpenCV has no RGB-D odometry")
def test_opencv_odometry_does_not_start_in_the_dark():
    """Nothing could ever be aligned with it."""
    sequence = open_sequence("render:room?frames=3", "rgbd")
    first, *others = sequence
    dark = replace(first, depth=np.full_like(first.depth, np.nan))
    odometry = OpencvRgbdOdometry(sequence.camera, RGBD.depth)
    found = [odometry.track(frame).status for frame in (dark, *others)]
    assert found == [Status.INITIALISING, Status.TRACKING, Status.TRACKING]
