"""Colour and depth of a Luxonis OAK.

The driver: `ros2 launch depthai_ros_driver camera.launch.py` (depth is aligned to colour by
default). All arguments of vo.launch.py that do not name topics apply here too.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

CAMERA = "/oak"


def generate_launch_description() -> LaunchDescription:
    """vo.launch.py with the driver's topics."""
    return LaunchDescription(
        [
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(Path(__file__).with_name("vo.launch.py"))),
                launch_arguments={
                    "mode": "rgbd",
                    "image_topic": f"{CAMERA}/rgb/image_raw",
                    "camera_info_topic": f"{CAMERA}/rgb/camera_info",
                    "depth_topic": f"{CAMERA}/stereo/image_raw",
                }.items(),
            )
        ]
    )
