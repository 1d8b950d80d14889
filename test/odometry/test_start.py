"""How maps begin, where the first view is a poor one."""

from dataclasses import replace

import numpy as np
import pytest
from scene import CAMERA, STEREO, Scene, measured, walk

from alike_ros.config import Config
from alike_ros.features import Features
from alike_ros.geometry import from_Rt, inverse, rotation_log
from alike_ros.odometry import Status, VisualOdometry, start
from alike_ros.odometry.two_views import relative_pose


def some(features, depths, count):
    """A dark view: a few of the keypoints."""
    kept = np.random.default_rng(0).choice(len(features), count, replace=False)
    chosen = (x[kept] for x in (features.keypoints, features.scores, features.descriptors))
    return Features(*chosen), depths[kept]


def follow(mode, scene, first):
    """Estimates along a walk, whose first view is given, and the errors of the positions."""
    odometry = VisualOdometry(STEREO if mode == "stereo" else CAMERA, Config(mode=mode))
    estimates, errors = [], []
    for i, pose in enumerate(walk(40)):
        features, depths = scene.see(pose) if i else first
        more = measured(mode, features, depths)
        estimates.append(odometry.track(i * 33_000_000, features, **more))
        if estimates[i].world_from_cam is not None:
            errors.append(np.linalg.norm((inverse(pose) @ estimates[i].world_from_cam)[:3, 3]))
    return estimates, errors


@pytest.mark.parametrize(("mode", "count"), [("rgbd", 30), ("rgbd", 60), ("stereo", 20)])
def test_a_dark_first_view_does_not_remain_all_there_is(mode, count):
    """Cameras that set their exposure begin in the dark, at times."""
    scene = Scene()
    estimates, errors = follow(mode, scene, some(*scene.see(np.eye(4), outliers=0), count))
    assert {e.status for e in estimates} == {Status.TRACKING}
    assert min(e.num_inliers for e in estimates[3:]) > 100
    assert max(errors) < 0.06  # a step is 0.045; measured 0.047, 0.008, 0.008
    for estimate, error in list(zip(estimates, errors, strict=True))[1:]:
        assert error < 3 * np.trace(estimate.covariance[:3, :3]) ** 0.5


@pytest.mark.parametrize("mode", ["mono", "rgbd", "stereo"])
def test_a_first_view_of_something_else_is_forgotten(mode):
    """A driver's left over image: nothing in it is ever seen again."""
    estimates, _ = follow(mode, Scene(), Scene(seed=1).see(np.eye(4)))
    begun = {"mono": 15, "rgbd": 1, "stereo": 11}[mode]  # parallax; as rich; the bridge's end
    assert {e.status for e in estimates[begun:]} == {Status.TRACKING}


@pytest.mark.parametrize("near", [0, 8, 14])
def test_stereo_does_not_start_where_all_is_too_far(near):
    """Below 2.5 pixels, disparities give no landmark: a start takes 15."""
    scene = Scene()
    scene.points[near:] *= 10  # from 20 m on, where a disparity is 2.5 pixels
    estimates, _ = follow("stereo", scene, scene.see(np.eye(4)))
    assert {e.status for e in estimates} == {Status.INITIALISING}
    assert all(e.world_from_cam is None for e in estimates)


def test_mono_begins_as_uncertain_as_its_two_views_are():
    """In units of their distance."""
    nees = []
    for seed in range(12):
        estimates, _ = follow("mono", Scene(seed), Scene(seed).see(np.eye(4)))
        number = next(i for i, e in enumerate(estimates) if e.status is Status.TRACKING)
        true = walk(40)[number]
        true[:3, 3] /= np.linalg.norm(true[:3, 3])
        difference = inverse(estimates[number].world_from_cam) @ true
        error = np.concatenate([difference[:3, 3], rotation_log(difference[:3, :3])])
        np.linalg.cholesky(estimates[number].covariance)  # symmetric and positive
        nees.append(error @ np.linalg.solve(estimates[number].covariance, error) / 5)
    assert 0.4 < np.median(nees) < 2.5  # measured 1.9; the mean, with outliers by chance, 3.2


@pytest.mark.parametrize(("is_unique", "first"), [(True, 4), (False, 11)])
def test_mono_waits_for_more_parallax_where_two_poses_explain_the_views(
    monkeypatch, is_unique, first
):
    """As they may of a plane, and a third one too: the wrong one gets implausible meanwhile."""

    def found(*arguments):
        pose = relative_pose(*arguments)
        return replace(pose, rivals=() if is_unique else (pose,))

    monkeypatch.setattr(start, "relative_pose", found)
    monkeypatch.setattr(start, "told_apart", lambda found, *_: found)
    scene, odometry = Scene(), VisualOdometry(CAMERA, Config())
    statuses = []
    for i, pose in enumerate(walk(20, step=0.1, turn_deg=0)):
        statuses.append(odometry.track(i * 33_000_000, scene.see(pose)[0]).status)
        if statuses[-1] is Status.TRACKING:
            break
    assert len(statuses) - 1 == pytest.approx(first, abs=1)  # two degrees, six


def test_mono_starts_before_a_plane_as_soon_as_a_third_view_tells_its_pose():
    """Towards a wall on a bow. By two views alone: at frames 14 to 18, four of ten wrong."""
    for seed in range(10):
        scene, odometry = Scene(seed), VisualOdometry(CAMERA, Config())
        scene.points[:, 2] = 5 + 0.3 * scene.points[:, 0]
        heading = np.radians(90) - 0.1 * np.arange(12)
        steps = 0.08 * np.column_stack([np.cos(heading), 0 * heading, np.sin(heading)])
        positions = np.concatenate([np.zeros((1, 3)), steps.cumsum(axis=0)])
        for i, position in enumerate(positions):
            features, _ = scene.see(from_Rt(np.eye(3), position))
            estimate = odometry.track(i * 33_000_000, features)
            if estimate.status is Status.TRACKING:
                break
        assert i <= 10  # measured 7 to 9
        found, true = (t / np.linalg.norm(t) for t in (estimate.world_from_cam[:3, 3], position))
        assert np.degrees(np.arccos(found @ true)) < 2  # measured up to 0.7


def test_mono_does_not_start_with_cars_that_pass_a_camera_which_stands_still():
    street, cars, odometry = Scene(), Scene(seed=1, count=500), VisualOdometry(CAMERA, Config())
    for i, pose in enumerate(walk(40)):
        views = street.see(np.eye(4), noise_px=0.1)[0], cars.see(pose)[0]
        names = ("keypoints", "scores", "descriptors")
        features = Features(*(np.concatenate([getattr(v, n) for v in views]) for n in names))
        assert odometry.track(i * 33_000_000, features).status is Status.INITIALISING


def test_mono_starts_again_where_most_matches_with_the_first_view_contradict_a_pose():
    """As they do once it is out of sight, where things look alike."""
    scene = Scene()
    estimates, _ = follow("mono", scene, scene.see(np.eye(4), outliers=0.75))
    number = next(i for i, e in enumerate(estimates) if e.status is Status.TRACKING)
    assert number < 15  # measured 11
    assert estimates[number].num_inliers > 0.6 * estimates[number].num_matches  # measured 0.79
