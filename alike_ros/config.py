"""Every setting, once: its default, what it means and its range.

ROS parameters, YAML files, the command line and the README's table are made from here. Dotted
names (`detector.top_k`) are the same in all of them. A setting is a bool, int, float or str, what
a ROS parameter can hold; "automatic" is a documented 0 or "".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml

from alike_ros.errors import ConfigError

Value = bool | int | float | str
MODES = ("mono", "rgbd", "stereo")
PROVIDERS = ("auto", "tensorrt", "cuda", "numba", "openvino", "cpu")
PRECISIONS = ("fp32", "fp16")


def setting(
    default: Value,
    doc: str,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field with its description and its range (both ends included)."""
    return field(
        default=default, metadata={"doc": doc, "low": low, "high": high, "choices": choices}
    )


class Checked:
    """Base of the settings: types and ranges are checked once, when one is made."""

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]
            if item.metadata:
                _check(item, getattr(self, item.name))


@dataclass(frozen=True)
class DetectorConfig(Checked):
    """Which keypoints to keep."""

    top_k: int = setting(1000, "keypoints kept per image, best first; 0 keeps all", 0, 5000)
    min_score: float = setting(0.2, "lowest score of a keypoint", 0.0, 1.0)
    sub_pixel: bool = setting(True, "refine keypoints to sub-pixel positions")


@dataclass(frozen=True)
class MatchingConfig(Checked):
    """Which descriptors belong together."""

    min_similarity: float = setting(0.7, "lowest cosine of two matching descriptors", -1.0, 1.0)


@dataclass(frozen=True)
class DepthConfig(Checked):
    """Which measured depths to trust (rgbd and stereo)."""

    min_m: float = setting(0.1, "nearest depth that is used, metres", 0.0)
    max_m: float = setting(10.0, "farthest depth of a depth image that is used, metres", 0.0)
    max_relative_step: float = setting(
        0.05, "depth steps between neighbouring pixels above this share are edges, not used", 0.0
    )
    noise: float = setting(
        0.0025, "expected standard deviation of a depth of 1 m; grows with z squared", 1e-6
    )
    disparity_noise_px: float = setting(
        0.5, "expected standard deviation of a stereo disparity", 0.01
    )
    min_disparity_px: float = setting(1.0, "smallest stereo disparity that gives a depth", 0.01)
    max_row_error_px: float = setting(
        2.0, "largest distance of stereo matches from their row", 0.0
    )


@dataclass(frozen=True)
class TrackingConfig(Checked):
    """When a pose is believed."""

    max_reprojection_px: float = setting(3.0, "reprojection error up to which a match counts", 0.1)
    min_inliers: int = setting(15, "fewest inliers of a pose that counts as tracked", 6)
    ransac_iterations: int = setting(300, "most hypotheses of one pose estimate", 10)
    search_radius_px: float = setting(
        15.0, "landmarks are looked for within this distance of where they are predicted", 1.0
    )
    bridge_s: float = setting(
        0.3, "gap up to which the pose is predicted from the velocity, seconds", 0.0, 5.0
    )
    keypoint_noise_px: float = setting(0.7, "standard deviation of a keypoint, at most", 0.01)
    calibration_error: float = setting(
        0.001, "share by which the calibration may be off, which covariances allow for", 0.0, 0.1
    )


@dataclass(frozen=True)
class KeyframeConfig(Checked):
    """When a frame becomes the one that later frames are compared with."""

    min_overlap: float = setting(
        0.7, "new keyframe below this share of the most inliers that the last one had", 0.0, 1.0
    )
    max_parallax_deg: float = setting(
        1.75, "new keyframe above this median angle between its rays and the nearest one's", 0.1
    )
    kept: int = setting(30, "keyframes kept to return to, the least recently used go first", 2)
    min_parallax_deg: float = setting(
        1.0, "angle between two rays from which a landmark is triangulated", 0.0, 45.0
    )
    start_parallax_deg: float = setting(
        2.0, "mono: median angle between the rays of the two views that start the map", 0.0, 45.0
    )


@dataclass(frozen=True)
class BundleConfig(Checked):
    """Adjustment of keyframes and landmarks together."""

    enabled: bool = setting(True, "adjust the newest keyframes and their landmarks (gtsam)")
    window: int = setting(8, "keyframes that are adjusted together", 2, 50)
    background: bool = setting(
        True, "nodes adjust in a process of its own; false: frames wait for it, as in replays"
    )


@dataclass(frozen=True)
class Config(Checked):
    """All settings of extraction, matching and odometry."""

    mode: str = setting("mono", "where depth comes from", choices=MODES)
    model: str = setting("", "network: .onnx, .pth or .safetensors; empty is the default model")
    provider: str = setting("auto", "what runs the network", choices=PROVIDERS)
    precision: str = setting(
        "fp32", "arithmetic of the network; fp16 on tensorrt and cuda only", choices=PRECISIONS
    )
    engine_cache_dir: str = setting(
        "", "folder of exported models and TensorRT engines; empty is the user's cache"
    )
    num_threads: int = setting(0, "threads of the network; 0 is one per core, at most 4", 0, 64)
    reset_countdown: int = setting(
        0,
        "lost frames after which a new map starts at the last pose; 0 is never; "
        "in the dark, the old one is kept",
        0,
    )
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    matching: MatchingConfig = field(default_factory=MatchingConfig)
    depth: DepthConfig = field(default_factory=DepthConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    keyframe: KeyframeConfig = field(default_factory=KeyframeConfig)
    bundle: BundleConfig = field(default_factory=BundleConfig)


@dataclass(frozen=True)
class NodeConfig(Config):
    """What the ROS nodes add. The command line reads the same files and leaves these unused."""

    autostart: bool = setting(True, "configure and activate the node by itself")
    frame_id: str = setting("base_link", "the robot's frame, child of the odometry frame")
    odom_frame_id: str = setting("odom", "frame in which the pose is reported")
    publish_tf: bool = setting(True, "broadcast odom -> base on /tf")
    invert_tf: bool = setting(False, "broadcast base -> odom instead, for a base with a parent")
    guess_frame_id: str = setting(
        "",
        "odometry frame of another source (wheels), parent of frame_id on /tf: it carries the "
        "pose where nothing is seen, gives mono its metres, and odom -> this frame is broadcast; "
        "empty is none",
    )
    initial_pose: str = setting(
        "", "of the base in odom: x y z roll pitch yaw, metres and radians; empty is the origin"
    )
    publish_null_when_lost: bool = setting(
        False, "a frame without a pose gives a message of all zeros, with variances of 9999"
    )
    image_transport: str = setting(
        "raw", "raw or compressed images", choices=("raw", "compressed")
    )
    depth_transport: str = setting(
        "raw", "raw or compressed depth images", choices=("raw", "compressedDepth")
    )
    image_qos: str = setting(
        "best_effort",
        "reliability that is asked for; best_effort matches every publisher",
        choices=("best_effort", "reliable"),
    )
    rectified_images: bool = setting(
        False, "the images are rectified: K and D do not apply, P does"
    )
    approx_sync: bool = setting(True, "pair images whose stamps differ a little")
    approx_sync_max_interval: float = setting(0.02, "largest difference of paired stamps, s", 0.0)
    sync_queue_size: int = setting(10, "messages that wait for a partner, per topic", 1, 1000)
    always_process_most_recent_frame: bool = setting(
        True, "leave frames out when they come too fast; else sync_queue_size of them wait"
    )
    max_update_rate: float = setting(0.0, "most frames per second; 0 is every frame", 0.0)
    image_jitter_threshold_ms: float = setting(
        0.0, "warn when stamps of neighbouring frames are further apart; 0 is never", 0.0
    )
    path_length: int = setting(1000, "most poses of the published path", 0, 100_000)


#: Settings, and groups of them, that take effect while a node runs; all others are read when it is
#: configured.
_LIVE = (
    *("detector.", "matching.", "depth.", "tracking.", "keyframe."),
    *("publish_null_when_lost", "reset_countdown"),
    *("max_update_rate", "image_jitter_threshold_ms"),
)

C = TypeVar("C", bound=Checked)


def is_live(name: str) -> bool:
    """Whether a setting takes effect while a node runs."""
    return name.startswith(_LIVE)


def flatten(config: Checked, prefix: str = "") -> dict[str, Value]:
    """{"detector.top_k": 1000, ...} in the order of definition."""
    return {prefix + name: getattr(owner, item.name) for name, owner, item in _walk(config)}


def describe(config: Checked) -> dict[str, Field[Value]]:
    """Dotted name -> field; its metadata holds doc, low, high and choices."""
    return {name: item for name, _, item in _walk(config)}


def override(config: C, values: Mapping[str, Any]) -> C:
    """A copy of config with the dotted names in values set.

    Raises ConfigError for a name that does not exist, a value of another type or out of range.
    """
    known = flatten(config)
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"unknown setting {name!r}, known are: {', '.join(known)}")
        if type(known[name]) is float and type(value) is int:
            value = float(value)  # YAML and shells write 3 for 3.0
        config = _replace_path(config, name.split("."), value)
    return config


def parse(config: Checked, assignment: str) -> tuple[str, Value]:
    """A `name=value` of the command line, with the type of the setting's default."""
    name, equals, text = assignment.partition("=")
    known = flatten(config)
    if not equals or name not in known:
        raise ConfigError(f"{assignment!r}: expected NAME=VALUE, names are: {', '.join(known)}")
    kind = type(known[name])
    try:
        return name, {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{name}={text!r} is not of type {kind.__name__}") from error


def load_yaml(config: C, path: str | Path) -> C:
    """Config with the values of a ROS parameter file (`/**: ros__parameters: ...`) set."""
    try:
        content = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, Mapping) or not all(
        isinstance(node, Mapping) and isinstance(node.get("ros__parameters"), Mapping)
        for node in content.values()
    ):
        raise ConfigError(f"{path} is not a ROS parameter file (/**: ros__parameters: ...)")
    values: dict[str, Any] = {}
    for node in content.values():
        values |= _flatten_mapping(node["ros__parameters"])
    values.pop("use_sim_time", None)  # a parameter that every ROS node has
    return override(config, values)


def dump_yaml(config: Checked, comments: bool = False) -> str:
    """The ROS parameter file that holds config, with descriptions as comments if wanted."""
    lines = ["/**:", "  ros__parameters:"]
    docs = describe(config)
    open_groups: list[str] = []
    for name, value in flatten(config).items():
        *groups, leaf = name.split(".")
        if groups != open_groups:
            lines += [f"{'  ' * (i + 2)}{group}:" for i, group in enumerate(groups)]
            open_groups = groups
        comment = f"  # {docs[name].metadata['doc']}" if comments else ""
        lines.append(f"{'  ' * (len(groups) + 2)}{leaf}: {yaml_value(value)}{comment}")
    return "\n".join(lines) + "\n"


def _walk(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, Field[Any]]]:
    """(dotted name, dataclass that owns the field, field), plain settings before groups."""
    groups = []
    for item in fields(config):
        if is_dataclass(getattr(config, item.name)):
            groups.append(item)
        else:
            yield prefix + item.name, config, item
    for item in groups:
        yield from _walk(getattr(config, item.name), f"{prefix}{item.name}.")


def _replace_path(config: Any, path: list[str], value: Any) -> Any:
    head, *rest = path
    return replace(
        config, **{head: _replace_path(getattr(config, head), rest, value) if rest else value}
    )


def _check(item: Field[Any], value: Any) -> None:
    kind = type(item.default)
    if type(value) is not kind:
        raise ConfigError(f"{item.name} is {value!r}, expected a {kind.__name__}")
    choices, low, high = (item.metadata[key] for key in ("choices", "low", "high"))
    if choices and value not in choices:
        raise ConfigError(f"{item.name} is {value!r}, expected one of {', '.join(choices)}")
    if kind in (int, float) and not (
        (low is None or value >= low) and (high is None or value <= high)
    ):
        raise ConfigError(f"{item.name} is {value!r}, expected {_range(low, high)}")


def _range(low: float | None, high: float | None) -> str:
    return " and ".join(
        text
        for text, end in ((f"at least {low}", low), (f"at most {high}", high))
        if end is not None
    )


def _flatten_mapping(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten_mapping(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def yaml_value(value: Value) -> str:
    """As it is written in a parameter file."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
