"""What residuals say about the covariance."""

import numpy as np
import pytest

from alike_ros.odometry.noise import excess

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
