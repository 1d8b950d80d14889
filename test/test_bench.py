"""`alike bench`: what it counts and what it writes; never how fast anything is."""

import json

import pytest

pytest.importorskip("torch")

from alike_ros.benchmark import interleaved, multiply_adds
from alike_ros.cli import main

ROW = """variant height width dense_torch_ms dense_onnx_ms network_ms extract_ms gemm_gflops
network_efficiency peak_rss_mb"""


def test_contenders_take_turns():
    order = []
    times = interleaved(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, warmup=1, repeats=3
    )
    assert order == ["a", "b"] * 4
    assert times["a"].low <= times["a"].median <= times["a"].high


def test_multiply_adds():
    # the dense networks take 2.1, 3.9, 7.9 and 19.7 G at 640x480; the factored alike-t about 0.7
    assert 0.6e9 < multiply_adds("alike-t", 480, 640) < 0.75e9
    assert multiply_adds("alike-t", 470, 630) == multiply_adds("alike-t", 480, 640)  # padded
    assert multiply_adds("alike-l", 480, 640) > 0.25 * 19.7e9


def test_rows_and_files(tmp_path):
    out, plot = tmp_path / "bench.json", tmp_path / "bench.png"
    arguments = ["bench", "--size", "96x128", "--repeats", "2", "--warmup", "1"]
    arguments += ["--odometry-frames", "10", "--json", str(out), "--plot", str(plot)]
    assert main(arguments) == 0
    result = json.loads(out.read_text())
    (row,) = result["rows"]
    assert set(ROW.split()) <= set(row)
    assert (row["variant"], row["height"], row["width"]) == ("alike-t", 96, 128)
    assert all(row[name] > 0 for name in ROW.split()[3:])
    assert row["peak_rss_mb"] < 500  # measured 150: of a process that only extracts
    assert {"orb", "sift"} <= set(result["classical_ms"])
    assert result["odometry"]["frames"] == 10
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_wrong_words(capsys):
    assert main(["bench", "--size", "480"]) == 1
    assert "HEIGHTxWIDTH" in capsys.readouterr().err
    assert main(["bench", "--variant", "alike-xl"]) == 1
    assert "alike-t, alike-s" in capsys.readouterr().err
    assert main(["bench", "--provider", "cpu", "--precision", "fp16"]) == 1
    assert "fp16 is for the providers tensorrt, cuda" in capsys.readouterr().err
    assert main(["bench", "--size", "0x640"]) == 1
    assert "at least 64x64" in capsys.readouterr().err
    for option in ("--repeats", "--warmup", "--threads", "--odometry-frames"):
        with pytest.raises(SystemExit):
            main(["bench", option, "-1"])
        assert "too small" in capsys.readouterr().err


def test_files_that_cannot_be_written_are_told(tmp_path, capsys):
    nothing = ["bench", "--variant", "--odometry-frames", "0"]
    for option, name in (("--json", "bench.json"), ("--plot", "bench.png")):
        assert main([*nothing, option, str(tmp_path / "new" / name)]) == 0
        assert (tmp_path / "new" / name).is_file()
        assert main([*nothing, option, str(tmp_path / "new" / "bench.json" / name)]) == 1
        assert "cannot write" in capsys.readouterr().err
    assert main([*nothing, "--plot", str(tmp_path / "bench.doc")]) == 1
    assert "cannot write" in capsys.readouterr().err
