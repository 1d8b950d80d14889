"""Metrics on cases small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from alike_ros.homography_metrics import (
    corner_error,
    covisible,
    estimate_homography,
    homography_accuracy,
    matching_accuracy,
    matching_errors,
    matching_score,
    repeatability,
    warp,
)

SHIFT = np.array([[1.0, 0, 10], [0, 1, 0], [0, 0, 1]])  # view 1 sees all 10 px further right
OBLIQUE = np.array([[1.1, 0.05, -8], [-0.04, 0.95, 12], [2e-4, -1e-4, 1]])


def test_warp_and_back_is_the_identity() -> None:
    points = np.random.default_rng(0).uniform(0, 300, (50, 2))
    there = warp(points, OBLIQUE)
    assert np.abs(there - points).max() > 5
    np.testing.assert_allclose(warp(there, np.linalg.inv(OBLIQUE)), points, atol=1e-9)


def test_what_lies_behind_the_horizon_is_nowhere() -> None:
    horizon = np.array([[1.0, 0, 0], [0, 1, 0], [-0.1, 0, 1]])  # at x = 10
    warped = warp(np.array([[5.0, 5], [20, 5]]), horizon)
    np.testing.assert_allclose(warped[0], [10, 10])
    assert np.isnan(warped[1]).all()


def test_covisible_keeps_what_lies_on_pixels() -> None:
    points = np.array([[0.0, 0], [99, 49], [99.1, 10], [10, -0.1], [np.nan, np.nan]])
    kept = np.isfinite(covisible(points, (50, 100))).all(1)
    assert kept.tolist() == [True, True, False, False, False]


def test_repeatability_counts_mutual_pairs_over_covisible_keypoints() -> None:
    # of view 0's four, (95, 5) leaves view 1; (50, 5) is 5 px off; two are found again
    keypoints0 = np.array([[10.0, 5], [30, 5], [50, 5], [95, 5]])
    keypoints1 = np.array([[20.0, 5], [42, 5], [65, 5], [2, 5]])  # (2, 5) was not in view 0
    points0_in_1 = covisible(warp(keypoints0, SHIFT), (20, 100))
    points1_in_0 = covisible(warp(keypoints1, np.linalg.inv(SHIFT)), (20, 100))
    rep = repeatability(keypoints0, keypoints1, points0_in_1, points1_in_0, 3.0)
    assert rep == pytest.approx(2 / 3)
    assert repeatability(keypoints0, keypoints1, points0_in_1, points1_in_0, 5.0) == 1.0


def test_repeatability_does_not_count_a_keypoint_twice() -> None:
    keypoints0 = np.array([[10.0, 5], [11, 5]])
    keypoints1 = np.array([[10.0, 5]])
    rep = repeatability(keypoints0, keypoints1, keypoints0, keypoints1)
    assert rep == pytest.approx(1 / 1.5)


def test_matches_are_judged_against_the_truth() -> None:
    keypoints0 = np.array([[10.0, 5], [30, 5], [50, 5], [95, 5]])
    keypoints1 = np.array([[20.0, 5], [42, 5], [65, 5], [2, 5]])
    matches = np.array([[0, 0], [1, 1], [2, 2], [3, 3]])
    errors = matching_errors(warp(keypoints0, SHIFT), keypoints1, matches)
    np.testing.assert_allclose(errors, [0, 2, 5, 103])
    np.testing.assert_allclose(matching_accuracy(errors, (1, 2, 5)), [0.25, 0.5, 0.75])
    visible0 = covisible(warp(keypoints0, SHIFT), (20, 100))
    visible1 = covisible(warp(keypoints1, np.linalg.inv(SHIFT)), (20, 100))
    np.testing.assert_allclose(matching_score(errors, visible0, visible1, (2,)), [2 / 3])


def test_nothing_found_counts_as_zero() -> None:
    none, no_matches = np.zeros((0, 2)), np.zeros((0, 2), np.int64)
    errors = matching_errors(none, none, no_matches)
    assert matching_accuracy(errors, (1, 2)).tolist() == [0, 0]
    assert matching_score(errors, none, none, (1, 2)).tolist() == [0, 0]
    assert repeatability(none, none, none, none) == 0
    assert corner_error(estimate_homography(none, none, no_matches), OBLIQUE, (48, 64)) == np.inf


def test_homography_is_found_among_wrong_matches() -> None:
    rng = np.random.default_rng(1)
    keypoints0 = rng.uniform(0, 400, (100, 2))
    keypoints1 = warp(keypoints0, OBLIQUE)
    keypoints1[:30] = rng.uniform(0, 400, (30, 2))
    matches = np.stack([np.arange(100)] * 2, axis=1)
    estimated = estimate_homography(keypoints0, keypoints1, matches)
    assert corner_error(estimated, OBLIQUE, (400, 400)) < 0.01


def test_corner_error_of_a_shift_is_its_length() -> None:
    assert corner_error(SHIFT, np.eye(3), (48, 64)) == pytest.approx(10)
    accuracy = homography_accuracy(np.array([0.5, 2.5, np.inf]), (1, 3))
    np.testing.assert_allclose(accuracy, [1 / 3, 2 / 3])
