"""The map: what is kept, what goes, and that rows stay in order."""

import numpy as np

from alike_ros.geometry import from_Rt, rotation_exp, transform
from alike_ros.odometry.local_map import Keyframe, LocalMap
from alike_ros.odometry.noise import Noise
from alike_ros.odometry.shutter import Exposure
from alike_ros.odometry.view import View

DESCRIPTORS = np.eye(12, dtype=np.float32)
RATE = np.array([0.6, -1.2, 0.9])  # of a turn, rad/s
NOISE = Noise(keypoint=1e-3, inverse_depth=4e-3)


def keyframe(keypoints=4, descriptors=None):
    nothing = np.full(keypoints, np.nan)
    descriptors = DESCRIPTORS[:keypoints] if descriptors is None else descriptors
    rows, noise = np.zeros(keypoints), np.ones(keypoints)
    view = View(0, np.zeros((keypoints, 2)), rows, descriptors, noise, nothing, nothing)
    return Keyframe(view, np.eye(4), np.zeros((6, 6)))


def chain(length, step=2):
    """Keyframes of four landmarks each, of which neighbours share four minus step."""
    local_map = LocalMap(12)
    for number in range(length):
        new = keyframe()
        new.last_used = number
        local_map.keyframes.append(new)
        shared = 0 if not number else 4 - step
        if shared:
            local_map.observe(new, local_map.keyframes[-2].landmarks[step:], np.arange(shared))
        free = np.arange(shared, 4)
        local_map.add(
            new, free, np.tile([0.0, 0, 1 + number], (len(free), 1)), np.zeros((len(free), 3))
        )
    return local_map


def test_covisible_keyframes_come_in_order_of_what_they_share():
    local_map = chain(3, step=1)
    a, b, c = local_map.keyframes
    assert local_map.covisible(a) == [b, c]
    np.testing.assert_array_equal(local_map.shared(a.rows), [4, 3, 2])
    np.testing.assert_array_equal(local_map.observers(), [1, 2, 3, 3, 2, 1])


def test_what_one_keyframe_alone_sees_is_straightened_with_it():
    bearings, rows = np.array([[0.1, -0.3], [0.2, 0.3], [-0.3, 0.2]]), np.array([-0.4, 0.4, 0.3])
    depths = np.array([2.0, 3.0, np.nan])  # the third is a landmark from two views
    view = View(0, bearings, rows, DESCRIPTORS[:3], np.ones(3), depths, 0.01 * depths)
    world_from_cam = from_Rt(rotation_exp(np.array([0.1, 0.5, -0.2])), np.array([1.0, 2, 3]))
    bent = Keyframe(view, world_from_cam, np.zeros((6, 6)), Exposure(RATE, np.zeros(3), 0.0))
    local_map, other = LocalMap(12), keyframe(1)
    local_map.keyframes += [bent, other]
    points = np.array([[0.2, -0.6, 2], [0.6, 0.9, 3], [-0.9, 0.6, 3]])
    in_world = transform(world_from_cam, points)
    local_map.add(bent, np.arange(3), in_world, np.zeros((3, 3)))
    local_map.observe(other, np.array([1]), np.array([0]))
    local_map.straighten([bent], 0.03)
    # it turned by 0.03 s x rate from the first row to the last, by 0.4 of that up to the middle
    seen = rotation_exp(0.03 * -0.4 * RATE) @ points[0]
    moved = transform(world_from_cam, seen)
    np.testing.assert_allclose(local_map.positions[0], moved, atol=1e-5)  # measured 1.4e-6
    np.testing.assert_array_equal(local_map.positions[1:], in_world[1:])
    assert bent.exposure.readout_s == 0.03
    before = local_map.positions.copy()
    local_map.keyframes.remove(bent)
    local_map.straighten([bent], 0.02)
    np.testing.assert_array_equal(local_map.positions, before)


def test_the_map_is_bounded():
    local_map = chain(20)
    local_map.cull(kept=5, min_found=0.25, redundancy=0.9, noise=NOISE)
    assert [k.last_used for k in local_map.keyframes] == [15, 16, 17, 18, 19]
    assert len(local_map) == 12
    for k in local_map.keyframes:
        assert (local_map.positions[k.rows, 2] <= 1 + k.last_used).all()
        assert (local_map.positions[k.rows, 2] >= k.last_used).all()


def test_redundant_keyframes_go():
    local_map = chain(1)
    for _ in range(5):
        same = keyframe()
        local_map.keyframes.append(same)
        local_map.observe(same, np.arange(4), np.arange(4))
    local_map.cull(kept=30, min_found=0.25, redundancy=0.9, noise=NOISE)
    assert len(local_map.keyframes) == 3  # fewer than three others are left to see it all
    assert len(local_map) == 4


def test_what_a_keyframe_saw_outlasts_it():
    local_map = chain(4, step=1)
    assert not local_map.prior.information.any()
    local_map.cull(kept=3, min_found=0.25, redundancy=1.1, noise=NOISE)
    assert [k.last_used for k in local_map.keyframes] == [1, 2, 3]
    assert len(local_map) == 6  # the first keyframe alone saw the one that is gone
    assert local_map.prior.information.any(axis=(1, 2)).tolist() == 3 * [True] + 3 * [False]
    information = local_map.prior.information[0]
    np.testing.assert_allclose(information, np.diag([1, 1, 0]) / 1e-6)  # its ray, 1 m off
    motion = np.eye(4)
    motion[:3, 3] = 1, 2, 3
    before = local_map.positions.copy()
    local_map.move(np.array([0, 5]), motion)
    np.testing.assert_array_equal(local_map.positions[[0, 5]], before[[0, 5]] + [1, 2, 3])
    np.testing.assert_allclose(local_map.prior.vector[0], information @ (before[0] + [1, 2, 3]))


def test_weak_landmarks_go():
    local_map = chain(4, step=3)
    local_map.count_sightings(np.arange(10), np.empty(0, np.int64))
    for _ in range(8):
        local_map.count_sightings(np.arange(10), np.arange(0, 2))
    local_map.cull(kept=30, min_found=0.25, redundancy=0.9, noise=NOISE)
    assert len(local_map) == 9  # two strong ones, and seven that the newest two keyframes see
    np.testing.assert_array_equal(local_map.keyframes[0].rows, [0, 1])


def test_descriptors_are_the_mean_of_what_was_seen():
    local_map = chain(1)
    other = keyframe(descriptors=DESCRIPTORS[4:8])
    local_map.keyframes.append(other)
    local_map.observe(other, np.arange(4), np.arange(4))
    expected = (DESCRIPTORS[:4] + DESCRIPTORS[4:8]) / 2**0.5
    np.testing.assert_allclose(local_map.descriptors, expected, rtol=1e-6)


def test_only_what_is_in_front_is_in_view():
    local_map = chain(1)
    local_map.positions[:] = [[0, 0, 1], [0, 0, -1], [0.5, 0, 1], [0, 0.3, 1]]
    np.testing.assert_array_equal(local_map.in_view(np.eye(4), np.array([0.4, 0.4])), [0, 3])
