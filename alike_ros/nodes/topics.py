"""Names and quality of service of the topics, by mode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

#: Matches publishers of any reliability; what a slow consumer misses is not sent again.
INPUT = QoSProfile(
    depth=5, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT
)
#: As INPUT, for those who would rather wait for a message than miss it; reliable publishers only.
RELIABLE_INPUT = QoSProfile(
    depth=5, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE
)
#: Large outputs of which only the newest counts.
NEWEST = QoSProfile(
    depth=1, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT
)
#: Results that nobody should miss.
OUTPUT = QoSProfile(
    depth=10, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE
)

MASK, IMU = "mask", "imu"
TRACKS_IMAGE = "~/tracks_image"
KEYPOINTS, RIGHT_KEYPOINTS = "keypoints", "right/keypoints"
ODOM, PATH, POSE, STATUS = "odom", "~/path", "~/pose", "~/status"
LANDMARKS = "~/landmarks"
DIAGNOSTICS = "/diagnostics"  # one for all nodes of a robot
RESET_ODOM, PAUSE_ODOM, RESUME_ODOM = "reset_odom", "pause_odom", "resume_odom"
RESET, SET_POSE = "~/reset", "set_pose"


@dataclass(frozen=True)
class Inputs:
    """Topics of one mode; empty where the mode has none."""

    image: str
    camera_info: str
    depth: str = ""
    right_image: str = ""
    right_camera_info: str = ""

    @property
    def images(self) -> list[str]:
        """One topic, or left and right."""
        return [name for name in (self.image, self.right_image) if name]

    @property
    def camera_infos(self) -> list[str]:
        """As many as there are images."""
        return [name for name in (self.camera_info, self.right_camera_info) if name]

    @property
    def keypoints(self) -> list[str]:
        """As many as there are images."""
        return [KEYPOINTS, RIGHT_KEYPOINTS][: len(self.images)]


INPUTS = {
    "mono": Inputs("image", "camera_info"),
    "rgbd": Inputs("rgb/image", "rgb/camera_info", depth="depth/image"),
    "stereo": Inputs(
        "left/image",
        "left/camera_info",
        right_image="right/image",
        right_camera_info="right/camera_info",
    ),
}


def transported(topic: str, transport: str, resolve: Callable[[str], str]) -> tuple[type, str]:
    """Type and topic of the images that a transport brings.

    As image transports do it, their topic follows the one that the image is remapped to.
    """
    if transport == "raw":
        return Image, topic
    return CompressedImage, f"{resolve(topic)}/{transport}"
