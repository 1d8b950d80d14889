"""What the doctor says of machines that are well, and of those that are not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from alike_ros import doctor
from alike_ros.cli import main
from alike_ros.config import Config
from alike_ros.doctor import Finding, Severity
from alike_ros.resources import share_path

ROOT = Path(__file__).parents[1]
PROFILE = str(share_path("config/fastdds.xml"))


def worst(findings: Any) -> Finding:
    """The worst finding; every one that is not OK has a remedy."""
    found = list(findings)
    assert all(bool(f.remedy) == (f.severity is not Severity.OK) for f in found)
    return max(found, key=lambda finding: finding.severity)


def test_packages() -> None:
    def load(module: str) -> Any:
        if module == "cv2":
            raise ImportError("numpy.core.multiarray failed to import")
        return SimpleNamespace(__version__="1.2")

    bad = worst(doctor.examine_packages(load, {}))
    assert bad.severity is Severity.ERROR
    assert "cv2 cannot be imported: numpy.core" in bad.text
    assert "opencv-python-headless" in bad.remedy
    two = {"opencv-python": "4.9", "opencv-python-headless": "5.0"}
    found = worst(doctor.examine_packages(lambda _: SimpleNamespace(__version__="1"), two))
    assert found.severity is Severity.WARNING
    assert "opencv-python-headless 5.0 and opencv-python 4.9" in found.text


def test_optional_packages_are_named_with_their_purpose() -> None:
    found = doctor.examine_packages(lambda _: SimpleNamespace(__version__="1"), {"gtsam": "4.2"})
    texts = [f.text for f in found]
    assert "gtsam 4.2 (bundle adjustment: without it poses are less accurate)" in texts
    assert "torch is not installed (export of weights, training)" in texts


def test_model(tmp_path: Path) -> None:
    findings = list(doctor.examine_model(Config(engine_cache_dir=str(tmp_path))))
    assert [f.severity for f in findings] == [Severity.OK]
    assert "alike-t.onnx" in findings[0].text
    assert "sha256" in findings[0].text
    missing = worst(doctor.examine_model(Config(model=str(tmp_path / "no.onnx"))))
    assert missing.severity is Severity.ERROR
    assert "no.onnx" in missing.text


def test_model_that_is_not_the_one_its_readme_describes(tmp_path: Path) -> None:
    model = tmp_path / "net.onnx"
    model.write_bytes(b"damaged")
    (tmp_path / "README.md").write_text(f"| other.onnx | {'0' * 64} |\n| net.onnx | {'ab' * 32} |")
    config = Config(model=str(model), engine_cache_dir=str(tmp_path))
    bad = worst(doctor.examine_model(config))
    assert bad.severity is Severity.ERROR
    assert "ab" * 32 in bad.text
    assert worst(doctor.examine_provider(config)).severity is Severity.ERROR  # no graph either


def test_provider() -> None:
    findings = list(doctor.examine_provider(Config(provider="cpu")))
    assert "ms for one 640x480 image" in findings[-1].text
    if "cuda" not in findings[0].text:
        missing = worst(doctor.examine_provider(Config(provider="cuda")))
        assert missing.severity is Severity.ERROR
        assert "pip install onnxruntime-gpu" in missing.text


@pytest.mark.parametrize(
    ("environment", "severity", "words"),
    [
        ({}, Severity.WARNING, "loses best-effort images"),
        ({"RMW_IMPLEMENTATION": "rmw_fastrtps_cpp"}, Severity.WARNING, "loses best-effort"),
        ({"RMW_IMPLEMENTATION": "rmw_zenoh_cpp"}, Severity.OK, ""),
        ({"FASTDDS_BUILTIN_TRANSPORTS": doctor.TRANSPORTS}, Severity.OK, ""),
        ({"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}, Severity.WARNING, "loses best-effort"),
        (
            {
                "FASTDDS_BUILTIN_TRANSPORTS": doctor.TRANSPORTS,
                "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            },
            Severity.WARNING,
            "is ignored",
        ),
        ({"FASTRTPS_DEFAULT_PROFILES_FILE": PROFILE}, Severity.OK, ""),
        ({"FASTDDS_DEFAULT_PROFILES_FILE": "/no/file.xml"}, Severity.ERROR, "does not exist"),
        ({"FASTDDS_DEFAULT_PROFILES_FILE": __file__}, Severity.WARNING, "segment_size"),
    ],
)
def test_transport(environment: dict[str, str], severity: Severity, words: str) -> None:
    found = worst(doctor.examine_transport(environment))
    assert found.severity is severity
    assert words in found.text


def alike_doctor(*arguments: str, without_ros: bool = True) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, in which rclpy cannot be imported."""
    hide = "sys.modules['rclpy'] = None; " if without_ros else ""
    code = f"import sys; {hide}from alike_ros.cli_doctor import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )


def test_exit_codes_and_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", PROFILE)
    monkeypatch.delenv("FASTRTPS_DEFAULT_PROFILES_FILE", raising=False)
    monkeypatch.delenv("RMW_IMPLEMENTATION", raising=False)
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    missing = str(tmp_path / "no.onnx")
    written = tmp_path / "found.json"
    done = alike_doctor("--json", str(written), "--model", missing)
    document = json.loads(written.read_text())
    assert (done.returncode, document["severity"]) == (2, "error")
    found = [f for f in document["findings"] if f["severity"] == "error"]
    assert {f["area"] for f in found} == {"model", "provider"}
    assert all(f["remedy"] for f in found)
    monkeypatch.delenv("FASTDDS_DEFAULT_PROFILES_FILE")
    done = alike_doctor("--provider", "cpu")
    assert done.returncode == 1, done.stdout
    assert "loses best-effort images" in done.stdout
    assert "-> export FASTDDS_BUILTIN_TRANSPORTS" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("warnings, 0 errors")


def test_wrong_settings_are_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--set", "detector.top_k=-1"]) == 2
    assert "top_k is -1, expected at least 0" in capsys.readouterr().out
