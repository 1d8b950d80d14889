"""What calls back when messages come: rclpy's executor of events, where it has one.

The other one looks at everything that a node has at every message, half a millisecond long,
while the worker waits for Python's lock.
"""

from __future__ import annotations

try:
    from rclpy.experimental import EventsExecutor as Executor
except ImportError:  # Humble
    from rclpy.executors import SingleThreadedExecutor as Executor

__all__ = ["Executor"]
