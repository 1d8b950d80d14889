"""Learned visual odometry for ROS 2."""
