"""Residuals and their derivatives, as NumPy and as compiled code have them."""

import numpy as np
import pytest
from scene import when_read

from alike_ros.geometry import from_Rt, inverse, rotation_exp, transform
from alike_ros.odometry.fastest import fastest
from alike_ros.odometry.reprojection import Sightings, reproject, see

POSE = from_Rt(rotation_exp(np.array([0.05, -0.1, 0.02])), np.array([0.2, -0.1, 0.3]))
BEND = np.array([0.002, -0.006, 0.004])
MAX_ERROR = 12 / 500


def forms():
    """What there is here."""
    found = [pytest.param(reproject, id="numpy")]
    if fastest().reproject is not reproject:
        found.append(pytest.param(fastest().reproject, id="compiled"))
    return found


def seen(count=200, seed=0, noise=1 / 500):
    """Uncertain points but for each fifth one, some behind the camera, some far off."""
    rng = np.random.default_rng(seed)
    in_cam = rng.uniform([-3, -2, 2], [3, 2, 8], (count, 3))
    points = transform(inverse(POSE), in_cam)
    in_cam = when_read(in_cam, BEND)
    bearings = in_cam[:, :2] / in_cam[:, 2:]
    rows = (bearings[:, 1] * 500 + 240) / 480 - 0.5
    of_each = rng.uniform(0.5, 2, count)
    bearings += rng.normal(0, noise, (count, 2)) * of_each[:, None]
    bearings[::7] += 0.1
    behind = np.arange(count) % 9 == 0
    points[behind] = transform(inverse(POSE), in_cam[behind] * [1, 1, -1])
    spread = rng.normal(0, 0.02, (count, 3)) * (np.arange(count) % 5 > 0)[:, None]
    return Sightings(points, spread, bearings, of_each, rows).in_columns()


# what a bend does to spread and axes is left out: measured 0.013
@pytest.mark.parametrize(("bend", "tolerance"), [(np.zeros(3), 1e-6), (BEND, 0.02)])
@pytest.mark.parametrize("form", forms())
def test_residuals_and_derivatives_are_weighed_by_their_covariance(form, bend, tolerance):
    sightings = seen()
    found = form(POSE, bend, sightings, MAX_ERROR, True)
    system = found.system.reshape(10, 2, -1)
    assert 120 < len(found.inliers) < 160  # measured 152
    raw = see(POSE, bend, sightings).residuals[:, found.inliers] / sightings.noise[found.inliers]
    sigma = (raw / found.residuals)[0, 0]
    np.testing.assert_allclose(found.residuals, raw / sigma, atol=1e-9)
    for i, index in enumerate(found.inliers):
        weighted, derivatives = by_definition(bend, sightings, index, sigma)
        np.testing.assert_allclose(system[9, :, i], weighted, atol=tolerance)
        largest = abs(derivatives).max()
        np.testing.assert_allclose(system[:9, :, i], derivatives, atol=tolerance * largest)


def by_definition(bend, sightings, index, sigma):
    """Weighted residual (2,) and derivatives (9, 2), of covariance
    (sigma noise)^2 I + along along^T, with Cauchy's weight.
    """
    point, spread = sightings.points[:, index], sightings.spread[:, index]

    def residual(step, point=point):
        pose = from_Rt(rotation_exp(step[3:6]), step[:3]) @ POSE
        turn = from_Rt(rotation_exp(-(bend + step[6:]) * sightings.rows[index]), np.zeros(3))
        x, y, z = transform(turn @ pose, point[None])[0]
        return sightings.bearings[:, index] - [x / z, y / z]

    raw = residual(np.zeros(9))
    along = (residual(np.zeros(9), point + 1e-6 * spread) - raw) / 1e-6
    covariance = (sigma * sightings.noise[index]) ** 2 * np.eye(2) + np.outer(along, along)
    values, vectors = np.linalg.eigh(covariance)
    whiten = vectors @ np.diag(values**-0.5) @ vectors.T
    whiten /= (1 + (np.linalg.norm(whiten @ raw) / 2.385) ** 2) ** 0.5
    derivatives = [(residual(-step) - residual(step)) / 2e-6 for step in 1e-6 * np.eye(9)]
    return whiten @ raw, np.array(derivatives) @ whiten


@pytest.mark.parametrize("form", forms())
def test_the_noise_of_keypoints_is_found(form):
    """Also where points are uncertain: across that line residuals are the keypoints' alone."""
    sightings = seen(2000)
    found = form(POSE, BEND, sightings, MAX_ERROR, False)
    raw = see(POSE, BEND, sightings).residuals[:, found.inliers]
    sigma = raw / sightings.noise[found.inliers] / found.residuals
    assert sigma == pytest.approx(1 / 500, rel=0.05)  # measured 1.02


@pytest.mark.parametrize("form", forms())
def test_nothing_near_is_no_system(form):
    sightings = seen()
    behind = sightings._replace(points=sightings.points - 100 * POSE[2, :3, None])
    found = form(POSE, BEND, behind, MAX_ERROR, False)
    assert len(found.inliers) == 0
    assert found.system.shape == (7, 0)
    assert found.residuals.shape == (2, 0)


@pytest.mark.parametrize("with_bend", [True, False])
def test_compiled_code_is_the_same(with_bend):
    pytest.importorskip("numba", reason="numba is not installed")
    for bend in (BEND, np.zeros(3)):
        arguments = POSE, bend, seen(), MAX_ERROR, with_bend
        for theirs, ours in zip(
            reproject(*arguments), fastest().reproject(*arguments), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9 * abs(theirs).max())
