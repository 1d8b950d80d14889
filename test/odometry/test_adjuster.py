"""Bundle adjustment beside the tracking: keyframes do not wait for it, and it may die."""

import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest
from scene import CAMERA, Scene, walk
from test_odometry import depth_image

from alike_ros.config import Config
from alike_ros.geometry import inverse
from alike_ros.odometry import Status, VisualOdometry, adjuster, bundle_adjustment
from alike_ros.odometry.adjuster import Background
from alike_ros.odometry.bundle_adjustment import adjust

pytest.importorskip("gtsam")


class Slow:
    """An adjuster that has its result only when asked for it."""

    def __init__(self):
        self.waiting = []

    def __call__(self, window):
        self.waiting.append((Future(), window))
        return self.waiting[-1][0]

    def finish(self):
        while self.waiting:
            future, window = self.waiting.pop()
            future.set_result(adjust(window))


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


def test_a_process_adjusts_and_when_it_dies_another_one_does():
    poses = walk(60)
    odometry = VisualOdometry(CAMERA, Config(mode="rgbd"), background=True)
    killed = []

    def each(i):
        adjustment = odometry._mapper._adjustment
        if adjustment is not None:
            adjusted.append(adjustment.result.result(60))  # the first waits for the start
        process = odometry._adjuster._process.running
        if i == 30:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            killed.append(process.pid)
            adjusted.clear()

    adjusted = []
    estimates = follow(odometry, poses, each)
    assert {e.status for e in estimates} == {Status.TRACKING}
    assert largest_error(poses, estimates) < 0.02  # measured 0.002
    assert len(adjusted) >= 2
    assert None not in adjusted
    assert odometry._adjuster._process.running.pid != killed[0]


@pytest.fixture
def window():
    """One of a walk."""
    slow, odometry = Slow(), VisualOdometry(CAMERA, Config(mode="rgbd"))
    odometry._adjuster = slow
    follow(odometry, walk(20, step=0.1))
    return slow.waiting[0][1]


@pytest.fixture
def starts(monkeypatch):
    """Sets what runs in the place of the process; returns the processes."""

    def run(code):
        def start():
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            started.append(subprocess.Popen([sys.executable, "-c", code], **pipes))
            return started[-1]

        monkeypatch.setattr(adjuster, "_start", start)
        return started

    started = []
    return run


def test_a_process_that_never_answers_is_given_up(window, starts):
    """It dies in the middle of an answer."""
    half = pickle.dumps(np.zeros(100))[:-50]
    started = starts(f"import sys; sys.stdout.buffer.write({half!r})")
    background = Background()
    assert [background(window).result(60) for _ in range(5)] == [None] * 5
    assert len(started) == 3
    assert all(process.poll() is not None for process in started)


def test_a_process_that_hangs_is_replaced(window, starts, monkeypatch):
    monkeypatch.setattr(adjuster, "_LONGEST_S", 0.2)
    started = starts("import time; time.sleep(600)")
    background = Background()
    assert background(window).result(60) is None
    assert started[0].poll() is not None
    monkeypatch.undo()
    assert background(window).result(60) is not None


def test_what_cannot_be_solved_is_left_as_it_is(window):
    broken = np.full_like(window.covariance, np.nan)
    assert adjust(window) is not None
    assert adjust(replace(window, covariance=broken)) is None


@pytest.mark.parametrize("seen", [0, 1, 2])
def test_a_pose_that_sees_too_little_stays_and_the_others_move(seen):
    """All that a keyframe saw, or nearly all, may have been left out as an outlier."""
    recorded = []
    odometry = VisualOdometry(CAMERA, Config(mode="rgbd"))
    odometry._adjuster = lambda window: recorded.append(window) or adjuster.adjust_now(window)
    follow(odometry, walk(30, step=0.1))
    window = recorded[-1]
    poses = window.poses.copy()
    poses[1, :3, 3] += 0.05  # of seven metres to what is seen
    kept = (window.camera > 0) | (np.cumsum(window.camera == 0) <= seen)
    names = ("camera", "landmark", "bearings", "depths")
    some = {name: getattr(window, name)[kept] for name in names}
    adjusted = adjust(replace(window, poses=poses, **some))
    np.testing.assert_array_equal(adjusted.poses[0], poses[0])
    np.testing.assert_array_equal(adjusted.covariances[0], window.covariance[0])
    off = np.linalg.norm((adjusted.poses[1] - window.poses[1])[:3, 3])
    assert off < 0.005  # measured 0.00005


def test_a_missing_gtsam_is_told_once(monkeypatch, caplog):
    monkeypatch.setattr(bundle_adjustment, "gtsam", None)
    bundle_adjustment.is_available.cache_clear()
    assert not bundle_adjustment.is_available()
    assert not bundle_adjustment.is_available()
    bundle_adjustment.is_available.cache_clear()
    assert len(caplog.records) == 1


def test_the_process_ends_with_the_odometry():
    odometry = VisualOdometry(CAMERA, Config(mode="rgbd"), background=True)
    follow(odometry, walk(20, step=0.1))
    process = odometry._adjuster._process.running
    assert process.poll() is None
    del odometry
    assert process.wait(10) == 0
