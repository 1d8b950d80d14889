"""Where the camera sits on the robot. tf2_ros is not in the wheels, so its part is played here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here (rclpy)")

from std_msgs.msg import Header

from alike_ros.config import NodeConfig
from alike_ros.geometry import from_Rt, inverse, rotation_exp
from alike_ros.nodes import frames
from alike_ros.nodes.conversions import pose_from_message, transform_message
from alike_ros.nodes.frames import Frames

pytestmark = pytest.mark.ros
BASE_FROM_CAM = from_Rt(rotation_exp(np.array([0.1, -1.2, 0.4])), np.array([0.2, 0.0, 0.5]))
NODE: Any = SimpleNamespace()


class TransformException(Exception):
    pass


class Tf:
    """tf2_ros with one transform, once it is `known`."""

    def __init__(self) -> None:
        self.known = False
        self.look_ups = 0
        self.sent: list[Any] = []
        self.module = SimpleNamespace(
            TransformException=TransformException,
            Buffer=lambda: SimpleNamespace(lookup_transform=self.lookup),
            TransformListener=lambda buffer, node: SimpleNamespace(unregister=lambda: None),
            TransformBroadcaster=lambda node: SimpleNamespace(sendTransform=self.sent.append),
        )

    def lookup(self, target: str, source: str, time: Any) -> Any:
        self.look_ups += 1
        if not self.known:
            raise TransformException("does not exist")
        return transform_message(Header(frame_id=target), source, BASE_FROM_CAM)


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
    frame.broadcast(Header(frame_id="odom"), "base_link", BASE_FROM_CAM)
    assert (tf.sent[0].header.frame_id, tf.sent[0].child_frame_id) == ("odom", "base_link")
    assert np.allclose(pose_from_message(tf.sent[0].transform), BASE_FROM_CAM)
    inverted = Frames(NODE, NodeConfig(invert_tf=True))
    inverted.broadcast(Header(frame_id="odom"), "base_link", BASE_FROM_CAM)
    message = tf.sent.pop()
    assert (message.header.frame_id, message.child_frame_id) == ("base_link", "odom")
    assert np.allclose(pose_from_message(message.transform), inverse(BASE_FROM_CAM))
    quiet = Frames(NODE, NodeConfig(publish_tf=False))
    quiet.broadcast(Header(frame_id="odom"), "base_link", BASE_FROM_CAM)
    assert len(tf.sent) == 1
