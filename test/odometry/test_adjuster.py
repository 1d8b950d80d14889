"""Bundle adjustment beside the tracking: keyframes do not wait for it, and it may die."""

import os
import signal
from concurrent.futures import Future

import numpy as np
import pytest
from scene import CAMERA, Scene, walk
from test_odometry import depth_image

from alike_ros.config import Config
from alike_ros.geometry import inverse
from alike_ros.odometry import Status, VisualOdometry
from alike_ros.odometry.bundle_adjustment import adjust

pytest.importorskip("gtsam")


class Slow:
    """An adjuster that has its result only when asked for it."""

    def __init__(self):
        self.waiting = []

    def __call__(self, window, noise):
        self.waiting.append((Future(), window, noise))
        return self.waiting[-1][0]

    def finish(self):
        while self.waiting:
            future, window, noise = self.waiting.pop()
            future.set_result(adjust(window, noise))


def follow(odometry, poses, each=lambda i: None):
    scene, estimates = Scene(), []
    for i, pose in enumerate(poses):
        features, depths = scene.see(pose)
        estimates.append(odometry.track(i * 33_000_000, features, depth_image(features, depths)))
        each(i)
    return estimates


def largest_error(poses, estimates):
    return max(
        np.linalg.norm((inverse(pose) @ estimate.world_from_cam)[:3, 3])
        for pose, estimate in zip(poses, estimates, strict=True)
    )


def test_keyframes_come_while_an_adjustment_is_going_on():
    slow, poses = Slow(), walk(60)
    odometry = VisualOdometry(CAMERA, Config(mode="rgbd"))
    odometry._adjuster = slow
    asked = []

    def each(i):
        asked.append(len(slow.waiting))
        if i % 25 == 24:
            slow.finish()

    estimates = follow(odometry, poses, each)
    assert {e.status for e in estimates} == {Status.TRACKING}
    assert sum(e.is_keyframe for e in estimates) >= 4
    assert max(asked) == 1  # one at a time; the next begins when it is done
    assert largest_error(poses, estimates) < 0.02  # measured 0.003


def test_a_process_adjusts_and_its_death_is_survived():
    poses = walk(60)
    odometry = VisualOdometry(CAMERA, Config(mode="rgbd"), background=True)

    def each(i):
        adjustment = odometry._mapper._adjustment
        if adjustment is not None:
            adjustment.result.result(60)  # the first waits for the process to start
        process = odometry._adjuster._process
        if i == 40:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()

    estimates = follow(odometry, poses, each)
    assert {e.status for e in estimates} == {Status.TRACKING}
    assert largest_error(poses, estimates) < 0.02  # measured 0.002


def test_the_process_ends_with_the_odometry():
    odometry = VisualOdometry(CAMERA, Config(mode="rgbd"), background=True)
    follow(odometry, walk(20, step=0.1))
    process = odometry._adjuster._process
    assert process.poll() is None
    del odometry
    assert process.wait(10) == 0
