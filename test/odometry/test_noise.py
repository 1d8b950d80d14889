"""What residuals say about the covariance."""

import numpy as np
import pytest

from alike_ros.odometry.noise import Noise, excess, match_noise, score_noise

BEARINGS = np.random.default_rng(0).uniform([-0.6, -0.45], [0.6, 0.45], (2000, 2))


@pytest.mark.parametrize("sigma", [1.0, 1.4])
def test_independent_residuals_have_their_own_variance(sigma):
    rng = np.random.default_rng(1)
    camera = rng.integers(0, 8, 2000)  # 8 x 24 cells
    residuals = rng.normal(0, sigma, (2000, 2))
    found = excess(residuals, BEARINGS, camera)
    assert found == pytest.approx(sigma**2, rel=0.35)  # measured 1.06, 2.02


def test_what_neighbours_have_in_common_counts():
    """A picture that is bent: residuals are a smooth function of the place."""
    bent = 0.5 * np.sin(4 * BEARINGS)
    residuals = np.random.default_rng(1).normal(0, 1, (2000, 2)) + bent
    alone = excess(residuals, BEARINGS, np.arange(2000))
    assert alone == pytest.approx(1.17, rel=0.2)
    assert excess(residuals, BEARINGS) > 5 * alone  # measured 21


def test_outliers_and_unknown_ones_do_not_count():
    residuals = np.full((2000, 3), np.nan)
    residuals[:, 0] = np.random.default_rng(1).normal(0, 0.1, 2000)
    residuals[:100, 0] = 50.0
    assert excess(residuals, BEARINGS) == 1.0


def test_keypoints_of_low_score_are_noisier_whatever_the_unit_of_scores():
    scores = np.random.default_rng(0).random(101).astype(np.float32)
    noise = score_noise(scores)
    np.testing.assert_array_equal(np.argsort(noise), np.argsort(-scores))
    assert noise[scores.argmin()] / noise[scores.argmax()] == pytest.approx(np.exp(0.5))
    assert np.median(noise) == pytest.approx(1)
    np.testing.assert_array_equal(score_noise(300 * scores**2), noise)
    assert len(score_noise(scores[:0])) == 0


def test_matches_that_differ_are_noisier():
    angles = np.array([0.0, 0.01, 0.1, 0.4, 0.9])
    noise = match_noise(np.cos(angles).astype(np.float32))
    assert noise[0] == noise[1]  # no nearer than descriptors ever are
    assert noise[4] / noise[2] == pytest.approx(3, rel=0.03)  # nine times as far away
    assert (np.diff(noise[1:]) > 0).all()


def test_residuals_tell_the_noise():
    rng = np.random.default_rng(0)
    most = Noise(keypoint=1e-3, inverse_depth=4e-3)
    bearings, inverse_depths = rng.normal(0, 6e-4, (2000, 2)), rng.normal(0, 3e-3, 2000)
    bearings[::10] += 0.01  # outliers
    inverse_depths[::2] = np.nan
    seen = most.with_keypoints(bearings).with_depths(inverse_depths)
    assert seen.keypoint == pytest.approx(6e-4, rel=0.15)  # measured 6.5e-4
    assert seen.inverse_depth == pytest.approx(3e-3, rel=0.15)  # measured 2.9e-3
    assert most.with_keypoints(5 * bearings) == most
    tiny = most.with_keypoints(bearings / 100).with_depths(inverse_depths / 100)
    assert tiny.keypoint == pytest.approx(4e-4) and tiny.inverse_depth == pytest.approx(1.6e-3)
    assert most.with_depths(np.full(2000, np.nan)) == most
    assert most.with_keypoints(bearings[:0]).with_depths(inverse_depths[:0]) == most


def test_depths_may_be_far_noisier_than_settings_say():
    settings = Noise(keypoint=1e-3, inverse_depth=4e-3)
    inverse_depths = np.random.default_rng(0).normal(0, 2e-2, 2000)
    worse = settings.with_depths(inverse_depths)
    assert worse.inverse_depth == pytest.approx(2e-2, rel=0.05)  # measured 1.99e-2
    assert settings.with_depths(100 * inverse_depths).inverse_depth == pytest.approx(4e-2)
