"""Colour and depth of an Intel RealSense.

The driver: `ros2 launch realsense2_camera rs_launch.py align_depth.enable:=true
enable_sync:=true`. All arguments of vo.launch.py that do not name topics apply here too.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

CAMERA = "/camera/camera"


def generate_launch_description() -> LaunchDescription:
    """vo.launch.py with the driver's topics."""
    return LaunchDescription(
        [
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(Path(__file__).with_name("vo.launch.py"))),
                launch_arguments={
                    "mode": "rgbd",
                    "image_topic": f"{CAMERA}/color/image_raw",
                    "camera_info_topic": f"{CAMERA}/color/camera_info",
                    "depth_topic": f"{CAMERA}/aligned_depth_to_color/image_raw",
                }.items(),
            )
        ]
    )
