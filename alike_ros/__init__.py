"""Visual odometry with learned features (ALIKE), with and without ROS 2."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alike_ros.backends import load_extractor
    from alike_ros.camera import Camera, StereoCamera
    from alike_ros.config import Config
    from alike_ros.data import open_sequence
    from alike_ros.odometry import VisualOdometry

__version__ = "0.1.0"
__all__ = ["Camera", "Config", "StereoCamera", "VisualOdometry", "load_extractor", "open_sequence"]

_HOMES = {
    "Camera": "camera",
    "Config": "config",
    "StereoCamera": "camera",
    "VisualOdometry": "odometry",
    "load_extractor": "backends",
    "open_sequence": "data",
}


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first used: `alike --help` needs none of them."""
    if name in _HOMES:
        return getattr(import_module(f"alike_ros.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'alike_ros' has no attribute {name!r}")
