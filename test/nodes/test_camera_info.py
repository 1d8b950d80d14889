"""Cameras from camera_info."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here (rclpy)")

from std_msgs.msg import Header

from alike_ros.camera import Camera, StereoCamera
from alike_ros.nodes.calibration import Calibration
from alike_ros.nodes.conversions import camera_info_messages

pytestmark = pytest.mark.ros
CAMERA = Camera(640, 480, np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]))


def infos(camera: Camera | StereoCamera = CAMERA, frame: str = "camera") -> list:
    return camera_info_messages(Header(frame_id=frame), camera)


def test_missing_topics_are_named() -> None:
    calibration = Calibration(["/left/camera_info", "/right/camera_info"], rectified=False)
    assert "/left/camera_info and /right/camera_info" in calibration.problem
    left, right = infos(StereoCamera.rectified(CAMERA, CAMERA, 0.2))
    calibration.add(1, right)
    assert "no message on /left/camera_info yet" in calibration.problem
    assert calibration.camera is None
    calibration.add(0, left)
    assert isinstance(calibration.camera, StereoCamera)
    assert calibration.camera.baseline == pytest.approx(0.2)


def test_same_calibration_is_the_same_object() -> None:
    calibration = Calibration(["/camera_info"], rectified=False)
    calibration.add(0, infos()[0])
    camera = calibration.camera
    calibration.add(0, infos(frame="other header")[0])
    assert calibration.camera is camera
    changed = Camera(640, 480, CAMERA.K * [[2], [2], [1]])
    calibration.add(0, infos(changed)[0])
    assert calibration.camera is not camera


def test_unusable_calibration_says_why_and_may_be_followed_by_a_good_one() -> None:
    calibration = Calibration(["/camera_info"], rectified=False)
    zero = infos()[0]
    zero.k = np.zeros(9)
    calibration.add(0, zero)
    assert calibration.camera is None
    assert "/camera_info: K of camera_info is all zero" in calibration.problem
    calibration.add(0, infos()[0])
    assert calibration.camera is not None
