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


#: An Intel T265: the image, of 848x800, shows more than a half-space.
WIDE = Camera(
    848,
    800,
    np.array([[286.0, 0, 424], [0, 286, 400], [0, 0, 1]]),
    (-0.0071, 0.0431, -0.0408, 0.0072),
    "equidistant",
)


def pixels_at(camera, angle_deg):
    """Of directions all around that are so far off the axis: the model as it is defined."""
    angle = np.radians(angle_deg)
    k1, k2, k3, k4 = camera.distortion
    radius = angle * (1 + k1 * angle**2 + k2 * angle**4 + k3 * angle**6 + k4 * angle**8)
    around = np.linspace(0, 2 * np.pi, 100)
    directions = np.stack([np.cos(around), np.sin(around)], axis=1)
    return directions, camera.K[:2, 2] + radius * camera.fx * directions


def test_rays_of_a_lens_that_sees_sideways():
    for angle_deg in (1, 45, 80, 84.9):
        directions, pixels = pixels_at(WIDE, angle_deg)
        assert WIDE.has_ray(pixels).all()
        expected = np.tan(np.radians(angle_deg)) * directions
        np.testing.assert_allclose(WIDE.bearings(pixels), expected, rtol=1e-6, atol=1e-12)
    for angle_deg in (85.1, 90, 95, 110):
        assert not WIDE.has_ray(pixels_at(WIDE, angle_deg)[1]).any()
    assert WIDE.has_ray(np.empty((0, 2))).shape == (0,)


def test_every_pixel_that_has_a_ray_comes_back():
    """Also of lenses whose polynomial turns back, or goes beyond what OpenCV inverts."""
    grid = np.stack(np.meshgrid(np.arange(0, 848, 5), np.arange(0, 800, 5)), -1).reshape(-1, 2)
    for distortion in (WIDE.distortion, (0.3, 0, 0, 0), (-0.3, 0, 0, 0), (0.0, 0, 0, -0.01)):
        camera = Camera(848, 800, WIDE.K, distortion, "equidistant")
        seen = grid[camera.has_ray(grid)]
        assert 0.1 < len(seen) / len(grid) < 0.9
        points = camera.unproject(seen, np.ones(len(seen)))
        np.testing.assert_allclose(camera.project(points), seen, atol=1e-6)
        assert (points[:, :2] * (seen - camera.K[:2, 2]) >= 0).all()


@pytest.mark.parametrize("radial", [(-0.35, 0.15, -0.03), (-0.5, 0.1, 0), (-0.45, 0.3, -0.2)])
def test_pixels_beyond_where_a_polynomial_turns_back_have_no_rays(radial):
    """As of lenses that were calibrated without the corners."""
    k1, k2, k3 = radial
    K = np.array([[300.0, 0, 320], [0, 300, 240], [0, 0, 1]])
    camera = Camera(640, 480, K, (k1, k2, 0, 0, k3))
    squares = np.polynomial.Polynomial([1, 3 * k1, 5 * k2, 7 * k3]).roots()
    turns = np.sqrt(squares[(np.abs(squares.imag) < 1e-9) & (squares.real > 0)].real.min())
    reach = 300 * turns * (1 + k1 * turns**2 + k2 * turns**4 + k3 * turns**6)  # pixels
    grid = np.stack(np.meshgrid(np.arange(0, 640, 5), np.arange(0, 480, 5)), -1).reshape(-1, 2)
    radii = np.linalg.norm(grid - [320, 240], axis=1)
    seen = camera.has_ray(grid)
    assert not seen[radii > 1.01 * reach].any()
    assert seen[radii < 0.98 * reach].all()
    pixels = np.concatenate([grid[seen], camera.border()])
    back = camera.project(camera.unproject(pixels, np.ones(len(pixels))))
    np.testing.assert_allclose(back, pixels, atol=0.5)


def test_all_pixels_of_other_lenses_have_rays(camera):
    assert camera.has_ray(np.array([[0.0, 0], [639, 479], [1e4, 1e4]])).all() == (
        camera.distortion_model != "equidistant"
    )
    x, y = np.abs(camera.bearings(camera.border())).max(axis=0)
    corners = camera.bearings(np.array([[0.0, 0], [639, 0], [0, 479], [639, 479]]))
    assert x >= np.abs(corners[:, 0]).max() - 1e-9
    assert y >= np.abs(corners[:, 1]).max() - 1e-9


def test_border_of_what_has_rays():
    x, y = np.abs(WIDE.bearings(WIDE.border())).max(axis=0)
    assert 10.5 < x <= np.tan(np.radians(85))  # 11.06 measured
    assert 10.5 < y <= np.tan(np.radians(85))


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
    (tmp_path / "opencv.yaml").write_text("%YAML:1.0\nCamera.fx: 535.4\n")
    with pytest.raises(DataError, match=r"opencv.yaml is not YAML.*line 1, column 6"):
        Camera.from_yaml(tmp_path / "opencv.yaml")


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
