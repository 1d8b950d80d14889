"""Poses from points, on exact and on spoilt data."""

import numpy as np
import pytest
from scene import when_read

from alike_ros.geometry import (
    from_Rt,
    inverse,
    rotation_angle,
    rotation_exp,
    rotation_log,
    transform,
)
from alike_ros.odometry.pose import pose_from_points
from alike_ros.odometry.reprojection import Sightings
from alike_ros.odometry.shutter import Bend

TRUE = from_Rt(rotation_exp(np.array([0.05, -0.1, 0.02])), np.array([0.2, -0.1, 0.3]))
MAX_ERROR = 3 / 500


def observed(n=300, noise=0.0, outliers=0.0, seed=0):
    rng = np.random.default_rng(seed)
    points = rng.uniform([-3, -2, 2], [3, 2, 8], (n, 3))
    in_cam = transform(TRUE, points)
    bearings = in_cam[:, :2] / in_cam[:, 2:] + rng.normal(0, noise, (n, 2))
    wrong = rng.random(n) < outliers
    bearings[wrong] = rng.uniform(-0.6, 0.6, (wrong.sum(), 2))
    return points, bearings, wrong


def error(pose):
    delta = pose @ inverse(TRUE)
    return np.linalg.norm(delta[:3, 3]), np.degrees(rotation_angle(delta[:3, :3]))


def sightings(points, bearings, spread=0.0, noise=1.0):
    rows = (bearings[:, 1] * 500 + 240) / 480 - 0.5
    spread = np.broadcast_to(spread, points.shape)
    return Sightings(points, spread, bearings, np.broadcast_to(noise, len(points)), rows)


def test_exact_points_give_the_exact_pose():
    points, bearings, _ = observed()
    result = pose_from_points(sightings(points, bearings), MAX_ERROR, 300)
    assert max(error(result.cam_from_world)) < 1e-6
    assert result.inliers.all()


def test_outliers_are_found():
    points, bearings, wrong = observed(noise=0.5 / 500, outliers=0.5)
    result = pose_from_points(sightings(points, bearings), MAX_ERROR, 300)
    metres, degrees = error(result.cam_from_world)
    assert metres < 0.005  # measured 0.0008
    assert degrees < 0.05  # measured 0.006
    assert (result.inliers == ~wrong).mean() > 0.97


def test_keypoints_that_are_a_little_off_hardly_pull():
    """A fifth is off by two pixels to the same side: all inliers, whose mean is off by 0.4."""
    errors = []
    for seed in range(10):
        points, bearings, _ = observed(4000, noise=0.2 / 500, seed=seed)
        bearings[::5, 0] += 2 / 500
        result = pose_from_points(sightings(points, bearings), MAX_ERROR, 300)
        assert result.inliers.all()
        errors.append(error(result.cam_from_world)[0])
    # measured 0.00024; with Huber's weights 0.00029, with equal ones 0.00071
    assert np.median(errors) < 0.0004


def test_a_bent_image_gives_pose_and_bend():
    """As a camera takes it that turns at 2 rad/s and reads for 25 ms: 27 pixels top to bottom."""
    bend = np.array([0.01, -0.05, 0.02])
    points, _, _ = observed()
    in_cam = when_read(transform(TRUE, points), bend)
    bearings = in_cam[:, :2] / in_cam[:, 2:]
    open_bend = Bend(np.zeros(3), 0.03**2 * np.eye(3))
    arguments = sightings(points, bearings), MAX_ERROR, 300
    result = pose_from_points(*arguments, open_bend)
    assert max(error(result.cam_from_world)) < 1e-4  # measured 1e-5
    np.testing.assert_allclose(result.bend.mean, bend, atol=1e-4)  # off by 4e-6
    assert result.inliers.all()
    straight = pose_from_points(*arguments)
    assert error(straight.cam_from_world)[0] > 0.02  # measured 0.11
    assert straight.num_inliers < 200  # measured 104


def test_covariance_tells_the_error():
    """The squared error over its covariance averages to its dimension, 6 (chi square)."""
    nees = []
    for seed in range(40):
        points, bearings, _ = observed(60, noise=0.5 / 500, seed=seed)
        result = pose_from_points(sightings(points, bearings), MAX_ERROR, 300)
        delta = TRUE @ inverse(result.cam_from_world)
        twist = np.array(
            [*delta[:3, 3], delta[2, 1], delta[0, 2], delta[1, 0]]
        )  # small: exp(e) = 1 + e
        nees.append(twist @ np.linalg.solve(result.covariance, twist))
    assert 4 < np.mean(nees) < 9  # measured 5.2


def test_covariance_tells_that_the_image_is_bent():
    """By a rolling shutter that nobody told of, say: what fits a pose within the gate is one part
    of the image, which is sure of itself, and wrong.
    """
    nees = []
    for seed in range(10):
        points, bearings, _ = observed(200, noise=0.6 / 500, seed=seed)
        bearings[:, 0] += 10 * MAX_ERROR * bearings[:, 1]  # 40 pixels from top to bottom
        result = pose_from_points(sightings(points, bearings), MAX_ERROR, 300)
        difference = TRUE @ inverse(result.cam_from_world)
        twist = np.concatenate([difference[:3, 3], rotation_log(difference[:3, :3])])
        nees.append(twist @ np.linalg.solve(result.covariance, twist) / 6)
    assert np.mean(nees) < 10  # measured 4.8; by what is within the last gate, 50


def test_uncertain_depths_weigh_less():
    """Points whose depth is off by what their spread says must not pull the pose along."""
    rng = np.random.default_rng(0)
    points, bearings, _ = observed(200, noise=0.3 / 500)
    off = np.arange(200) < 100
    ray = points / points[:, 2:]
    sigma = np.where(off, 0.3, 1e-3)
    moved = points + ray * (rng.normal(0, 1, 200) * sigma)[:, None]
    told = pose_from_points(sightings(moved, bearings, ray * sigma[:, None]), 0.05, 300)
    untold = pose_from_points(sightings(moved, bearings), 0.05, 300)
    assert error(told.cam_from_world)[0] < 0.5 * error(untold.cam_from_world)[0]  # measured 0.14


def test_noisy_keypoints_weigh_less():
    """A half of them by a factor of four: their noise known or not, and the covariance with it."""
    factors = np.where(np.arange(200) % 2, 4.0, 1.0)
    errors, nees = {1: [], 0: []}, []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        points, bearings, _ = observed(200)
        bearings = bearings + rng.normal(0, 0.2 / 500, (200, 2)) * factors[:, None]
        for power in errors:
            # whatever they are multiplied by is estimated
            seen = sightings(points, bearings, noise=3 * factors**power)
            result = pose_from_points(seen, MAX_ERROR, 300)
            errors[power].append(error(result.cam_from_world)[0])
            if power:
                t = (TRUE @ inverse(result.cam_from_world))[:3, 3]
                nees.append(t @ np.linalg.solve(result.covariance[:3, :3], t))
    assert np.mean(errors[1]) < 0.9 * np.mean(errors[0])  # measured 0.63
    assert 2 < np.mean(nees) < 4.5  # three are expected; measured 2.6


@pytest.mark.parametrize("n", [0, 3, 5])
def test_too_few_points_give_none(n):
    points, bearings, _ = observed(max(n, 1))
    points, bearings = points[:n], bearings[:n]
    assert pose_from_points(sightings(points, bearings), MAX_ERROR, 300) is None


def test_points_without_a_common_pose_give_no_inliers():
    rng = np.random.default_rng(0)
    points, bearings = rng.uniform(1, 5, (100, 3)), rng.uniform(-0.6, 0.6, (100, 2))
    result = pose_from_points(sightings(points, bearings), MAX_ERROR, 300)
    assert result is None or result.num_inliers < 15
