"""Visual odometry of one camera: `ros2 launch alike_ros vo.launch.py mode:=rgbd ...`.

An argument that is not given leaves the value of the configuration file.
"""

import os
from pathlib import Path
from typing import Any

import yaml
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

SHARE = Path(__file__).resolve().parents[1]
FROM_FILE = "as in config_file"

#: Images of best-effort publishers get lost in the default transports of Fast DDS.
TRANSPORTS = "LARGE_DATA?max_msg_size=4MB&sockets_size=4MB&non_blocking=true"

#: Launch argument -> parameter of the nodes and its type.
PARAMETERS = {
    "model": ("model", str),
    "provider": ("provider", str),
    "base_frame": ("frame_id", str),
    "odom_frame": ("odom_frame_id", str),
    "publish_tf": ("publish_tf", bool),
    "rectified_images": ("rectified_images", bool),
    "image_transport": ("image_transport", str),
    "depth_transport": ("depth_transport", str),
}

#: Launch argument -> topic of the nodes, by mode.
TOPICS = {
    "mono": {"image_topic": "image", "camera_info_topic": "camera_info"},
    "rgbd": {
        "image_topic": "rgb/image",
        "camera_info_topic": "rgb/camera_info",
        "depth_topic": "depth/image",
    },
    "stereo": {
        "image_topic": "left/image",
        "camera_info_topic": "left/camera_info",
        "right_image_topic": "right/image",
        "right_camera_info_topic": "right/camera_info",
    },
}

ARGUMENTS = {
    "mode": (FROM_FILE, "mono, rgbd or stereo; mono where there is no file"),
    "image_topic": ("", "image (rgbd: of the colour camera, stereo: of the left one)"),
    "camera_info_topic": ("", "its calibration"),
    "depth_topic": ("", "rgbd: depth registered to the image"),
    "right_image_topic": ("", "stereo: image of the right camera"),
    "right_camera_info_topic": ("", "stereo: its calibration"),
    "imu_topic": ("", "IMU, whose gyroscope is used"),
    "config_file": ("", "parameters; empty: config/<mode>.yaml of this package"),
    "model": (FROM_FILE, ".onnx, .pth or .safetensors; empty: the default model"),
    "provider": (FROM_FILE, "auto, tensorrt, cuda, numba, openvino or cpu"),
    "base_frame": (FROM_FILE, "the robot's frame; empty: the camera itself"),
    "odom_frame": (FROM_FILE, "frame in which the pose is reported"),
    "publish_tf": (FROM_FILE, "broadcast odom -> base"),
    "rectified_images": (FROM_FILE, "the images are rectified"),
    "image_transport": (FROM_FILE, "raw or compressed"),
    "depth_transport": (FROM_FILE, "raw or compressedDepth"),
    "namespace": ("", "namespace of the nodes"),
    "rviz": ("false", "start rviz2"),
    "rviz_config": (str(SHARE / "rviz" / "vo.rviz"), "its configuration"),
    "bagfile": ("", "rosbag2 to play"),
    "use_sim_time": (FROM_FILE, "use /clock; true when a bag is played"),
    "split": ("false", "features and tracking in two processes"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
}


def generate_launch_description() -> LaunchDescription:
    """Arguments, then the actions that depend on their values."""
    actions: list[Any] = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    configured = ("FASTDDS_BUILTIN_TRANSPORTS", "FASTRTPS_DEFAULT_PROFILES_FILE")
    if not any(name in os.environ for name in (*configured, "FASTDDS_DEFAULT_PROFILES_FILE")):
        actions.append(SetEnvironmentVariable(configured[0], TRANSPORTS))
    return LaunchDescription([*actions, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[Any]:
    """The nodes, and rviz and the bag if they are wanted."""
    given = {name: context.launch_configurations[name] for name in ARGUMENTS}
    if given["mode"] == FROM_FILE:
        given["mode"] = mode_of(given["config_file"])
    if given["mode"] not in TOPICS:
        raise ValueError(f"mode is {given['mode']!r}, expected one of {', '.join(TOPICS)}")
    if given["bagfile"] and given["use_sim_time"] == FROM_FILE:
        given["use_sim_time"] = "true"
    split = is_true(given["split"])
    names = ["features", "tracking"] if split else ["vo"]
    actions: list[Any] = [
        Node(
            package="alike_ros",
            executable=f"{name}_node",
            name=name,
            namespace=given["namespace"],
            parameters=[
                given["config_file"] or str(SHARE / "config" / f"{given['mode']}.yaml"),
                parameters(given),
            ],
            remappings=remappings(given),
            arguments=["--ros-args", "--log-level", given["log_level"]],
            output="screen",
        )
        for name in names
    ]
    if is_true(given["rviz"]):
        image = TOPICS[given["mode"]]["image_topic"]
        actions.append(
            Node(
                package="rviz2",
                executable="rviz2",
                namespace=given["namespace"],
                arguments=["-d", given["rviz_config"]],
                remappings=[
                    ("image", given["image_topic"] or image),
                    ("vo/path", f"{names[-1]}/path"),
                ],
                parameters=[sim_time(given)],
            )
        )
    if given["bagfile"]:
        play = ["ros2", "bag", "play", given["bagfile"], "--clock", "--delay", "5"]
        actions.append(ExecuteProcess(cmd=play, output="screen"))
    return actions


def mode_of(config_file: str) -> str:
    """What a parameter file says, for whichever node; mono where it says nothing."""
    entries = yaml.safe_load(Path(config_file).read_text()) if config_file else {}
    for node in (entries or {}).values():
        if "mode" in node.get("ros__parameters", {}):
            return str(node["ros__parameters"]["mode"])
    return "mono"


def sim_time(given: dict[str, str]) -> dict[str, Any]:
    """The parameter, where it does not come from a file."""
    text = given["use_sim_time"]
    return {} if text == FROM_FILE else {"use_sim_time": is_true(text)}


def parameters(given: dict[str, str]) -> dict[str, Any]:
    """Parameters of the arguments that were given."""
    values: dict[str, Any] = {"mode": given["mode"]} | sim_time(given)
    for argument, (name, kind) in PARAMETERS.items():
        if given[argument] != FROM_FILE:
            text = given[argument]
            values[name] = is_true(text) if kind is bool else ParameterValue(text, value_type=str)
    return values


def remappings(given: dict[str, str]) -> list[tuple[str, str]]:
    """Topics of the arguments that were given."""
    topics = TOPICS[given["mode"]] | {"imu_topic": "imu"}
    return [(topic, given[name]) for name, topic in topics.items() if given[name]]


def is_true(text: str) -> bool:
    """Of a launch argument. Raises ValueError for anything but true and false."""
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() == "true"
