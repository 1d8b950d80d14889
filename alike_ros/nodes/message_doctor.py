"""What is wrong with the messages of a topic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage

from alike_ros.camera import StereoCamera
from alike_ros.doctor import Finding, error, ok, warning
from alike_ros.errors import DataError
from alike_ros.geometry import inverse, rotation_angle
from alike_ros.images import (
    DEPTH_ENCODINGS,
    camera_from_info,
    depth_from_compressed,
    depth_from_message,
    image_from_compressed,
    image_from_message,
    stereo_from_infos,
)
from alike_ros.nodes.calibration import LookUp, Rig
from alike_ros.nodes.image_quality import examine_depth, examine_image
from alike_ros.nodes.listener import Heard

#: Between the extrinsics of TF and those of camera_info: two pixels at fx = 500; a share.
MAX_TURN_DEG, MAX_SHIFT = 0.25, 0.02
MAX_AGE_S = 1.0


def examine_info(heard: Heard, rectified: bool) -> Iterator[Finding]:
    """The calibration of one camera."""
    info = heard.last
    try:
        camera = camera_from_info(info, rectified)
    except DataError as problem:
        yield error(heard.topic, str(problem), "calibrate the camera (camera_calibration)")
        return
    fx, cx, cy = camera.fx, camera.K[0, 2], camera.K[1, 2]
    yield ok(
        heard.topic,
        f"{camera.width}x{camera.height}, fx {fx:.1f}, {camera.distortion_model} "
        f"{'' if any(camera.distortion) else 'without distortion'}".rstrip(),
    )
    if not 0.2 < fx / camera.width < 5:
        text = f"fx is {fx:.1f} at a width of {camera.width}: is it of another resolution?"
        yield warning(heard.topic, text, "calibrate the camera at this resolution")
    if abs(cx / camera.width - 0.5) > 0.25 or abs(cy / camera.height - 0.5) > 0.25:
        text = f"the principal point ({cx:.0f}, {cy:.0f}) is far from the middle"
        yield warning(heard.topic, text, "check roi and binning, or calibrate again")


def examine_pair(
    topic: str, left: CameraInfo, right: CameraInfo, rectified: bool, look_up: LookUp
) -> Iterator[Finding]:
    """The baseline, by TF and by camera_info where both know it. Raises DataError."""
    pair = Rig({"left": left, "right": right}, rectified).calibrated(look_up)
    assert isinstance(pair, StereoCamera)
    yield ok(topic, f"baseline {pair.baseline:.4f} m")
    if rectified or not right.p[3]:
        return
    described = stereo_from_infos(left, right, rectified)
    apart = pair.right_from_left @ inverse(described.right_from_left)
    turn_deg = float(np.degrees(rotation_angle(apart[:3, :3])))
    shift = abs(pair.baseline - described.baseline) / described.baseline
    if turn_deg > MAX_TURN_DEG or shift > MAX_SHIFT:
        yield warning(
            topic,
            f"TF has the baseline {pair.baseline:.4f} m, camera_info {described.baseline:.4f} m; "
            f"their rotations are {turn_deg:.2f} deg apart. TF counts",
            "publish the calibrated pose on /tf_static, not that of a drawing",
        )


def examine_stamps(heard: Heard) -> Iterator[Finding]:
    """Whether they ascend, and how old they are on arrival."""
    if not all(heard.stamps_ns):
        yield error(heard.topic, "stamps are 0", "let the driver stamp its images")
        return
    if (heard.intervals_s <= 0).any():
        text = "stamps do not ascend: such images are left out"
        yield error(heard.topic, text, "is there a second publisher, or a bag that loops?")
    age_s = sorted(heard.ages_s)[len(heard.ages_s) // 2]
    if abs(age_s) > MAX_AGE_S:
        yield warning(
            heard.topic,
            f"stamps are {abs(age_s):.1f} s {'old' if age_s > 0 else 'in the future'}",
            "of a bag or simulator: use_sim_time; of another machine: synchronise the clocks",
        )
    else:
        yield ok(heard.topic, f"stamps are {age_s * 1e3:.0f} ms old on arrival (median)")


def image_size(message: Any) -> tuple[int, int]:
    """(width, height) of an image, raw or compressed. Raises DataError."""
    if isinstance(message, CompressedImage):
        height, width = image_from_compressed(message).shape[:2]
        return width, height
    return message.width, message.height


def examine_pixels(heard: Heard) -> Iterator[Finding]:
    """The picture, or the depth, of the last message."""
    message = heard.last
    try:
        if isinstance(message, CompressedImage) and heard.topic.endswith("/compressedDepth"):
            yield from examine_depth(heard.topic, depth_from_compressed(message))
        elif isinstance(message, CompressedImage):
            yield from examine_image(heard.topic, image_from_compressed(message))
        elif message.encoding in DEPTH_ENCODINGS:
            yield from examine_depth(heard.topic, depth_from_message(message))
        else:
            yield from examine_image(heard.topic, image_from_message(message))
    except DataError as problem:
        yield error(heard.topic, str(problem), "set the driver to one of the known encodings")
