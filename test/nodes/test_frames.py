"""Where the camera sits on the robot. tf2_ros is not in the wheels, so its part is played here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here (rclpy)")

from std_msgs.msg import Header
from tf_player import BASE_FROM_CAM, Tf

from alike_ros.config import NodeConfig
from alike_ros.geometry import inverse
from alike_ros.nodes import frames
from alike_ros.nodes.conversions import pose_from_message
from alike_ros.nodes.frames import Frames

pytestmark = pytest.mark.ros
NODE: Any = SimpleNamespace(create_publisher=lambda *_: None, destroy_publisher=lambda _: None)


@pytest.fixture
def tf(monkeypatch: pytest.MonkeyPatch) -> Tf:
    tf = Tf()
    monkeypatch.setattr(frames, "tf2_ros", tf.module)
    return tf


def test_unknown_until_tf_knows_then_kept(tf: Tf) -> None:
    frame = Frames(NODE, NodeConfig())
    assert frame.base_from_cam("camera") is None  # never identity
    assert "'base_link' <- 'camera'" in frame.problem
    tf.known = True
    pose = frame.base_from_cam("camera")
    assert pose is not None
    assert np.allclose(pose, BASE_FROM_CAM)
    frame.base_from_cam("camera")
    assert tf.look_ups == 2
    frame.close()


@pytest.mark.parametrize("frame_id", ["", "camera"])
def test_own_frame_needs_no_tf(frame_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "tf2_ros", None)
    frame = Frames(NODE, NodeConfig(frame_id=frame_id))
    pose = frame.base_from_cam("camera")
    assert np.array_equal(pose, np.eye(4))
    assert frame.child_frame("camera") == "camera"
    frame.close()


def test_other_frame_without_tf2_ros_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "tf2_ros", None)
    frame = Frames(NODE, NodeConfig())
    assert frame.base_from_cam("camera") is None
    assert "tf2-ros-py" in frame.problem
    assert "frame_id" in frame.problem
    assert not frame.broadcasts


def test_broadcast(tf: Tf) -> None:
    frame = Frames(NODE, NodeConfig())
    frame.broadcast(Header(frame_id="odom"), "base_link", BASE_FROM_CAM, None)
    assert (tf.sent[0].header.frame_id, tf.sent[0].child_frame_id) == ("odom", "base_link")
    assert np.allclose(pose_from_message(tf.sent[0].transform), BASE_FROM_CAM)
    inverted = Frames(NODE, NodeConfig(invert_tf=True))
    inverted.broadcast(Header(frame_id="odom"), "base_link", BASE_FROM_CAM, None)
    message = tf.sent.pop()
    assert (message.header.frame_id, message.child_frame_id) == ("base_link", "odom")
    assert np.allclose(pose_from_message(message.transform), inverse(BASE_FROM_CAM))
    quiet = Frames(NODE, NodeConfig(publish_tf=False))
    quiet.broadcast(Header(frame_id="odom"), "base_link", BASE_FROM_CAM, None)
    assert len(tf.sent) == 1


def test_guess_frame_gets_the_transform_in_place_of_the_base(tf: Tf) -> None:
    frame = Frames(NODE, NodeConfig(guess_frame_id="wheels"))
    stamp = Header().stamp
    assert frame.guess_from_base(stamp, "base_link") is None
    assert "'wheels' <- 'base_link'" in frame.problem
    frame.broadcast(Header(frame_id="odom"), "base_link", np.eye(4), None)
    assert not tf.sent
    tf.known = True
    guess = frame.guess_from_base(stamp, "base_link")
    frame.broadcast(Header(frame_id="odom"), "base_link", np.eye(4), guess)
    (message,) = tf.sent
    assert (message.header.frame_id, message.child_frame_id) == ("odom", "wheels")
    assert np.allclose(pose_from_message(message.transform), inverse(BASE_FROM_CAM))
    assert Frames(NODE, NodeConfig()).guess_from_base(stamp, "base_link") is None
