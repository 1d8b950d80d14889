"""What a lens sees that looks farther to the side than rays at z = 1 can tell."""

import numpy as np
import pytest

from alike_ros.camera import Camera, StereoCamera
from alike_ros.config import Config
from alike_ros.features import Features
from alike_ros.odometry.sensor import Sensor

K = np.array([[286.0, 0, 424], [0, 286, 400], [0, 0, 1]])
K1 = 0.01
LENS = Camera(848, 800, K, (K1, 0.0, 0.0, 0.0), "equidistant")
PAIR = StereoCamera.rectified(LENS, LENS, 0.1)


def seen(points):
    """Features of points (N, 3), which may be beside and behind the lens; all look different."""
    x, y, z = points.T
    angle, across = np.arctan2(np.hypot(x, y), z), np.hypot(x, y)
    radius = 286 * angle * (1 + K1 * angle**2)
    pixels = K[:2, 2] + radius[:, None] * np.stack([x, y], axis=1) / across[:, None]
    count = len(points)
    descriptors = np.eye(count, 64, dtype=np.float32)
    return Features(pixels.astype(np.float32), np.ones(count, np.float32), descriptors)


@pytest.fixture
def points():
    """Twenty in front, up to 80 degrees from the axis, then twenty at 90 to 100 degrees."""
    rng = np.random.default_rng(0)
    angle = np.radians(np.concatenate([rng.uniform(1, 80, 20), rng.uniform(90, 100, 20)]))
    around = rng.uniform(0, 2 * np.pi, 40)
    sine = np.sin(angle)
    rays = np.stack([sine * np.cos(around), sine * np.sin(around), np.cos(angle)], axis=1)
    return rays * rng.uniform(1, 3, (40, 1))


def test_view_holds_what_is_in_front(points):
    sensor = Sensor(LENS, Config())
    view = sensor.view(0, seen(points), None, None)
    front = points[:20]
    assert len(view.descriptors) == len(view.rows) == len(view.depths) == 20
    np.testing.assert_allclose(view.bearings, front[:, :2] / front[:, 2:], rtol=1e-4, atol=1e-6)
    assert (np.abs(view.bearings) < sensor.half_size).all()


def test_stereo_measures_what_is_in_front_of_both(points):
    view = Sensor(PAIR, Config(mode="stereo")).view(
        0, seen(points), None, seen(points - [0.1, 0, 0])
    )
    known = np.isfinite(view.depths)
    assert known.sum() >= 12  # 20 measured; some could lie along the baseline
    np.testing.assert_allclose(view.depths[known], points[:20, 2][known], rtol=0.02)


def test_depth_image_is_read_at_the_same_keypoints(points):
    depth = np.full((800, 848), 2.0, np.float32)
    view = Sensor(LENS, Config(mode="rgbd")).view(0, seen(points), depth, None)
    assert len(view.depths) == 20
    assert (view.depths == 2).all()


def test_keypoints_of_which_no_ray_is_known_are_left_out():
    """Far outside the image, a rational model gives NaN, at least with OpenCV 5."""
    K = np.array([[336.04, 0, 320], [0, 500, 240], [0, 0, 1]])
    distortion = 0.41781, 0.14571, -0.00089, -0.00154, -0.00488, -0.22643, -0.15415, -0.01327
    camera = Camera(640, 480, K, distortion, "rational_polynomial")
    keypoints = np.array([[320, 240], [2285.75, 762.34], [100, 100]], np.float32)
    known = np.isfinite(camera.bearings(keypoints)).all(axis=1)
    assert known[[0, 2]].all()
    descriptors = np.eye(3, 64, dtype=np.float32)
    features = Features(keypoints, np.ones(3, np.float32), descriptors)
    view = Sensor(camera, Config()).view(0, features, None, None)
    np.testing.assert_array_equal(view.descriptors, descriptors[known])
    assert np.isfinite(view.bearings).all()
    assert len(view.bearings) == len(view.rows) == len(view.depths) == known.sum()
