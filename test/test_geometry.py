"""Rigid motions: round trips and known values."""

import numpy as np
import pytest

from alike_ros import geometry as g


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def random_pose(rng):
    return g.from_Rt(g.rotation_exp(rng.normal(size=3)), rng.normal(size=3))


def test_inverse_undoes(rng):
    a_from_b = random_pose(rng)
    points = rng.normal(size=(7, 3))
    back = g.transform(g.inverse(a_from_b), g.transform(a_from_b, points))
    np.testing.assert_allclose(back, points, atol=1e-12)
    stack = np.stack([random_pose(rng) for _ in range(3)])
    np.testing.assert_allclose(g.inverse(stack) @ stack, np.tile(np.eye(4), (3, 1, 1)), atol=1e-12)


def test_rotation_exp_turns_by_the_right_hand():
    R = g.rotation_exp(np.array([0, 0, np.pi / 2]))
    np.testing.assert_allclose(R @ [1, 0, 0], [0, 1, 0], atol=1e-15)


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-6, 0.1, 2.0, np.pi - 1e-6, np.pi])
def test_rotation_log_inverts_exp(rng, angle):
    axis = rng.normal(size=3)
    rotvec = axis / np.linalg.norm(axis) * angle
    R = g.rotation_exp(rotvec)
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(g.rotation_exp(g.rotation_log(R)), R, atol=1e-12)
    assert g.rotation_angle(R) == pytest.approx(angle, abs=1e-9)


def test_quaternions(rng):
    np.testing.assert_allclose(g.rotation_to_quat_xyzw(np.eye(3)), [0, 0, 0, 1])
    half_turn = np.diag([1.0, -1, -1])
    np.testing.assert_allclose(np.abs(g.rotation_to_quat_xyzw(half_turn)), [1, 0, 0, 0])
    for _ in range(50):
        quat = rng.normal(size=4)
        R = g.rotation_from_quat_xyzw(quat)
        back = g.rotation_to_quat_xyzw(R)
        assert back[3] >= 0
        np.testing.assert_allclose(g.rotation_from_quat_xyzw(back), R, atol=1e-12)


def test_adjoint_carries_motions_over(rng):
    a_from_b, step = random_pose(rng), 1e-6 * rng.normal(size=6)

    def motion(twist):
        return g.from_Rt(g.rotation_exp(twist[3:]), twist[:3])

    in_a = a_from_b @ motion(step) @ g.inverse(a_from_b)
    np.testing.assert_allclose(in_a, motion(g.adjoint(a_from_b) @ step), atol=1e-10)


def test_triangulate_finds_points(rng):
    points = rng.uniform([-2, -2, 2], [2, 2, 9], (50, 3))
    cam1_from_cam0 = g.from_Rt(g.rotation_exp(np.array([0.1, -0.2, 0.05])), [-0.5, 0.1, 0.2])
    in_cam1 = g.transform(cam1_from_cam0, points)
    bearings = [p[:, :2] / p[:, 2:] for p in (points, in_cam1)]
    np.testing.assert_allclose(g.triangulate(*bearings, cam1_from_cam0), points, atol=1e-9)


def test_parallel_rays_have_no_point():
    bearings = np.zeros((1, 2))
    sideways = g.from_Rt(np.eye(3), np.array([1.0, 0, 0]))
    assert np.isnan(g.triangulate(bearings, bearings, sideways)).all()


def test_parallax():
    points = np.array([[0.0, 0, 1], [0, 0, 1e9]])
    angles = g.parallax_deg(points, np.zeros(3), np.array([1.0, 0, 0]))
    np.testing.assert_allclose(angles, [45, 0], atol=1e-6)
