"""What the three nodes share: lifecycle, parameters, paired inputs and the worker thread."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, PointCloud2
from std_msgs.msg import Header

from alike_ros.config import NodeConfig
from alike_ros.errors import AlikeError, DataError
from alike_ros.freed_memory import GivingBack
from alike_ros.nodes.calibration import Calibration, Rig
from alike_ros.nodes.conversions import stamp_to_ns
from alike_ros.nodes.ending import Ending
from alike_ros.nodes.executor import Executor
from alike_ros.nodes.health import Expected, Health
from alike_ros.nodes.pace import Pace
from alike_ros.nodes.parameters import Parameters
from alike_ros.nodes.silence import publishers_of
from alike_ros.nodes.synchroniser import Synchroniser
from alike_ros.nodes.topics import INPUT, INPUTS, RELIABLE_INPUT
from alike_ros.nodes.worker import NewestWorker

#: A stamp this far ahead of the clock is no rounding of it.
AHEAD_MS = 100.0
#: A signal is seen when a wait for messages ends: this long after it, at most.
SIGNAL_WAIT_S = 0.1


class _Group(NamedTuple):
    """Messages that belong together; when the last came; how often stamps had jumped back."""

    complete: float
    messages: tuple[Any, ...]
    clock_jumps: int


class PipelineNode(LifecycleNode):  # type: ignore[misc]
    """Messages in, paired by stamp in the executor's thread; the newest group to a worker thread.

    A node says what it subscribes to (`inputs`), what it needs before (`set_up`) and what it does
    with a group (`process`). Every node needs the calibration of its cameras.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._settings = Parameters(self)
        self.health = Health(self)
        self._unusable = self._clock_jumps = 0
        self.paused = False  # frames that come meanwhile are left out
        self._synchroniser: Synchroniser[Any] | None = None
        self._worker: NewestWorker[_Group] | None = None
        self.wait_ms = 0.0  # that the frame in work has waited for the one before

    @property
    def config(self) -> NodeConfig:
        """The settings as they are now."""
        return self._settings.config

    def set_up(self) -> None:
        """Loads what takes long. Raises AlikeError."""

    def tear_down(self) -> None:
        """Frees it."""

    def inputs(self) -> list[tuple[type, str]]:
        """Types and topics of the messages that make a group; the first gives the stamp."""
        raise NotImplementedError

    def subscribe_more(self) -> None:
        """To what is not part of a group, by `health.subscribe`."""

    def process(self, messages: tuple[Any, ...], rig: Rig) -> None:
        """One group, in the worker's thread. DataError: it is unusable."""
        raise NotImplementedError

    def restart(self) -> None:
        """The clock was set back: what follows has older stamps. In the worker's thread."""

    def unusable(self, header: Header, reason: str) -> None:
        """Says that the group of this stamp brings no result. In the worker's thread."""
        self._unusable += 1
        values = {"status": "unusable", "num_features": 0}
        self.health.report(DiagnosticStatus.WARN, reason, values)
        self.warn(reason, f"frame left out: {reason}")

    @property
    def takes_frames(self) -> bool:
        """Whether what comes is worked on."""
        return self._worker is not None and not self.paused

    @property
    def dropped(self) -> dict[str, int]:
        """Messages left out since activation, by reason."""
        counts = dict(self._synchroniser.dropped) if self._synchroniser else {}
        overtaken = self._worker.dropped if self._worker else 0
        return counts | {"overtaken": overtaken, "unusable": self._unusable}

    def warn(self, kind: str, text: str) -> None:
        """A warning, in /diagnostics as long as it is repeated and in the log once."""
        if self.health.remark(kind, text):
            self.get_logger().warning(text)

    def start(self) -> bool:
        """Configures and activates; whether that succeeded (why not is in the log)."""
        return all(
            transition() == TransitionCallbackReturn.SUCCESS
            for transition in (self.trigger_configure, self.trigger_activate)
        )

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads the model."""
        self._settings.is_configured = True
        try:
            self.set_up()
        except AlikeError as error:
            self._unload()
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        except Exception:  # rclpy would swallow it
            self.get_logger().error(traceback.format_exc())
            return TransitionCallbackReturn.ERROR
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribes."""
        try:
            self._begin()
        except Exception:  # rclpy would swallow it
            self.get_logger().error(traceback.format_exc())
            return TransitionCallbackReturn.ERROR
        return super().on_activate(state)

    def _begin(self) -> None:
        config, inputs = self.config, self.inputs()
        interval = config.approx_sync_max_interval if config.approx_sync else 0.0
        self._synchroniser = Synchroniser(
            len(inputs), round(interval * 1e9), config.sync_queue_size
        )
        waiting = 1 if config.always_process_most_recent_frame else config.sync_queue_size
        self._worker = NewestWorker(self._process, waiting)
        self._pace = Pace()
        self._unusable = self._clock_jumps = 0
        infos = INPUTS[config.mode].camera_infos
        self._calibration = Calibration(
            [self.resolve_topic_name(topic) for topic in infos], config.rectified_images
        )
        image_qos = RELIABLE_INPUT if config.image_qos == "reliable" else INPUT
        # before the images: of messages that wait, those of the first subscription come first
        for index, topic in enumerate(infos):
            callback = partial(self._calibration.add, index)
            self.health.subscribe(CameraInfo, topic, callback, INPUT, expected=Expected.ONCE)
        for index, (kind, topic) in enumerate(inputs):
            callback = partial(self._on_input, index)
            if kind is PointCloud2:  # from features_node, which offers best effort
                self.health.subscribe(kind, topic, callback, INPUT)
            else:
                self.health.subscribe(kind, topic, callback, image_qos, "image_qos")
        self.subscribe_more()
        self.health.start(self._counts)
        needed, optional = map(", ".join, self.health.topics)
        taken = f" (and {optional}, if any)" if optional else ""
        self.get_logger().info(f"{config.mode}: waiting for messages on {needed}{taken}")

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribes, and waits for the frame in work."""
        self._halt()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees the model."""
        self._unload()
        return super().on_cleanup(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an unexpected exception: back to unconfigured, to be tried again."""
        self._halt()
        self._unload()
        super().on_deactivate(state)
        return super().on_error(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """From any state."""
        self._halt()
        self.tear_down()
        return super().on_shutdown(state)

    def close(self) -> None:
        """Joins the worker thread and destroys the node."""
        self._halt()
        self.tear_down()
        self.destroy_node()

    def _unload(self) -> None:
        self.tear_down()
        self._settings.is_configured = False

    def _halt(self) -> None:
        if self._worker is None:
            return
        self.health.stop()
        self._worker.close()
        self._worker = self._synchroniser = None

    def _on_input(self, topic: int, message: Any) -> None:
        if self._worker is None or self._synchroniser is None:
            return
        if self.paused:
            self._synchroniser.dropped["paused"] += topic == 0
            self.health.remark("paused", "paused until resume_odom is called")
            return
        jumps, dropped = self._synchroniser.clock_jumps, self._synchroniser.dropped.copy()
        groups = self._synchroniser.add(topic, stamp_to_ns(message.header.stamp), message)
        if self._synchroniser.clock_jumps > jumps:
            self.warn("clock", "stamps went back: a new map starts at the last pose")
            self._pace.restart()
        for reason in self._synchroniser.dropped - dropped:
            self.warn(reason, self._why_left_out(reason, topic, message))
        for group in groups:
            if self._admits(stamp_to_ns(group[0].header.stamp)):
                self._worker.put(
                    _Group(time.perf_counter(), group, self._synchroniser.clock_jumps)
                )
            else:
                self._synchroniser.dropped["throttled"] += 1

    def _why_left_out(self, reason: str, topic: int, message: Any) -> str:
        """This message of a topic, or one that waited for it."""
        assert self._synchroniser is not None
        names = [self.resolve_topic_name(name) for _, name in self.inputs()]
        apart_ns = self._synchroniser.apart_ns
        if reason != "unpaired" and not stamp_to_ns(message.header.stamp):
            return f"messages on {names[topic]} have no stamps: the driver has to set header.stamp"
        if reason != "unpaired":
            return f"{reason.removesuffix('_partner')} message on {names[topic]} left out"
        partners = " and ".join(names[1:])
        if apart_ns is None:
            return f"messages on {names[0]} find no partner: nothing comes on {partners}"
        interval_s, size = self.config.approx_sync_max_interval, self.config.sync_queue_size
        return (
            f"a message on {names[0]} ({publishers_of(self, names[0])}) is "
            f"{apart_ns * 1e-9:.3f} s from the nearest on {partners}: synchronise the cameras, "
            f"raise approx_sync_max_interval ({interval_s:g} s), or sync_queue_size ({size}) for "
            "messages that come late"
        )

    def _admits(self, stamp_ns: int) -> bool:
        """Whether a frame is due; a gap before it is told."""
        gap_ms, threshold_ms = self._pace.gap_ms(stamp_ns), self.config.image_jitter_threshold_ms
        if threshold_ms and gap_ms > threshold_ms:
            self.warn(
                "jitter",
                f"stamps are {gap_ms:.1f} ms apart, image_jitter_threshold_ms is {threshold_ms:g}",
            )
        return self._pace.admits(stamp_ns, self.config.max_update_rate)

    def _done(self, stamp_ns: int) -> None:
        latency_ms = (self.get_clock().now().nanoseconds - stamp_ns) * 1e-6
        if latency_ms < -AHEAD_MS:
            self.warn(
                "ahead",
                f"stamps are {-latency_ms * 1e-3:.1f} s ahead of this node's clock: synchronise "
                "the machines' clocks, or play a bag with --clock and set use_sim_time",
            )
        self.health.done(latency_ms)

    def _counts(self) -> dict[str, object]:
        """For /diagnostics."""
        offset_ns = self._synchroniser.offset_ns if self._synchroniser else 0
        return {"sync_offset_ms": offset_ns * 1e-6, "is_paused": self.paused, **self.dropped}

    def _process(self, group: _Group) -> None:
        messages, rig = group.messages, self._calibration.rig
        self.wait_ms = (time.perf_counter() - group.complete) * 1e3
        if self.paused:  # since it came
            assert self._synchroniser is not None
            self._synchroniser.dropped["paused"] += 1
            return
        if group.clock_jumps != self._clock_jumps:  # not before: older frames may be in work
            self._clock_jumps = group.clock_jumps
            self.restart()
        try:
            if rig is None:
                raise DataError(self._calibration.problem)
            self.process(messages, rig)
            self._done(stamp_to_ns(messages[0].header.stamp))
        except DataError as error:
            self.unusable(messages[0].header, str(error))
        except Exception as error:  # a fault of ours: one frame is lost, the robot drives on
            if self.health.remark("fault", repr(error)):
                self.get_logger().error(traceback.format_exc())
            self.unusable(messages[0].header, f"fault: {error!r}")


def run(make_node: Callable[[], PipelineNode], args: list[str] | None = None) -> int:
    """The node's process until SIGINT or SIGTERM; returns the exit code."""
    ending, give_back = Ending(), GivingBack()
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # rclpy has no public name for that of a wrong argument
        ending.close()
        print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)
        return 1
    node: PipelineNode | None = None
    executor = Executor()
    try:
        node = make_node()
        if node.config.autostart and not node.start():
            return 1
        executor.add_node(node)
        while not ending.is_due:
            executor.spin_once(timeout_sec=SIGNAL_WAIT_S)
            give_back()
    except AlikeError as error:
        get_logger(node.get_name() if node else "alike_ros").fatal(str(error))
        return 1
    except KeyboardInterrupt:
        pass
    finally:
        executor.shutdown()
        if node is not None:
            node.close()
        rclpy.shutdown()
        ending.close()
    return 0
