"""What adjustment works on, and how its result comes back into a map that has grown meanwhile."""

from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest
from scene import CAMERA, Scene, depth_image, measured, walk

from alike_ros.config import Config
from alike_ros.geometry import adjoint, from_Rt, inverse, rotation_exp, transform
from alike_ros.odometry import VisualOdometry
from alike_ros.odometry.bundle_adjustment import Adjusted, adjust
from alike_ros.odometry.local_map import Keyframe
from alike_ros.odometry.mapping import _Adjustment
from alike_ros.odometry.noise import Noise
from alike_ros.odometry.window import select

NOISE = Noise(0.7 / 500, 0.0025)
SHIFT = from_Rt(rotation_exp(np.array([0.01, -0.02, 0.03])), np.array([0.1, -0.2, 0.05]))


def follow(mode, poses, adjuster=lambda window: Future()):
    """An odometry at the end of a path; its adjustments never end."""
    scene, odometry = Scene(), VisualOdometry(CAMERA, Config(mode=mode))
    odometry._adjuster = adjuster
    for i, pose in enumerate(poses):
        features, depths = scene.see(pose)
        odometry.track(i * 33_000_000, features, **measured(mode, features, depths))
    return odometry


def test_what_has_come_since_an_adjustment_began_moves_along_with_it():
    pytest.importorskip("gtsam")
    windows = []
    odometry = follow("rgbd", walk(40, step=0.1), lambda job: windows.append(job) or Future())
    mapper, local_map, window = odometry._mapper, odometry._map, windows[0]
    adjustment = mapper._adjustment
    later = local_map.keyframes[local_map.keyframes.index(adjustment.keyframes[0]) + 1 :]
    assert len(later) >= 2
    poses = [keyframe.world_from_cam for keyframe in later]
    new = local_map.positions[adjustment.landmarks :].copy()
    assert len(new) > 100
    n = window.free
    moved = Adjusted(
        SHIFT @ window.poses[:n],
        np.zeros((n, 6, 6)),
        transform(SHIFT, window.positions),
        np.zeros_like(window.positions),
        NOISE,
    )
    mapper._write_back(adjustment, moved)
    for keyframe, pose in zip(later, poses, strict=True):
        np.testing.assert_allclose(keyframe.world_from_cam, SHIFT @ pose, atol=1e-12)
    found = local_map.positions[adjustment.landmarks :]
    np.testing.assert_allclose(found, transform(SHIFT, new), atol=1e-12)


def test_what_one_keyframe_sees_alone_stays_where_it_sees_it():
    pytest.importorskip("gtsam")
    windows = []
    odometry = follow("rgbd", walk(40, step=0.1), lambda job: windows.append(job) or Future())
    mapper, local_map, window = odometry._mapper, odometry._map, windows[0]
    adjustment, n = mapper._adjustment, window.free
    newest = adjustment.keyframes[0]
    alone = newest.landmarks[local_map.observers()[newest.landmarks] == 1]
    alone = alone[alone >= 0]
    assert len(alone) > 20
    before = transform(newest.cam_from_world, local_map.positions[alone])
    covariances, spread = np.zeros((n, 6, 6)), np.zeros_like(window.positions)
    moved = Adjusted(SHIFT @ window.poses[:n], covariances, window.positions, spread, NOISE)
    mapper._write_back(adjustment, moved)
    after = transform(newest.cam_from_world, local_map.positions[alone])
    np.testing.assert_allclose(after, before, atol=1e-12)


def test_no_adjustment_makes_an_older_keyframe_less_certain():
    """Else a camera that stays in one place would get ever less sure of it."""
    odometry = follow("rgbd", walk(40, step=0.1))
    mapper, local_map = odometry._mapper, odometry._map
    keyframes, window = select(local_map, 5, True, NOISE)
    adjustment = _Adjustment(keyframes, window.rows, len(local_map), Future())
    n = window.free
    newest, *older = keyframes[:n]
    assert older
    for factor, expected in ((4.0, 1.0), (0.25, 0.25)):
        given = window.covariance[:n] + 1e-6 * np.eye(6)
        for keyframe, covariance in zip(keyframes, given, strict=False):
            keyframe.covariance = covariance
        spread = np.zeros_like(window.positions)
        adjusted = Adjusted(window.poses[:n], factor * given, window.positions, spread, NOISE)
        mapper._write_back(adjustment, adjusted)
        np.testing.assert_allclose(newest.covariance, factor * given[0])
        for keyframe, covariance in zip(older, given[1:], strict=True):
            np.testing.assert_allclose(keyframe.covariance, expected * covariance)


@pytest.mark.parametrize("metric", [True, False])
def test_the_oldest_keyframe_is_held_where_no_others_are(metric):
    local_map = follow("rgbd", walk(30, step=0.1))._map
    keyframes, window = select(local_map, 50, metric, NOISE)
    assert keyframes[window.free :] == local_map.keyframes[:1]
    if metric:
        assert window.tethered is None
    else:
        assert keyframes[window.tethered] is local_map.keyframes[1]


def test_a_second_keyframe_next_to_the_first_keeps_no_scale():
    local_map = follow("rgbd", walk(30, step=0.1))._map
    first, second, third = local_map.keyframes[:3]
    second.world_from_cam = first.world_from_cam.copy()
    keyframes, window = select(local_map, 50, False, NOISE)
    assert keyframes[window.tethered] is third


def test_without_a_scale_the_second_pose_is_put_right_at_its_distance():
    """What two views tell of the second one is not exact: held, it would bend all that follows."""
    pytest.importorskip("gtsam")
    local_map = follow("rgbd", walk(30, step=0.1))._map
    _, window = select(local_map, 50, False, NOISE)
    window = replace(window, depths=np.full_like(window.depths, np.nan))
    first, second = window.poses[window.free], window.tethered
    poses = window.poses.copy()
    turn = from_Rt(rotation_exp(np.array([0.0, 0.02, 0.01])), np.zeros(3))
    poses[second] = first @ turn @ inverse(first) @ poses[second]
    straight, askew = adjust(window), adjust(replace(window, poses=poses))

    def distances(poses):
        return np.linalg.norm(poses[:, :3, 3] - first[:3, 3], axis=1)

    assert distances(askew.poses)[second] == pytest.approx(distances(poses)[second], rel=1e-5)
    assert np.abs(poses[second] - straight.poses[second]).max() > 0.015
    assert np.abs(askew.poses - straight.poses).max() < 2e-3  # 1.0e-3, the noise is not the same


def test_adjusted_poses_inherit_what_the_held_one_is_off_by():
    pytest.importorskip("gtsam")
    _, window = select(follow("rgbd", walk(30, step=0.1))._map, 50, True, NOISE)
    held = np.diag([0.01, 0.02, 0.03, 0.001, 0.002, 0.003]) ** 2
    exact, not_exact = (
        adjust(replace(window, covariance=np.stack([covariance] * len(window.poses))))
        for covariance in (np.zeros((6, 6)), held)
    )
    np.testing.assert_array_equal(exact.poses, not_exact.poses)
    for pose, covariance, own in zip(
        exact.poses, not_exact.covariances, exact.covariances, strict=True
    ):
        to_own = adjoint(inverse(pose) @ window.poses[-1])
        np.testing.assert_allclose(covariance - own, to_own @ held @ to_own.T, atol=1e-9)


def test_depths_that_do_not_fit_are_left_out_and_their_bearings_are_not():
    local_map = follow("rgbd", walk(30, step=0.1))._map
    _, before = select(local_map, 8, True, NOISE)
    newest = local_map.keyframes[-1]
    newest.view = replace(newest.view, depths=1.2 * newest.view.depths)
    _, after = select(local_map, 8, True, NOISE)
    is_newest = before.camera == 0
    np.testing.assert_array_equal(before.bearings, after.bearings)
    assert np.isfinite(before.depths[is_newest]).mean() > 0.5
    assert np.isfinite(after.depths[is_newest]).mean() < 0.05
    np.testing.assert_array_equal(before.depths[~is_newest], after.depths[~is_newest])


def test_new_views_tell_depths_that_are_noisier_than_settings_say():
    """And they are kept: by the settings a quarter of them would be left out."""
    scene, rng = Scene(), np.random.default_rng(0)
    odometry = VisualOdometry(CAMERA, Config(mode="rgbd"))
    odometry._adjuster = lambda window: Future()
    for i, pose in enumerate(walk(40, step=0.1)):
        features, depths = scene.see(pose)
        noisy = 1 / (1 / depths + rng.normal(0, 5 * NOISE.inverse_depth, len(depths)))
        noisy[noisy < 0] = np.nan
        odometry.track(i * 33_000_000, features, depth_image(features, noisy))
    keyframes, window = select(odometry._map, 8, True, NOISE)
    first, *others = odometry._map.keyframes
    assert len(others) > 3 and first.depth_noise is None
    ratio = window.noise.inverse_depth / NOISE.inverse_depth
    assert 4 < ratio < 5 * 2**0.5  # measured 4.8: landmarks are noisy as well
    for keyframe in keyframes:
        keyframe.depth_noise = None
    _, by_settings = select(odometry._map, 8, True, NOISE)
    kept, fewer = (np.isfinite(w.depths).sum() for w in (window, by_settings))
    assert fewer < 0.8 * kept  # measured 0.73


def test_a_lost_view_is_matched_with_all_keyframes_in_turn():
    odometry = follow("rgbd", walk(60, step=0.1))
    keyframes, tried = odometry._map.keyframes, []
    assert len(keyframes) > 6
    for odometry._missed_frames in range(len(keyframes)):
        tried.append(list(odometry._tried(odometry._map)))
    assert {len(some) for some in tried} <= {1, 2, 3}
    assert {id(keyframe) for some in tried for keyframe in some} == set(map(id, keyframes))


def test_observations_that_do_not_fit_after_an_adjustment_are_forgotten():
    """Each landmark that the adjustment puts elsewhere was a wrong match in some view."""
    pytest.importorskip("gtsam")
    windows = []
    odometry = follow("rgbd", walk(40, step=0.1), lambda job: windows.append(job) or Future())
    mapper, window, n = odometry._mapper, windows[0], windows[0].free
    adjustment, wrong = mapper._adjustment, np.arange(0, len(window.rows), 10)
    positions = window.positions.copy()
    positions[wrong] += [0.5, 0, 0]  # metres; seven away
    covariances, spread = np.zeros((n, 6, 6)), np.zeros_like(positions)
    adjusted = Adjusted(window.poses[:n], covariances, positions, spread, NOISE)
    mapper._write_back(adjustment, adjusted)
    for keyframe in adjustment.keyframes:
        assert not np.isin(keyframe.rows, window.rows[wrong]).any()
        assert np.isin(keyframe.rows, window.rows).mean() > 0.5  # the others are kept


def test_a_keyframe_recognises_landmarks_that_its_tracking_did_not_match():
    """No second landmark comes where there is one, but where one looks alike elsewhere."""
    scene, odometry = Scene(), VisualOdometry(CAMERA, Config(mode="rgbd"))
    features, depths = scene.see(np.eye(4))
    depth = depth_image(features, depths)
    odometry.track(0, features, depth)
    local_map = odometry._map
    known = len(local_map)
    local_map.positions[:100] += [0.5, 0, 0]  # metres; seven away
    view = odometry._sensor.view(1, features, depth, None)
    keyframe = Keyframe(view, np.eye(4), np.zeros((6, 6)))
    odometry._mapper.insert(keyframe, adjust=False)
    np.testing.assert_array_equal(np.sort(keyframe.rows), np.arange(100, known + 100))
