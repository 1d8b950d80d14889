"""What keyframes that are gone say of landmarks, against finite differences and the keyframes."""

import numpy as np
import pytest

from alike_ros.geometry import from_Rt, inverse, rotation_exp, transform
from alike_ros.odometry.bundle_adjustment import adjust
from alike_ros.odometry.noise import Noise
from alike_ros.odometry.prior import Prior, derivatives, of_sightings
from alike_ros.odometry.window import Window

NOISE = Noise(keypoint=1e-3, inverse_depth=4e-3)
RNG = np.random.default_rng(0)
POINTS = RNG.uniform([-3, -2, 4], [3, 2, 9], (60, 3))
UNKNOWN = np.full(len(POINTS), np.nan)


def pose(x, turn=0.0):
    return from_Rt(rotation_exp(np.array([0.0, turn, 0])), np.array([x, 0.1 * x, -0.2 * x]))


def look(world_from_cam, points=POINTS):
    """Exact bearings (L, 2) and depths (L,)."""
    in_cam = transform(inverse(world_from_cam), points)
    return in_cam[:, :2] / in_cam[:, 2:], in_cam[:, 2]


def is_known(prior):
    return np.trace(prior.information, axis1=1, axis2=2) > 0


def sightings(world_from_cam, positions, with_depth=False):
    bearings, depths = look(world_from_cam)
    depths = depths if with_depth else UNKNOWN
    return of_sightings(inverse(world_from_cam), positions, bearings, depths, NOISE)


def expected(prior):
    return np.linalg.solve(prior.information, prior.vector[:, :, None])[:, :, 0]


def test_derivatives_are_those_of_bearings_and_inverse_depths():
    cam_from_world = inverse(pose(0.5, 0.2))
    R = np.broadcast_to(cam_from_world[:3, :3], (len(POINTS), 3, 3))

    def measured(points):
        bearings, depths = look(pose(0.5, 0.2), points)
        return np.column_stack([bearings / NOISE.keypoint, 1 / depths / NOISE.inverse_depth])

    step = 1e-6
    numeric = np.stack(
        [(measured(POINTS + d) - measured(POINTS - d)) / (2 * step) for d in step * np.eye(3)],
        axis=2,
    )
    in_cam = transform(cam_from_world, POINTS)
    J = derivatives(R, in_cam, in_cam[:, 2], NOISE)
    np.testing.assert_allclose(J, numeric, rtol=1e-6, atol=1e-5)
    without = derivatives(R, in_cam, UNKNOWN, NOISE)
    np.testing.assert_array_equal(without[:, 2], 0)
    np.testing.assert_array_equal(without[:, :2], J[:, :2])


def test_one_sight_with_depth_or_two_without_tell_the_position():
    off = POINTS + RNG.normal(0, 1e-3, POINTS.shape)
    with_depth = sightings(pose(0.3), off, with_depth=True)
    np.testing.assert_allclose(expected(with_depth), POINTS, atol=1e-5)  # measured 3e-6
    one, other = sightings(pose(-1), off), sightings(pose(1), off)
    assert np.linalg.matrix_rank(one.information).max() == 2
    np.testing.assert_allclose(expected(one + other), POINTS, atol=1e-5)


def test_a_sight_that_does_not_fit_tells_nothing():
    bearings, depths = look(pose(0.3))
    bearings[:10] += 5 * NOISE.keypoint
    depths[10:20] *= 1.5
    prior = of_sightings(inverse(pose(0.3)), POINTS, bearings, depths, NOISE)
    assert not is_known(prior)[:10].any() and is_known(prior)[10:].all()
    np.testing.assert_array_equal(np.linalg.matrix_rank(prior.information[10:20]), 2)
    behind = of_sightings(np.diag([-1.0, 1, -1, 1]), POINTS, bearings, depths, NOISE)
    assert not is_known(behind).any()


def test_a_doubtful_sight_weighs_less():
    bearings, _ = look(pose(0.3))
    bearings[:, 0] += 2.69 * NOISE.keypoint  # twice Huber's threshold
    doubtful = of_sightings(inverse(pose(0.3)), POINTS, bearings, UNKNOWN, NOISE)
    sure = sightings(pose(0.3), POINTS)
    np.testing.assert_allclose(doubtful.information, sure.information / 2, rtol=1e-6)


def test_a_prior_moves_and_scales_with_its_landmarks():
    prior = sightings(pose(0.3), POINTS, with_depth=True)
    motion = pose(2.0, 0.7)
    np.testing.assert_allclose(expected(prior.moved(motion)), transform(motion, POINTS), atol=1e-9)
    np.testing.assert_allclose(expected(prior.scaled(3.0)), 3 * POINTS, atol=1e-9)
    deviation = np.linalg.inv(prior.information)
    np.testing.assert_allclose(
        np.linalg.inv(prior.scaled(3.0).information), 9 * deviation, rtol=1e-6
    )
    R = motion[:3, :3]
    np.testing.assert_allclose(
        np.linalg.inv(prior.moved(motion).information), R @ deviation @ R.T, atol=1e-12
    )


def test_rows():
    prior = sightings(pose(0.3), POINTS)
    longer = prior[np.array([3, 4])].extended(2)
    assert is_known(longer).tolist() == [True, True, False, False]
    swapped = longer.replaced(np.array([2, 0]), longer[np.array([0, 2])])
    assert is_known(swapped).tolist() == [False, True, True, False]
    np.testing.assert_array_equal(swapped.vector[2], prior.vector[3])


def largest(one, other):
    return np.abs(one - other).max()


@pytest.mark.parametrize("with_depth", [True, False])
def test_a_prior_stands_for_a_keyframe_that_is_held(with_depth):
    """Adjusted poses and landmarks are the same with the keyframe and with what it saw."""
    pytest.importorskip("gtsam")
    true = [pose(1.0, 0.1), pose(0.6), pose(-1.0), pose(0.0)]
    start = [p @ from_Rt(np.eye(3), RNG.normal(0, 2e-3, 3)) for p in true[:2]] + true[2:]
    seen = [look(p) for p in true]
    bearings = [b + RNG.normal(0, NOISE.keypoint / 2, b.shape) for b, _ in seen]
    depths = [d if with_depth else UNKNOWN for _, d in seen]

    # of which the least share is more than residuals tell: the windows take the same
    most = Noise(NOISE.keypoint / 0.4, NOISE.inverse_depth)

    def window(poses, prior):
        return Window(
            2,
            None,
            np.stack(start)[poses],
            np.tile(np.zeros((6, 6)), (len(poses), 1, 1)),
            np.arange(len(POINTS)),
            POINTS + 1e-3,
            prior,
            np.repeat(np.arange(len(poses)), len(POINTS)),
            np.tile(np.arange(len(POINTS)), len(poses)),
            np.concatenate([bearings[i] for i in poses]),
            np.concatenate([depths[i] for i in poses]),
            most,
        )

    held = adjust(window([0, 1, 2, 3], Prior.none(len(POINTS))))
    saw = of_sightings(inverse(start[2]), POINTS + 1e-3, bearings[2], depths[2], NOISE)
    gone = adjust(window([0, 1, 3], saw))
    for adjusted in (held, gone):
        assert adjusted.noise.keypoint == pytest.approx(NOISE.keypoint)
    nothing = adjust(window([0, 1, 3], Prior.none(len(POINTS))))
    assert largest(gone.poses, held.poses) < 2e-4  # measured 5e-5 and 6e-6
    assert largest(nothing.poses, held.poses) > 1e-3  # 1.8e-3, 1.3e-3: the keyframe matters
    np.testing.assert_allclose(gone.positions, held.positions, atol=2e-3)  # 3e-4
    np.testing.assert_allclose(gone.covariances, held.covariances, rtol=0.1, atol=1e-9)  # 0.06
    lengths = [np.linalg.norm(adjusted.spread, axis=1) for adjusted in (gone, held)]
    np.testing.assert_allclose(*lengths, rtol=0.1)  # 0.06
