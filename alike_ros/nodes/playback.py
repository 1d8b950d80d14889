"""Runs a sequence through the real nodes, in processes of their own, over DDS."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from alike_ros.camera import Camera, StereoCamera
from alike_ros.config import Config, NodeConfig, flatten, override
from alike_ros.data import CameraFrame, Sequence
from alike_ros.errors import AlikeError, DataError
from alike_ros.fast_dds import fitting_profile
from alike_ros.nodes.conversions import pose_from_message
from alike_ros.nodes.domain import free_domain
from alike_ros.nodes.player import Player
from alike_ros.nodes.processes import NodeProcesses
from alike_ros.odometry.estimate import Estimate, Status
from alike_ros.results import Run

T = TypeVar("T")

#: TensorRT builds its engine while the node starts.
START_TIMEOUT_S = 600.0
#: Frames in a row that may go unanswered in lock-step.
MAX_UNANSWERED = 3
#: Settings that a robot may want otherwise. The player sends raw images in one frame, without /tf,
#: and a camera_info that says how they are distorted; it waits for what comes of each of them, and
#: takes every message of odometry for a pose.
_PLAYED = {
    "autostart": True,
    "frame_id": "",
    "guess_frame_id": "",
    "image_transport": "raw",
    "depth_transport": "raw",
    "rectified_images": False,
    "publish_null_when_lost": False,
    "max_update_rate": 0.0,
}


@dataclass
class NodeRun(Run):
    """What the nodes said about a sequence.

    estimates: one per status message, poses from `odom` (of the camera: the base frame is the
    camera's); covariances stay in the messages. latency_ms: from the image's publication to the
    arrival of its odometry. stage_ms: extract (absent in split mode) and track. played_ns: stamps
    of all frames. unusable: frames that a node refused, by reason.
    """

    num_played: int = 0
    played_ns: list[int] = field(default_factory=list)
    unusable: dict[int, str] = field(default_factory=dict)
    exit_codes: list[int] = field(default_factory=list)
    interrupted: bool = False

    @property
    def num_unanswered(self) -> int:
        """Frames that were overtaken by newer ones, or lost."""
        return self.num_played - len(self.estimates) - len(self.unusable)


def run_through_nodes(
    sequence: Sequence,
    config: Config,
    split: bool = False,
    rate_hz: float = 0.0,
    progress: bool = True,
    timeout_s: float = 30.0,
) -> NodeRun:
    """Plays a sequence into `vo_node`, or into `features_node` and `tracking_node` if split.

    In lock-step (rate_hz 0) each frame waits for the answer to the one before, so that none is
    overtaken, and the answer for the bundle adjustment; images are sent again if they get lost on
    a busy machine. Raises AlikeError, with what the node wrote, when a node ends or does not
    answer for `timeout_s`; Ctrl-C ends the run early.
    """
    camera, settings = camera_and_settings(sequence, config)
    settings = override(settings, {"bundle.background": rate_hz > 0})
    if not rate_hz:
        settings = override(settings, {"image_qos": "reliable"})
    with running_nodes(camera, settings, split) as (nodes, player):
        start = time.perf_counter()
        interrupted = False
        try:
            _play(sequence, player, nodes, rate_hz, progress, timeout_s)
        except KeyboardInterrupt:
            interrupted = True
        seconds = time.perf_counter() - start
        exit_codes = nodes.stop()
    return _result(player, seconds, exit_codes, interrupted)


def camera_and_settings(
    sequence: Sequence, config: Config
) -> tuple[Camera | StereoCamera, NodeConfig]:
    """The camera of the mode, and the settings of nodes that `Player` plays it into.

    Settings that do not fit the player are replaced. Raises DataError when the camera is missing.
    """
    camera = sequence.stereo if config.mode == "stereo" else sequence.camera
    if camera is None:
        raise DataError(f"{sequence.name} has no right images: mode stereo is not possible")
    return camera, override(NodeConfig(), flatten(config) | _PLAYED)


@contextmanager
def running_nodes(
    camera: Camera | StereoCamera, settings: NodeConfig, split: bool = False
) -> Iterator[tuple[NodeProcesses, Player]]:
    """The nodes and a camera for them, connected, in a ROS domain of their own."""
    domain_id = free_domain()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="alike_ros_")))
        stack.enter_context(_environment(folder))
        nodes = stack.enter_context(NodeProcesses(settings, split, domain_id, folder))
        status_topic = "tracking/status" if split else "vo/status"
        player = stack.enter_context(
            closing(Player(camera, settings.mode, status_topic, domain_id))
        )
        wait_for_nodes(player, nodes, 2 if split else 1)
        yield nodes, player


@contextmanager
def _environment(log_folder: Path) -> Iterator[None]:
    """This machine only, and shared memory that takes whole images.

    Fast DDS reads the profile when a process first joins a domain: a process that has used rclpy
    before needs it from its start.
    """
    profile = str(fitting_profile(log_folder))
    wanted = {
        "ROS_LOG_DIR": str(log_folder),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "FASTRTPS_DEFAULT_PROFILES_FILE": profile,
        "FASTDDS_DEFAULT_PROFILES_FILE": profile,
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def wait_for_nodes(player: Player, nodes: NodeProcesses, number: int) -> None:
    """Until so many nodes are connected with the player. Raises AlikeError when one ends."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not player.ready(number):
        nodes.check()
        if time.monotonic() > deadline:
            raise AlikeError(
                f"the nodes did not start within {START_TIMEOUT_S:g} s:\n{nodes.log()}"
            )
        time.sleep(0.05)


def _play(
    sequence: Sequence,
    player: Player,
    nodes: NodeProcesses,
    rate_hz: float,
    progress: bool,
    timeout_s: float,
) -> None:
    unanswered = 0
    stamp_ns = None
    frames: Iterable[CameraFrame] = tqdm(
        sequence, total=len(sequence) or None, unit="frame", disable=not progress
    )
    for frame in paced(frames, rate_hz) if rate_hz else frames:
        if stamp_ns is None:
            calibrate(player, frame.stamp_ns)
        stamp_ns = frame.stamp_ns
        player.publish(frame)
        if rate_hz:
            nodes.check()
            continue
        unanswered = 0 if wait_for_answer(player, nodes, stamp_ns, timeout_s) else unanswered + 1
        if unanswered > MAX_UNANSWERED:
            raise AlikeError(
                f"the nodes left {unanswered} frames in a row unanswered:\n{nodes.log()}"
            )
    if stamp_ns is not None and rate_hz:
        wait_for_answer(player, nodes, stamp_ns, timeout_s)


def calibrate(player: Player, stamp_ns: int) -> None:
    """Sends camera_info ahead of the images, which are left out without one."""
    player.publish_calibration(stamp_ns)
    time.sleep(0.2)


def paced(items: Iterable[T], rate_hz: float) -> Iterator[T]:
    """At a rate; after a delay it goes on at that rate, without a burst."""
    due = time.perf_counter()
    for item in items:
        time.sleep(max(due - time.perf_counter(), 0))
        due = max(due, time.perf_counter()) + 1 / rate_hz
        yield item


def wait_for_answer(player: Player, nodes: NodeProcesses, stamp_ns: int, timeout_s: float) -> bool:
    """Whether a frame's status, and its odometry if there is any, have come."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if player.wait(lambda: player.answered(stamp_ns), 0.5):
            return True
        nodes.check()
    return False


def _result(player: Player, seconds: float, exit_codes: list[int], interrupted: bool) -> NodeRun:
    estimates, unusable = [], {}
    stage_ms: dict[str, list[float]] = {}
    latency_ms = []
    for stamp_ns, (values, _) in sorted(player.statuses.items()):
        if values["status"] == "unusable":
            unusable[stamp_ns] = values["message"]
            continue
        pose = None
        if stamp_ns in player.odometry:
            message, arrived = player.odometry[stamp_ns]
            pose = pose_from_message(message.pose.pose)
            latency_ms.append((arrived - player.published[stamp_ns]) * 1e3)
        estimates.append(_estimate(values, pose))
        for stage in ("extract", "track"):
            if f"{stage}_ms" in values:
                stage_ms.setdefault(stage, []).append(float(values[f"{stage}_ms"]))
    return NodeRun(
        estimates,
        latency_ms,
        stage_ms,
        seconds,
        num_played=len(player.published),
        played_ns=list(player.published),
        unusable=unusable,
        exit_codes=exit_codes,
        interrupted=interrupted,
    )


def _estimate(values: dict[str, str], pose: Any) -> Estimate:
    return Estimate(
        int(values["stamp_ns"]),
        Status(values["status"]),
        None if pose is None else np.asarray(pose),
        None,
        int(values["num_matches"]),
        int(values["num_inliers"]),
        values["is_keyframe"] == "true",
        values["metric_scale"] == "true",
    )
