"""Which topics of a bag are the images, and which camera_info belongs to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from alike_ros.data.files import offer_mode
from alike_ros.errors import DataError

IMAGE_TYPES = {"sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"}
INFO_TYPE = "sensor_msgs/msg/CameraInfo"
POSE_TYPES = {"nav_msgs/msg/Odometry", "geometry_msgs/msg/PoseStamped"}

#: How drivers and data sets name the two cameras of a pair.
PAIRS = (("left", "right"), ("cam0", "cam1"), ("infra1", "infra2"), ("image_0", "image_1"))


@dataclass(frozen=True)
class Topics:
    """Topic names; an empty one is to be chosen, or stays empty if nothing fits."""

    image: str = ""
    depth: str = ""
    right: str = ""
    camera_info: str = ""
    right_camera_info: str = ""
    truth: str = ""

    @property
    def rectified(self) -> bool:
        """Whether the images are rectified, which their topic tells (image_rect)."""
        return "rect" in _base(self.image).rpartition("/")[2]


def choose_topics(
    name: str,
    mode: str,
    wanted: Topics,
    types: Mapping[str, str],
    images: Collection[str],
    depths: Collection[str],
) -> Topics:
    """The topics of the mode. types: topic -> message type.

    images: the topics of images that have messages; depths: those among them that are depth.
    Images that a camera_info belongs to come first, then colour before grey, left before right.
    """
    for topic in vars(wanted).values():
        if topic and topic not in types:
            raise DataError(f"{name} has no topic {topic}, it has {', '.join(sorted(types))}")
    for topic in filter(None, (wanted.image, wanted.depth, wanted.right)):
        if topic not in images:
            raise DataError(f"{topic} of {name} has no images")
    lefts = sorted((t for t in images if t not in depths), key=lambda t: _rank(t, types))
    pairs = [(t, r) for t in lefts if (r := _right_of(t)) in lefts]
    if wanted.image:
        lefts, pairs = [wanted.image], [(left, r) for left, r in pairs if left == wanted.image]
    if wanted.right:
        pairs = [(left, wanted.right) for left in lefts]
    registered = sorted(depths, key=_depth_rank)
    offered = {"mono": lefts, "rgbd": lefts and (wanted.depth or registered), "stereo": pairs}
    offer_mode(name, mode, [m for m, possible in offered.items() if possible])
    image, right = pairs[0] if mode == "stereo" else (lefts[0], "")
    return replace(
        wanted,
        image=image,
        right=right,
        depth=(wanted.depth or registered[0]) if mode == "rgbd" else "",
        camera_info=wanted.camera_info or _info_of(image, types),
        right_camera_info=wanted.right_camera_info or _info_of(right, types),
        truth=wanted.truth or _truth(types),
    )


def _base(topic: str) -> str:
    """The topic without the name of an image transport."""
    return topic.removesuffix("/compressed").removesuffix("/compressedDepth")


def _info_of(image: str, types: Mapping[str, str]) -> str:
    """The camera_info beside an image topic, as all drivers place it; else empty."""
    topic = f"{_base(image).rpartition('/')[0]}/camera_info"
    return topic if image and types.get(topic) == INFO_TYPE else ""


def _right_of(topic: str) -> str:
    for left, right in PAIRS:
        if left in topic:
            return topic.replace(left, right)
    return ""


def _rank(topic: str, types: Mapping[str, str]) -> tuple[bool, bool, bool, str]:
    colour = any(word in topic for word in ("color", "rgb"))
    second = any(right in topic for _, right in PAIRS)
    return not _info_of(topic, types), not colour, second, topic


def _depth_rank(topic: str) -> tuple[bool, str]:
    """Depth that a driver has registered to the colour image comes first."""
    return not any(word in topic for word in ("aligned", "registered")), topic


def _truth(types: Mapping[str, str]) -> str:
    poses = sorted(t for t in types if types[t] in POSE_TYPES)
    return next((t for t in poses if "truth" in t), "")
