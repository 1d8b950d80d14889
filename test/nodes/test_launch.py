"""vo.launch.py, where launch_ros is installed: started for real, with remapped topics."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here (rclpy)")
pytest.importorskip("launch_ros", reason="no launch_ros here: it is not in the wheels")

from alike_ros.nodes.domain import free_domain

pytestmark = pytest.mark.ros
ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "launch"

SCRIPT = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
file, *arguments = sys.argv[1:]
pairs = [argument.split(":=") for argument in arguments]
service = LaunchService()
include = IncludeLaunchDescription(PythonLaunchDescriptionSource(file), launch_arguments=pairs)
service.include_launch_description(LaunchDescription([include]))
sys.exit(service.run())
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An installation of the package, made of links into the source tree."""
    libexec = tmp_path / "lib" / "alike_ros"
    libexec.mkdir(parents=True)
    marker = tmp_path / "share/ament_index/resource_index/packages/alike_ros"
    marker.parent.mkdir(parents=True)
    marker.touch()
    for name in ("vo_node", "features_node", "tracking_node"):
        executable = libexec / name
        executable.write_text(f'#!/bin/sh\nexec {sys.executable} -m alike_ros.nodes.{name} "$@"\n')
        executable.chmod(0o755)
    return os.environ | {
        "AMENT_PREFIX_PATH": os.pathsep.join(
            filter(None, [str(tmp_path), os.environ.get("AMENT_PREFIX_PATH")])
        ),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "ROS_DOMAIN_ID": str(free_domain()),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_LOG_DIR": str(tmp_path),
    }


def launched(environment: dict[str, str], file: str, *arguments: str, lines: int = 1) -> str:
    """What the nodes write until `lines` of them have been activated; then Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", SCRIPT, str(LAUNCH / file), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    output = ""
    try:
        while output.count("waiting for messages") < lines:
            line = process.stdout.readline()
            assert line, output
            output += line
        process.send_signal(signal.SIGINT)
        output += process.communicate(timeout=20)[0]
    finally:
        process.kill()
    assert "process has died" not in output, output
    assert output.count("process has finished cleanly") == lines, output
    return output


def test_vo_with_everything_given(environment: dict[str, str]) -> None:
    output = launched(
        environment,
        "vo.launch.py",
        *("mode:=rgbd", "namespace:=robot", "base_frame:=", "publish_tf:=false"),
        *("image_topic:=/cam/color", "camera_info_topic:=/cam/info", "depth_topic:=/cam/depth"),
        "imu_topic:=/cam/imu",
    )
    assert "[robot.vo]" in output
    assert "/cam/info, /cam/color, /cam/depth (and /robot/mask, /cam/imu, if any)" in output


def test_split(environment: dict[str, str]) -> None:
    output = launched(environment, "vo.launch.py", "split:=true", lines=2)
    assert "mono: waiting for messages on /camera_info, /image" in output
    assert "mono: waiting for messages on /camera_info, /keypoints" in output


def test_arguments_win_over_the_file(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("/**:\n  ros__parameters:\n    provider: tensorrt\n    publish_tf: true\n")
    output = launched(
        environment,
        "vo.launch.py",
        *(f"config_file:={file}", "provider:=cpu", "publish_tf:=false", "log_level:=debug"),
    )
    assert "on cpu" in output


def test_compressed_topics_are_remapped(environment: dict[str, str]) -> None:
    output = launched(
        environment,
        "vo.launch.py",
        *("mode:=rgbd", "image_transport:=compressed", "depth_transport:=compressedDepth"),
        *("image_topic:=/cam/color", "depth_topic:=/cam/depth"),
    )
    assert "/cam/color/compressed, /cam/depth/compressedDepth" in output


def test_the_file_has_the_say_where_nothing_is_given(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """Simulated time stands still without /clock, which the nodes do not mind."""
    file = tmp_path / "mine.yaml"
    file.write_text("/**:\n  ros__parameters:\n    mode: rgbd\n    use_sim_time: true\n")
    output = launched(environment, "vo.launch.py", f"config_file:={file}", "image_topic:=/color")
    assert "rgbd: waiting for messages on /rgb/camera_info, /color, /depth/image" in output


@pytest.mark.parametrize(
    ("file", "topic"),
    [
        ("realsense.launch.py", "/camera/camera/aligned_depth_to_color/image_raw"),
        ("oak.launch.py", "/oak/stereo/image_raw"),
        ("zed.launch.py", "/zed/zed_node/right/image_rect_color"),
    ],
)
def test_camera_files(environment: dict[str, str], file: str, topic: str) -> None:
    assert topic in launched(environment, file)


def test_transport_is_set_unless_the_user_did(monkeypatch: pytest.MonkeyPatch) -> None:
    from launch.actions import SetEnvironmentVariable

    spec = importlib.util.spec_from_file_location("vo_launch", LAUNCH / "vo.launch.py")
    assert spec is not None
    module: Any = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(module)

    def count() -> int:
        entities = module.generate_launch_description().entities
        return sum(isinstance(entity, SetEnvironmentVariable) for entity in entities)

    for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("FASTDDS_BUILTIN_TRANSPORTS", raising=False)
    assert count() == 1
    monkeypatch.setenv("FASTDDS_BUILTIN_TRANSPORTS", "UDPv4")
    assert count() == 0
