"""Plays the part of tf2_ros, which is not in the wheels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
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
        self.look_ups = 0
        self.others: dict[tuple[str, int], Array] = {}
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
        pose = self.others.get((target, time.nanoseconds), BASE_FROM_CAM)
        return transform_message(Header(frame_id=target), source, pose)
