"""One configuration, four faces."""

from pathlib import Path

import pytest

from alike_ros.config import (
    Config,
    NodeConfig,
    describe,
    dump_yaml,
    flatten,
    load_yaml,
    override,
    parse,
)
from alike_ros.errors import ConfigError

SHIPPED = sorted((Path(__file__).parents[1] / "config").glob("*.yaml"))


@pytest.mark.parametrize("config", [Config(), NodeConfig()], ids=["core", "nodes"])
def test_yaml_round_trip(config, tmp_path):
    changed = override(
        config, {"detector.top_k": 123, "mode": "rgbd", "matching.min_similarity": 0.5}
    )
    assert changed != config
    for comments in (False, True):
        path = tmp_path / "config.yaml"
        path.write_text(dump_yaml(changed, comments))
        assert load_yaml(config, path) == changed


def test_override_round_trips_through_flatten():
    config = NodeConfig()
    assert override(config, flatten(config)) == config
    assert flatten(config)["detector.top_k"] == config.detector.top_k


def test_every_setting_is_described_and_in_range():
    fields = describe(NodeConfig())
    assert fields.keys() == flatten(NodeConfig()).keys()
    for name, field in fields.items():
        assert field.metadata["doc"], name


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_files_load(path):
    assert load_yaml(NodeConfig(), path).mode == path.stem


def test_shipped_files_are_there():
    assert [path.stem for path in SHIPPED] == ["mono", "rgbd", "stereo"]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"detector.topk": 5}, r"unknown setting 'detector.topk', known are: .*detector.top_k"),
        ({"detector": 5}, "unknown setting 'detector'"),
        ({"detector.top_k": "5"}, "top_k is '5', expected a int"),
        ({"detector.top_k": 5.5}, "top_k is 5.5, expected a int"),
        ({"detector.sub_pixel": 1}, "sub_pixel is 1, expected a bool"),
        ({"detector.min_score": True}, "min_score is True, expected a float"),
        ({"detector.min_score": 1.5}, "min_score is 1.5, expected at least 0.0 and at most 1.0"),
        ({"mode": "lidar"}, "mode is 'lidar', expected one of mono, rgbd, stereo"),
        # without noise, adjustment cannot weigh depths and gives up
        ({"depth.noise": 0.0}, "noise"),
        ({"depth.disparity_noise_px": 0.0}, "disparity_noise_px"),
    ],
)
def test_wrong_values(values, told):
    with pytest.raises(ConfigError, match=told):
        override(Config(), values)


def test_an_integer_is_a_float_too():
    assert override(Config(), {"depth.max_m": 3}).depth.max_m == 3.0


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("detector.top_k=500", 500),
        ("detector.sub_pixel=False", False),
        ("detector.min_score=1e-3", 0.001),
        ("model=a=b.onnx", "a=b.onnx"),
    ],
)
def test_parse(assignment, value):
    name, parsed = parse(Config(), assignment)
    assert (name, parsed) == (assignment.partition("=")[0], value)
    assert type(parsed) is type(value)


@pytest.mark.parametrize("assignment", ["top_k", "detector.top_k=many", "nothing=1"])
def test_parse_refuses(assignment):
    with pytest.raises(ConfigError):
        parse(Config(), assignment)


@pytest.mark.parametrize(
    "text", ["- a list", "detector: {top_k: 5}", "/**: {top_k: 5}", "a: [", "5"]
)
def test_files_that_are_no_parameter_files(tmp_path, text):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        load_yaml(Config(), tmp_path / "bad.yaml")


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        load_yaml(Config(), tmp_path / "missing.yaml")
