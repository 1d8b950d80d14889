"""The settings as ROS parameters."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here (rclpy)")

import rclpy
from rclpy.parameter import Parameter

from alike_ros.config import NodeConfig, flatten, load_yaml
from alike_ros.errors import ConfigError
from alike_ros.nodes.parameters import Parameters, unknown
from alike_ros.resources import share_path

pytestmark = pytest.mark.ros


def made() -> tuple[Any, Parameters]:
    node = rclpy.create_node("test")
    return node, Parameters(node)


def test_every_setting_is_a_described_parameter(ros: Any) -> None:
    ros()
    node, parameters = made()
    assert parameters.config == NodeConfig()
    for name, default in flatten(NodeConfig()).items():
        assert node.get_parameter(name).value == default
        assert node.describe_parameter(name).description
    (floats,) = node.describe_parameter("detector.min_score").floating_point_range
    assert (floats.from_value, floats.to_value) == (0.0, 1.0)
    (integers,) = node.describe_parameter("tracking.min_inliers").integer_range
    assert (integers.from_value, integers.to_value) == (6, 2**63 - 1)
    assert "rgbd" in node.describe_parameter("mode").additional_constraints
    node.destroy_node()


def test_values_of_the_command_line(ros: Any) -> None:
    ros(mode="stereo", detector__top_k=500, tracking__max_reprojection_px=4, publish_tf=False)
    node, parameters = made()
    assert parameters.config.mode == "stereo"
    assert parameters.config.detector.top_k == 500
    assert parameters.config.tracking.max_reprojection_px == 4.0  # written without a point
    assert parameters.config.publish_tf is False
    node.destroy_node()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mode", "lidar", "expected one of mono, rgbd, stereo"),
        ("detector__top_k", "many", "detector.top_k"),
        ("detector__min_score", 1.5, "detector.min_score"),
        ("detector__top_k", 100000, "detector.top_k"),
        ("matching__min_similarity", "high", "min_similarity"),
        ("publish_tf", 1, "publish_tf"),
    ],
)
def test_wrong_values_are_refused(ros: Any, name: str, value: object, message: str) -> None:
    ros(**{name: value})
    node = rclpy.create_node("test")
    with pytest.raises(ConfigError, match=message):
        Parameters(node)
    node.destroy_node()


def test_unknown_names_are_told(ros: Any) -> None:
    ros(detector__topk=5, mode="rgbd", wheel_radius=3)
    node, parameters = made()
    assert parameters.config.mode == "rgbd"
    assert unknown(node) == [
        "parameter 'detector.topk' is unknown and has no effect: is 'detector.top_k' meant?",
        "parameter 'wheel_radius' is unknown and has no effect",
    ]
    node.destroy_node()


def test_live_parameters(ros: Any) -> None:
    ros()
    node, parameters = made()

    def set_one(name: str, value: object) -> Any:
        return node.set_parameters([Parameter(name, value=value)])[0]

    before = parameters.config
    assert set_one("detector.top_k", 123).successful
    assert parameters.config.detector.top_k == 123
    assert before.detector.top_k == 1000  # replaced, not changed
    assert set_one("tracking.max_reprojection_px", 4).successful
    assert parameters.config.tracking.max_reprojection_px == 4.0
    for name, value in (
        ("detector.top_k", -1),
        ("detector.min_score", 2.0),
        ("detector.min_score", "high"),
        ("mode", "rgbd"),
        ("model", "other.onnx"),
    ):
        parameters.is_configured = True
        kept = parameters.config
        result = set_one(name, value)
        assert not result.successful
        assert result.reason
        assert parameters.config == kept
    parameters.is_configured = False
    assert set_one("mode", "stereo").successful
    assert parameters.config.mode == "stereo"
    assert not set_one("mode", "lidar").successful
    node.destroy_node()


@pytest.mark.parametrize("mode", ["mono", "rgbd", "stereo"])
def test_shipped_files_load(mode: str) -> None:
    assert load_yaml(NodeConfig(), share_path(f"config/{mode}.yaml")).mode == mode
