"""Rectified images of both eyes of a Stereolabs ZED.

The driver: `ros2 launch zed_wrapper zed_camera.launch.py camera_model:=zed2i` (topic names up to
its version 5.0). All arguments of vo.launch.py that do not name topics apply here too.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

CAMERA = "/zed/zed_node"


def generate_launch_description() -> LaunchDescription:
    """vo.launch.py with the driver's topics."""
    return LaunchDescription(
        [
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(Path(__file__).with_name("vo.launch.py"))),
                launch_arguments={
                    "mode": "stereo",
                    "image_topic": f"{CAMERA}/left/image_rect_color",
                    "camera_info_topic": f"{CAMERA}/left/camera_info",
                    "right_image_topic": f"{CAMERA}/right/image_rect_color",
                    "right_camera_info_topic": f"{CAMERA}/right/camera_info",
                    "rectified_images": "true",
                }.items(),
            )
        ]
    )
