"""Where depth comes from."""

import numpy as np
import pytest
from scene import CAMERA, STEREO

from alike_ros.config import DepthConfig
from alike_ros.errors import DataError
from alike_ros.features import Features
from alike_ros.geometry import turned
from alike_ros.odometry.shutter import Bend
from alike_ros.odometry.view import View, check_size, sampled_depth, stereo_depth

CONFIG = DepthConfig()


def test_depth_image_is_sampled_at_keypoints():
    depth = np.full((480, 640), 2.0, np.float32)
    depth[:, 320:] = 3.0
    keypoints = np.array([[100.4, 50.3], [500, 400]])
    np.testing.assert_array_equal(sampled_depth(depth, keypoints, CONFIG), [2, 3])


def test_what_cannot_be_trusted_is_unknown():
    depth = np.full((480, 640), 2.0, np.float32)
    depth[:, 320:] = 3.0  # an edge
    depth[100, 100] = np.nan  # a hole
    depth[200:210, 200:210] = 0.01  # too near
    depth[300:310, 300:310] = 50  # too far
    untrusted = [[319, 240], [320, 240], [101, 101], [205, 205], [305, 305], [0, 0], [639, 479]]
    assert np.isnan(sampled_depth(depth, np.array(untrusted), CONFIG)).all()


def test_slanted_surfaces_are_no_edges():
    depth = np.tile(np.linspace(1, 3, 640, dtype=np.float32), (480, 1))
    keypoints = np.array([[100, 100], [600, 300]])
    assert np.isfinite(sampled_depth(depth, keypoints, CONFIG)).all()


def test_depth_image_of_another_size():
    with pytest.raises(DataError, match=r"\(240, 320\), expected \(480, 640\): register"):
        check_size(np.zeros((240, 320), np.float32), CAMERA)


def test_stereo_depth():
    rng = np.random.default_rng(0)
    points = rng.uniform([-1, -1, 2], [1, 1, 8], (100, 3))
    descriptors = rng.normal(size=(100, 32)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    scores = np.ones(100, np.float32)
    left = CAMERA.project(points)
    right = CAMERA.project(points - [STEREO.baseline, 0, 0])
    right[:10] += [0, 5]  # off their row
    right[10:20] += [300, 0]  # behind the camera
    right[20:30, 0] = left[20:30, 0] - 510  # 9.8 cm from it
    order = rng.permutation(100)
    depths = stereo_depth(
        STEREO,
        Features(left.astype(np.float32), scores, descriptors),
        Features(right[order].astype(np.float32), scores, descriptors[order]),
        CONFIG,
        0.7,
    )
    assert np.isnan(depths[:30]).all()
    np.testing.assert_allclose(depths[30:], points[30:, 2], rtol=1e-4)


def test_a_straightened_view_has_its_points_where_the_middle_row_saw_them():
    rng = np.random.default_rng(0)
    points, bend = rng.uniform([-1, -1, 2], [1, 1, 8], (100, 3)), np.array([0.02, -0.05, 0.03])
    rows = rng.uniform(-0.5, 0.5, 100)
    depths = points[:, 2]
    descriptors = np.zeros((100, 32), np.float32)
    bearings = points[:, :2] / points[:, 2:]
    view = View(0, bearings, rows, descriptors, np.ones(100), depths, 0.01 * depths)
    straight = view.straightened(Bend(bend, np.eye(3)))
    np.testing.assert_allclose(straight.points_in_cam.T, turned(points.T, bend, rows))
    np.testing.assert_allclose(straight.depth_sigmas, 0.01 * straight.depths)
    np.testing.assert_array_equal(straight.bent.mean, 0)
