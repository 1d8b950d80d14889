"""Mutual nearest neighbours."""

from importlib.util import find_spec

import numpy as np
import pytest

from alike_ros.matching import match_mutual, match_near, match_pairs, pairs_near


def unit(x):
    x = np.asarray(x, np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_finds_a_permutation():
    rng = np.random.default_rng(0)
    descriptors = unit(rng.normal(size=(200, 64)))
    order = rng.permutation(200)
    noisy = unit(descriptors[order] + 0.02 * rng.normal(size=(200, 64)))
    matches = match_mutual(descriptors, noisy, 0.7)
    assert matches.dtype == np.int64
    assert len(matches) == 200
    assert (order[matches[:, 1]] == matches[:, 0]).all()
    similarity = (descriptors[matches[:, 0]] * noisy[matches[:, 1]]).sum(1)
    assert (np.diff(similarity) <= 1e-6).all()


def test_neighbours_are_mutual():
    """b0 is nearest to both a's, but only a0 is nearest to b0."""
    a, b = unit([[1, 0], [1, 0.5]]), unit([[1, 0.1]])
    np.testing.assert_array_equal(match_mutual(a, b, 0.0), [[0, 0]])


def test_floor():
    a, b = unit([[1, 0]]), unit([[1, 1]])
    assert len(match_mutual(a, b, 0.70)) == 1  # cos 45 = 0.707
    assert len(match_mutual(a, b, 0.71)) == 0


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 5), (5, 0)])
def test_empty_in_empty_out(n, m):
    matches = match_mutual(np.zeros((n, 8), np.float32), np.zeros((m, 8), np.float32), -1.0)
    assert matches.shape == (0, 2)
    assert matches.dtype == np.int64


def test_only_some_pairs_are_matched():
    a = unit(np.eye(3))
    pairs = np.array([[0, 0], [0, 1], [2, 1], [2, 2]])
    matches = match_pairs(a, a, -1.0, pairs)
    np.testing.assert_array_equal(np.sort(matches, axis=0), [[0, 0], [2, 2]])
    assert match_pairs(a, a, -1.0, pairs[:0]).shape == (0, 2)
    np.testing.assert_array_equal(match_pairs(a, a, 0.5, pairs[1:3]), np.empty((0, 2)))


def test_matches_among_all_pairs_are_the_mutual_ones():
    rng = np.random.default_rng(0)
    a, b = unit(rng.normal(size=(40, 8))), unit(rng.normal(size=(60, 8)))
    every = np.stack(np.meshgrid(np.arange(40), np.arange(60), indexing="ij"), -1).reshape(-1, 2)
    matches = match_mutual(a, b, 0.3)
    assert 5 < len(matches) < 40
    np.testing.assert_array_equal(match_pairs(a, b, 0.3, every), matches)


def test_pairs_near_far_off_and_empty():
    """Points behind a fisheye's rim are undistorted to -1e6: no grid of that size may be made."""
    a = np.array([[0.0, 0.0], [-1e6, -1e6], [1e9, 5.0]])
    b = np.array([[0.01, 0.0], [-1e6, -1e6]])
    assert sorted(pairs_near(a, b, 0.03).tolist()) == [[0, 0], [1, 1]]
    assert pairs_near(a[:0], b, 0.03).shape == pairs_near(a, b[:0], 0.03).shape == (0, 2)


def test_pairs_near_each_other_are_all_found():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0, 1, (50, 2)), rng.uniform(0, 1, (70, 2))
    near = np.linalg.norm(a[:, None] - b, axis=2) < 0.1
    for here, there, wanted in ((a, b, near), (b, a, near.T)):
        found = np.zeros_like(wanted)
        found[tuple(pairs_near(here, there, 0.1).T)] = True
        np.testing.assert_array_equal(found, wanted)


def forms():
    """As NumPy and as compiled code has it."""
    found = [pytest.param(match_near, id="numpy")]
    if find_spec("numba"):
        from alike_ros import compiled_matching

        found.append(pytest.param(compiled_matching.match_near, id="compiled"))
    return found


@pytest.mark.parametrize("form", forms())
@pytest.mark.parametrize("radius", [0.01, 0.1, 2.0])
def test_matches_near_each_other_are_mutual_among_the_near(form, radius):
    rng = np.random.default_rng(1)
    a, b = unit(rng.normal(size=(300, 8))), unit(rng.normal(size=(200, 8)))
    here, there = rng.uniform(-0.2, 1.3, (300, 2)), rng.uniform(0, 1, (200, 2))
    near = np.linalg.norm(here[:, None] - there, axis=2) < radius
    similarity = np.where(near, a @ b.T, -2)
    best1, best0 = similarity.argmax(1), similarity.argmax(0)
    alike = similarity[np.arange(300), best1]
    wanted = [i for i in np.argsort(-alike) if alike[i] >= 0.3 and best0[best1[i]] == i]
    assert len(wanted) > {0.01: 1, 0.1: 60, 2.0: 60}[radius]
    matches = form(here, there, radius, a, b, 0.3)
    np.testing.assert_array_equal(matches, np.stack([wanted, best1[wanted]], axis=1))
    for few0, few1 in ((0, 200), (300, 0)):
        nothing = form(here[:few0], there[:few1], radius, a[:few0], b[:few1], 0.3)
        assert nothing.shape == (0, 2)


@pytest.mark.parametrize("form", forms())
def test_matches_near_with_points_that_are_far_off(form):
    here = np.array([[0.0, 0.0], [-1e6, -1e6], [1e9, 5.0]])
    there = np.array([[0.01, 0.0], [-1e6, -1e6]])
    matches = form(here, there, 0.03, unit(np.eye(3)), unit(np.eye(3)[:2]), 0.5)
    np.testing.assert_array_equal(matches, [[0, 0], [1, 1]])
    one = form(here[:1], there[:1], 0.03, unit(np.eye(3))[:1], unit(np.eye(3))[:1], 0.5)
    np.testing.assert_array_equal(one, [[0, 0]])


def test_compiled_code_reads_and_writes_inside_its_arrays():
    pytest.importorskip("numba", reason="numba is not installed")
    from alike_ros import compiled_matching

    points, descriptors = np.random.default_rng(0).uniform(0, 1, (40, 2)), unit(np.eye(40))
    for spoilt in (np.nan, np.inf):
        there = points.copy()
        there[3, 0] = spoilt
        with pytest.raises(ValueError, match="not finite"):
            compiled_matching.match_near(points, there, 0.1, descriptors, descriptors, 0.5)
        matches = compiled_matching.match_near(there, points, 0.1, descriptors, descriptors, 0.5)
        assert sorted(matches[:, 0]) == [i for i in range(40) if i != 3]
    with pytest.raises(ValueError, match="different lengths"):
        compiled_matching.match_near(points, points, 0.1, descriptors, descriptors[:, :20], 0.5)


def test_zero_and_nan_descriptors_match_nothing():
    a = unit(np.eye(3))
    broken = a.copy()
    broken[1] = np.nan
    matches = match_mutual(broken, a, -1.0)
    assert 1 not in matches[:, 0]
    dead = a.copy()
    dead[1] = 0
    assert 1 not in match_mutual(dead, a, 0.5)[:, 0]
