"""Cameras from camera_info."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here (rclpy)")

from std_msgs.msg import Header

from alike_ros.camera import Camera, StereoCamera
from alike_ros.errors import DataError
from alike_ros.geometry import Array, from_Rt, rotation_exp
from alike_ros.nodes.calibration import Calibration, Rig
from alike_ros.nodes.conversions import camera_info_messages

pytestmark = pytest.mark.ros
CAMERA = Camera(640, 480, np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]))


def infos(camera: Camera | StereoCamera = CAMERA, frame: str = "camera") -> list:
    return camera_info_messages(Header(frame_id=frame), camera)


def unknown(target: str, source: str) -> None:
    """TF that knows nothing."""


def raw_pair(shift: float = 0.0) -> dict:
    """Left and right, in frames of their own; P says that they are `shift` metres apart."""
    left, right = infos(frame="left")[0], infos(frame="right")[0]
    right.p[3] = -shift * right.p[0]
    return {"left": left, "right": right}


def test_extrinsics_of_a_raw_pair_come_from_tf() -> None:
    right_from_left = from_Rt(rotation_exp(np.array([0.0, 0.02, 0.0])), np.array([-0.3, 0, 0]))
    asked = []

    def look_up(target: str, source: str) -> Array | None:
        asked.append((target, source))
        return right_from_left if len(asked) > 1 else None

    rig = Rig(raw_pair(0.2), rectified=False)
    assert rig.calibrated(look_up).baseline == pytest.approx(0.2)  # until TF knows better
    pair = rig.calibrated(look_up)
    assert np.array_equal(pair.right_from_left, right_from_left)
    assert rig.calibrated(look_up) is pair
    assert asked == [("right", "left")] * 2


def test_rectified_pair_does_not_ask_tf() -> None:
    rig = Rig(raw_pair(0.2), rectified=True)
    assert rig.calibrated(lambda *_: np.eye(4)).baseline == pytest.approx(0.2)


def test_raw_pair_whose_extrinsics_nobody_knows() -> None:
    rig = Rig(raw_pair(), rectified=False)
    assert len(rig.cameras) == 2  # which is all that features need
    with pytest.raises(DataError, match=r"baseline .* or publish 'right' <- 'left' on /tf_static"):
        rig.calibrated(unknown)


def test_the_camera_without_a_calibration_is_named() -> None:
    calibration = Calibration(["/left/camera_info", "/right/camera_info"], rectified=False)
    left, right = infos(StereoCamera.rectified(CAMERA, CAMERA, 0.2))
    left.k = np.zeros(9)
    calibration.add(0, left)
    calibration.add(1, right)
    assert calibration.rig is None
    assert calibration.problem.startswith("/left/camera_info: K of camera_info is all zero")
    spoilt = infos()[0]
    spoilt.d = [float("nan")] * 5
    with pytest.raises(DataError, match=r"/image: distortion is .*nan.*, expected finite"):
        Rig({"/image": spoilt}, rectified=False)


def test_missing_topics_are_named() -> None:
    calibration = Calibration(["/left/camera_info", "/right/camera_info"], rectified=False)
    assert "/left/camera_info and /right/camera_info" in calibration.problem
    left, right = infos(StereoCamera.rectified(CAMERA, CAMERA, 0.2))
    calibration.add(1, right)
    assert "no message on /left/camera_info yet" in calibration.problem
    assert calibration.rig is None
    calibration.add(0, left)
    assert calibration.rig is not None
    pair = calibration.rig.calibrated(unknown)
    assert isinstance(pair, StereoCamera)
    assert pair.baseline == pytest.approx(0.2)


def test_same_calibration_is_the_same_object() -> None:
    calibration = Calibration(["/camera_info"], rectified=False)
    calibration.add(0, infos()[0])
    rig = calibration.rig
    assert rig is not None
    calibration.add(0, infos(frame="other header")[0])
    assert calibration.rig is rig
    assert rig.calibrated(unknown) is rig.calibrated(unknown)
    changed = Camera(640, 480, CAMERA.K * [[2], [2], [1]])
    calibration.add(0, infos(changed)[0])
    assert calibration.rig is not rig


def test_unusable_calibration_says_why_and_may_be_followed_by_a_good_one() -> None:
    calibration = Calibration(["/camera_info"], rectified=False)
    zero = infos()[0]
    zero.k = np.zeros(9)
    calibration.add(0, zero)
    assert calibration.rig is None
    assert "/camera_info: K of camera_info is all zero" in calibration.problem
    calibration.add(0, infos()[0])
    assert calibration.rig is not None
