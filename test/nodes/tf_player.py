"""Plays the part of tf2_ros, which is not in the wheels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from geometry_msgs.msg import TransformStamped
from std_msgs.msg import Header

from alike_ros.geometry import Array, from_Rt, rotation_exp
from alike_ros.nodes.conversions import transform_message

BASE_FROM_CAM = from_Rt(rotation_exp(np.array([0.1, -1.2, 0.4])), np.array([0.2, 0.0, 0.5]))


class TransformException(Exception):
    pass


class Tf:
    """tf2_ros with one transform, once it is `known`; others by target frame and stamp.

    What is asked for without a time has the stamp 0.
    """

    def __init__(self) -> None:
        self.known = False
        self.look_ups = self.clears = 0
        self.others: dict[tuple[str, int], Array] = {}
        self.sent: list[Any] = []
        self.module = SimpleNamespace(
            TransformException=TransformException,
            Buffer=lambda: SimpleNamespace(lookup_transform=self.lookup, clear=self.clear),
            TransformListener=lambda buffer, node: SimpleNamespace(unregister=lambda: None),
            TransformBroadcaster=self.broadcaster,
        )

    def broadcaster(self, node: Any) -> Any:
        return SimpleNamespace(
            pub_tf=node.create_publisher(TransformStamped, "/tf", 100),
            sendTransform=self.sent.append,
        )

    def clear(self) -> None:
        self.clears += 1

    def lookup(self, target: str, source: str, time: Any, timeout: Any = None) -> Any:
        self.look_ups += 1
        if not self.known:
            raise TransformException("does not exist")
        pose = self.others.get((target, time.nanoseconds), BASE_FROM_CAM)
        return transform_message(Header(frame_id=target), source, pose)
