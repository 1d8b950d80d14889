"""The command line, as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from blocks import blocks

from alike_ros.cli import main
from alike_ros.config import Config, NodeConfig, load_yaml
from alike_ros.resources import share_path
from alike_ros.trajectory import Trajectory

METRICS = {
    "frames",
    "tracked",
    "lost",
    "keyframes",
    "path_length_m",
    "ate_rmse_m",
    "rpe_trans_rmse_m",
    "rpe_rot_rmse_deg",
    "scale_aligned",
    "fps",
    "latency_ms",
    "stage_ms",
    "growth",
    "rss_mb",
}
ROOT = Path(__file__).parents[1]


def alike(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "alike_ros", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        **options,
    )


@pytest.mark.parametrize("command", ["run", "demo", "export", "config"])
def test_help_has_examples(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"examples:\n  alike {command}" in capsys.readouterr().out


def test_help_imports_nothing_heavy():
    code = """
import sys
from alike_ros.cli import main
try:
    main(["--help"])
except SystemExit:
    heavy = {"torch", "onnxruntime", "matplotlib", "evo", "rclpy", "cv2"} & set(sys.modules)
    sys.exit(str(heavy) if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_run_writes_its_results(tmp_path, capsys):
    output = tmp_path / "out"
    source = "render:room?frames=12&motion=circle"
    options = ["--mode", "rgbd", "--provider", "cpu", "--set", "detector.top_k=500"]
    assert main(["run", source, *options, "--output", str(output)]) == 0
    assert sorted(path.name for path in output.iterdir()) == [
        "config.yaml",
        "metrics.json",
        "trajectory.png",
        "trajectory.tum",
    ]
    metrics = json.loads((output / "metrics.json").read_text())
    assert set(metrics) >= METRICS
    assert (metrics["frames"], metrics["tracked"], metrics["lost"]) == (12, 12, 0)
    assert metrics["ate_rmse_m"] < 0.01
    assert metrics["scale_aligned"] is False
    assert set(metrics["latency_ms"]) == {"p50", "p95"}
    assert set(metrics["stage_ms"]) == {"extract", "match", "track"}
    assert set(metrics["growth"]) == set(metrics["stage_ms"])
    assert metrics["rss_mb"]["first"] > 0
    assert 0 < metrics["rss_mb"]["last"] < 10_000
    total = sum(metrics["stage_ms"].values())
    assert total == pytest.approx(metrics["latency_ms"]["p50"], rel=0.5)
    assert len(Trajectory.read_tum(output / "trajectory.tum")) == 12
    config = load_yaml(NodeConfig(), output / "config.yaml")
    assert (config.mode, config.detector.top_k) == ("rgbd", 500)
    assert (output / "trajectory.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "ATE rmse" in printed
    assert str(output / "metrics.json") in printed


def test_run_without_truth_says_null(tmp_path):
    from alike_ros.data import open_sequence

    cv2 = pytest.importorskip("cv2")
    sequence = open_sequence("render:room?frames=4")
    for i, frame in enumerate(sequence):
        cv2.imwrite(str(tmp_path / f"{i:03d}.png"), frame.image[..., ::-1])
    sequence.camera.to_yaml(tmp_path / "camera.yaml")
    output = tmp_path / "out"
    assert main(["run", str(tmp_path), "--mode", "mono", "--output", str(output)]) == 0
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["frames"] == 4
    for name in ("ate_rmse_m", "rpe_trans_rmse_m", "rpe_rot_rmse_deg", "path_length_m"):
        assert metrics[name] is None
    assert metrics["scale_aligned"] is False


def test_frames_limit(tmp_path):
    output = tmp_path / "out"
    assert main(["run", "render:room", "--frames", "3", "--output", str(output)]) == 0
    assert json.loads((output / "metrics.json").read_text())["frames"] == 3


def test_interrupted_run_keeps_what_it_has(tmp_path):
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "alike_ros", "run", "render:room?frames=5000"),
            *("--mode", "rgbd", "--output", str(tmp_path / "out")),
        ],
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    seen, deadline = b"", time.monotonic() + 120
    while b"tracking" not in seen and time.monotonic() < deadline:
        seen += process.stderr.read1(200)
    process.send_signal(signal.SIGINT)
    process.stderr.read()
    assert process.wait(60) == 130
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert 1 <= metrics["frames"] < 5000
    assert len(Trajectory.read_tum(tmp_path / "out/trajectory.tum")) == metrics["tracked"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "nowhere"], "nowhere does not exist"),
        (["run", "render:room", "--set", "detector.topk=1"], "known are|names are"),
        (["run", "render:room", "--set", "detector.top_k=-1"], "expected at least 0"),
        (["run", "render:room", "--model", "missing.onnx"], "no model file missing.onnx"),
        (["run", "render:room", "--config", "missing.yaml"], "cannot read missing.yaml"),
        (["run", "render:room", "--camera", "missing.yaml"], "missing.yaml"),
        (["export", "missing.pth"], "no model file missing.pth"),
        (["export", "models/alike-t.safetensors", "--size", "480"], "expected HEIGHTxWIDTH"),
        (["export", "models/alike-t.safetensors", "--variant", "alike-n"], "is alike-t, not"),
        (
            ["export", "models/alike-t.safetensors", "--output", "README.md/a.onnx"],
            "cannot export",
        ),
    ],
)
def test_errors_are_one_line_and_exit_1(arguments, told, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    if arguments[0] == "export":
        pytest.importorskip("torch")
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("alike: ")
    assert any(part in error for part in told.split("|"))
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "low"),
    [
        (["run", "render:room", "--frames", "-1"], 1),
        (["bag", "make", "render:room", "bag", "--frames", "-1"], 1),
        (["evaluate", "odometry", "render:room", "--frames", "0"], 1),
        (["evaluate", "odometry", "render:room", "--seed", "-1"], 0),
    ],
)
def test_numbers_that_cannot_be_are_told_with_the_usage(arguments, low, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert f"expected at least {low}" in capsys.readouterr().err


def test_config_is_a_parameter_file(tmp_path):
    for option, default in (((), Config()), (("--ros",), NodeConfig())):
        done = alike("config", *option)
        assert done.returncode == 0
        (tmp_path / "vo.yaml").write_text(done.stdout)
        assert load_yaml(default, tmp_path / "vo.yaml") == default
        assert "top_k: 1000  # keypoints kept per image" in done.stdout


def test_export(tmp_path):
    pytest.importorskip("torch")
    output = tmp_path / "model.onnx"
    weights = share_path("models/alike-t.safetensors")
    done = alike("export", weights, "--size", "96x128", "--output", output)
    assert done.returncode == 0, done.stderr
    assert "alike-t for 96x128; scores differ from torch by" in done.stdout
    from alike_ros.backends.onnx import OnnxExtractor

    assert len(OnnxExtractor(output, provider="cpu")(blocks(channels=1))) > 30  # 60 measured


def test_readme_example_runs(tmp_path):
    """The ten lines of Python in the README, as printed."""
    readme = (ROOT / "README.md").read_text()
    code = readme.split("```python\n")[1].split("```")[0]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "tracking" in done.stdout
