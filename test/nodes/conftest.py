"""Fixtures of the ROS tests: each test is alone on its ROS domain, this machine only."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alike_ros.config import BundleConfig, Config
from alike_ros.fast_dds import fitting_profile

# Fast DDS reads it once in a process, and these tests come in any order
PROFILE = fitting_profile(Path(tempfile.mkdtemp(prefix="alike_ros_")))
for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
    os.environ.setdefault(name, str(PROFILE))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run in several processes, these share one: each has a domain to itself."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("ros"))


@pytest.fixture(scope="session", autouse=True)
def ros_log(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nodes write their logs there, rather than into the home folder."""
    os.environ.setdefault("ROS_LOG_DIR", str(tmp_path_factory.mktemp("ros_log")))


@pytest.fixture
def ros(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """rclpy.init with the arguments of a command line; nothing leaves the process."""
    rclpy = pytest.importorskip("rclpy", reason="no ROS 2 here (rclpy)")
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "OFF")

    def init(**parameters: object) -> None:
        args = ["--ros-args"]
        for name, value in parameters.items():
            args += ["-p", f"{name.replace('__', '.')}:={value}"]
        rclpy.init(args=args)

    yield init
    rclpy.try_shutdown()


@pytest.fixture
def make_robot(ros: Any, config: Config) -> Iterator[Any]:
    """Starts a vo_node with these parameters, in rgbd mode unless they say another."""
    from robot import Robot
    from ros_helpers import rendered

    from alike_ros.nodes.vo_node import VoNode

    robots = []

    def make(**parameters: object) -> Robot:
        mode = parameters.setdefault("mode", "rgbd")
        given = {"model": config.model or "''", "frame_id": "''", "num_threads": 1}
        given["bundle__background"] = config.bundle.background
        ros(**given | parameters)
        node = VoNode()
        assert node.start()
        robots.append(Robot(node, mode, rendered(mode, 1).camera))
        robots[-1].connect()
        return robots[-1]

    yield make
    for robot in robots:
        robot.close()


@pytest.fixture
def robot(make_robot: Any) -> Any:
    """A started vo_node in rgbd mode, whose camera is not calibrated yet."""
    return make_robot()


@pytest.fixture
def tf(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The transforms that nodes made from here on look up."""
    from tf_player import Tf

    from alike_ros.nodes import frames

    tf = Tf()
    monkeypatch.setattr(frames, "tf2_ros", tf.module)
    return tf


@pytest.fixture(scope="session")
def config() -> Config:
    """Settings with the default model; poses are the same in every run."""
    return Config(bundle=BundleConfig(background=False))
