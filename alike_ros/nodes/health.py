"""How a node is doing: watches its inputs, explains silence, reports to /diagnostics."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile

from alike_ros.nodes.arrivals import SILENCE_S, Arrivals
from alike_ros.nodes.conversions import status_message
from alike_ros.nodes.silence import describe, explain_silence, publisher_names
from alike_ros.nodes.topics import DIAGNOSTICS, OUTPUT

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

#: Seconds between two reports.
PERIOD_S = 1.0
#: Remarks of one kind that come more often than this, in seconds, are one.
REMARK_S = 5.0


class Expected(Enum):
    """How often messages have to come so that nothing is wrong."""

    ALWAYS = "always"
    ONCE = "once"
    NEVER = "never"


@dataclass
class _Input:
    """A subscription that is watched."""

    subscription: Any
    arrivals: Arrivals
    parameter: str  # that sets its QoS; empty where none does
    expected: Expected
    mismatch: bool = False  # a publisher's QoS does not fit
    problem: str = ""

    @property
    def complaint(self) -> str:
        """What is wrong, if anything is."""
        if self.mismatch:
            return "a publisher does not match"
        missing = self.expected == Expected.ALWAYS or (
            self.expected == Expected.ONCE and not self.arrivals.count
        )
        return f"no message for {SILENCE_S:g} s" if missing and self.arrivals.silent else ""


class Health:
    """Subscribes on behalf of a node between `start` and `stop`; publishes at any time.

    Each silence of an input gives one warning, and an information when it ends. The time is the
    machine's: a simulated clock may stand still.
    """

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._publisher = node.create_lifecycle_publisher(DiagnosticArray, DIAGNOSTICS, OUTPUT)
        self._inputs: list[_Input] = []
        self._timer: Any = None
        self._qos_events = self._lost = 0
        self._remarks: dict[str, tuple[float, str]] = {}  # by kind: when it came last
        self._counts: Callable[[], Mapping[str, object]] = dict

    def start(self, counts: Callable[[], Mapping[str, object]]) -> None:
        """Begins to report; `counts` gives what is to be told besides."""
        self._counts = counts
        self._outcome = DiagnosticStatus.WARN, "no frame yet"
        self._values: dict[str, object] = {}
        self._qos_events = self._lost = 0
        self._frames = Arrivals(time.monotonic())
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self._node.create_timer(PERIOD_S, self._on_timer, clock=clock)

    def stop(self) -> None:
        """Unsubscribes."""
        for item in self._inputs:
            self._node.destroy_subscription(item.subscription)
        self._inputs = []
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None

    @property
    def topics(self) -> tuple[list[str], list[str]]:
        """Full names of what has to come and of what may, in the order of subscription."""
        needed: list[str] = []
        optional: list[str] = []
        for item in self._inputs:
            names = optional if item.expected == Expected.NEVER else needed
            names.append(item.subscription.topic_name)
        return needed, optional

    def subscribe(
        self,
        kind: type,
        topic: str,
        callback: Callable[[Any], None],
        qos: QoSProfile,
        parameter: str = "",
        expected: Expected = Expected.ALWAYS,
    ) -> None:
        """A subscription whose arrivals are watched."""
        item = _Input(None, Arrivals(time.monotonic()), parameter, expected)

        def on_message(message: Any) -> None:
            item.arrivals.add(time.monotonic())
            callback(message)

        def on_mismatch(event: Any) -> None:
            self._qos_events += event.total_count_change
            item.mismatch = True  # told by the timer: the graph may not know the publisher yet

        def on_lost(event: Any) -> None:
            self._lost += event.total_count_change

        events = SubscriptionEventCallbacks(incompatible_qos=on_mismatch, message_lost=on_lost)
        item.subscription = self._node.create_subscription(
            kind, topic, on_message, qos, event_callbacks=events
        )
        self._inputs.append(item)

    def publisher(self, kind: type, topic: str, qos: QoSProfile) -> Any:
        """A lifecycle publisher; a subscriber that it cannot serve is told, and counted."""

        def on_mismatch(event: Any) -> None:
            self._qos_events += event.total_count_change
            name = made.topic_name
            text = f"{name}: a subscriber gets nothing: {describe(qos)} is all that is offered"
            if self.remark(name, text):
                self._node.get_logger().warning(text)

        events = PublisherEventCallbacks(incompatible_qos=on_mismatch)
        made = self._node.create_lifecycle_publisher(kind, topic, qos, event_callbacks=events)
        return made

    @property
    def _first(self) -> _Input:
        """Of the inputs that make a frame, the one that counts frames."""
        return next(item for item in self._inputs if item.expected == Expected.ALWAYS)

    def remark(self, kind: str, text: str) -> bool:
        """Something that is wrong, from any thread; whether it is more than the last one again."""
        now = time.monotonic()
        recent = self._recent_remarks(now)
        self._remarks = recent | {kind: (now, text)}
        return kind not in recent

    def report(self, level: bytes, message: str, values: Mapping[str, object]) -> None:
        """What came of the newest frame. In the worker's thread."""
        self._outcome = level, message
        self.measured(values)

    def measured(self, values: Mapping[str, object]) -> None:
        """Values of the newest frame, of which more is to come. In the worker's thread."""
        self._values = {**self._values, **values}  # replaced: the other thread may be reading

    def done(self, latency_ms: float) -> None:
        """A frame has been worked on, so long after its stamp. In the worker's thread."""
        self._frames.add(time.monotonic())
        self.measured({"latency_ms": latency_ms})

    def _recent_remarks(self, now: float) -> dict[str, tuple[float, str]]:
        return {kind: item for kind, item in self._remarks.items() if now - item[0] < REMARK_S}

    def _on_timer(self) -> None:
        now = time.monotonic()
        self._frames.look(now)
        for item in self._inputs:
            item.arrivals.look(now)
            self._judge(item)
        self._publish()

    def _judge(self, item: _Input) -> None:
        name = item.subscription.topic_name
        names = publisher_names(self._node, item.subscription)
        if len(names) > 1:
            text = f"{name}: {', '.join(names)} all publish there, stop all but one"
            if self.remark(f"publishers {name}", text):
                self._node.get_logger().warning(text)
        if item.complaint and not item.problem:
            reason = explain_silence(self._node, item.subscription, item.parameter)
            item.problem = f"{name}: {item.complaint}: {reason}"
            self._node.get_logger().warning(item.problem)
        elif item.problem and item.arrivals.rate_hz:
            item.problem, item.mismatch = "", False
            self._node.get_logger().info(f"{name}: messages come")

    def _publish(self) -> None:
        problems = [item.problem for item in self._inputs if item.problem]
        problems += [text for _, text in self._recent_remarks(time.monotonic()).values()]
        level, message = self._outcome
        if problems:
            level, message = max(level, DiagnosticStatus.WARN), "; ".join(problems)
        values: dict[str, object] = {}
        for item in self._inputs:
            name = item.subscription.topic_name
            values[f"rate_hz {name}"] = item.arrivals.rate_hz
            if item.expected != Expected.NEVER:
                values[f"publishers {name}"] = self._node.count_publishers(name)
        values |= {
            "rate_hz processed": self._frames.rate_hz,
            "received": self._first.arrivals.count,
            "processed": self._frames.count,
            "qos_events": self._qos_events,
            "lost_in_transport": self._lost,
            **self._counts(),
            **self._values,
        }
        name = f"{self._node.get_fully_qualified_name()[1:]}: visual odometry"
        message_out = DiagnosticArray(status=[status_message(level, name, message, values)])
        message_out.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message_out)
