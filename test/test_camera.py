"""Cameras: projection round trips, calibration files, stereo rectification."""

import numpy as np
import pytest

from alike_ros.camera import Camera, StereoCamera
from alike_ros.errors import DataError
from alike_ros.geometry import from_Rt, rotation_exp, transform

K = np.array([[517.3, 0, 318.6], [0, 516.5, 255.3], [0, 0, 1]])
LENSES = {
    "ideal": ("plumb_bob", ()),
    "zeros": ("plumb_bob", (0.0,) * 5),
    "tum fr1": ("plumb_bob", (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)),
    "euroc": ("plumb_bob", (-0.28340811, 0.07395907, 0.00019359, 1.76187114e-05)),
    "rational": ("rational_polynomial", (0.3, -0.1, 0.001, 0.001, 0.01, 0.2, -0.05, 0.01)),
    "fisheye": ("equidistant", (-0.01, 0.02, -0.01, 0.003)),
}


@pytest.fixture(params=LENSES, ids=LENSES)
def camera(request):
    model, distortion = LENSES[request.param]
    return Camera(640, 480, K, distortion, model)


def test_unproject_then_project(camera):
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(0, [639, 479], (500, 2))
    points = camera.unproject(keypoints, rng.uniform(0.5, 9, 500))
    # OpenCV stops its iterations at 1e-9
    np.testing.assert_allclose(camera.project(points), keypoints, atol=1e-6)


def test_undistorted_keypoints_are_those_of_a_pinhole(camera):
    points = np.random.default_rng(0).uniform([-1, -0.7, 2], [1, 0.7, 5], (100, 3))
    pinhole = points @ K.T
    wanted = pinhole[:, :2] / pinhole[:, 2:]
    np.testing.assert_allclose(camera.undistort(camera.project(points)), wanted, atol=1e-6)


def test_nothing_in_nothing_out(camera):
    assert camera.bearings(np.empty((0, 2))).shape == (0, 2)
    assert camera.project(np.empty((0, 3))).shape == (0, 2)


def test_yaml_round_trip(camera, tmp_path):
    camera.to_yaml(tmp_path / "camera.yaml")
    loaded = Camera.from_yaml(tmp_path / "camera.yaml")
    pixels = np.array([[0.0, 0], [320, 240], [639, 479]])
    np.testing.assert_allclose(loaded.bearings(pixels), camera.bearings(pixels), atol=1e-12)
    assert (loaded.width, loaded.height) == (640, 480)


def test_bad_calibrations(tmp_path):
    with pytest.raises(DataError, match="positive focal lengths"):
        Camera(640, 480, np.zeros((3, 3)))
    with pytest.raises(DataError, match=r"unknown distortion model 'omni'.*plumb_bob"):
        Camera(640, 480, K, (0.1,) * 4, "omni")
    with pytest.raises(DataError, match="equidistant has 5 coefficients, expected 4"):
        Camera(640, 480, K, (0.1,) * 5, "equidistant")
    with pytest.raises(DataError, match="cannot read"):
        Camera.from_yaml(tmp_path / "missing.yaml")
    (tmp_path / "text.yaml").write_text("image_width: 640\n")
    with pytest.raises(DataError, match="camera_calibration format"):
        Camera.from_yaml(tmp_path / "text.yaml")


@pytest.mark.parametrize("lens", ["ideal", "euroc", "fisheye"])
def test_stereo_depth_of_an_unrectified_pair(lens):
    model, distortion = LENSES[lens]
    left = Camera(640, 480, K, distortion, model)
    other = K + np.diag([3.0, -2, 0])
    right = Camera(640, 480, other, distortion, model)
    R = rotation_exp(np.array([0.02, 0.03, -0.04]))
    pair = StereoCamera(left, right, from_Rt(R, np.array([-0.11, 0.004, -0.006])))
    points = np.random.default_rng(0).uniform([-1, -0.7, 2], [1, 0.7, 9], (200, 3))
    pixels = left.project(points), right.project(transform(pair.right_from_left, points))
    rows_left, rows_right = pair.rectify(*pixels)
    np.testing.assert_allclose(rows_left[:, 1], rows_right[:, 1], atol=1e-5)
    disparity = rows_left[:, 0] - rows_right[:, 0]
    assert (disparity > 0).all()
    np.testing.assert_allclose(pair.depth(rows_left, disparity), points[:, 2], rtol=1e-5)


def test_rectified_pair_needs_no_rectification():
    camera = Camera(640, 480, K)
    pair = StereoCamera.rectified(camera, camera, 0.54)
    assert pair.baseline == pytest.approx(0.54)
    pixels = np.random.default_rng(0).uniform(0, 400, (20, 2))
    left, right = pair.rectify(pixels, pixels)
    np.testing.assert_allclose(left, pixels, atol=1e-9)
    np.testing.assert_allclose(right, pixels, atol=1e-9)


def test_no_baseline():
    camera = Camera(640, 480, K)
    with pytest.raises(DataError, match="baseline is 0: check P"):
        StereoCamera.rectified(camera, camera, 0.0)
