"""Visual odometry: features in, poses out."""

from alike_ros.odometry.estimate import Estimate, Status
from alike_ros.odometry.odometry import VisualOdometry

__all__ = ["Estimate", "Status", "VisualOdometry"]
