"""What a lost camera may expect to find."""

import numpy as np
from test_local_map import keyframe

from alike_ros.geometry import from_Rt
from alike_ros.odometry.local_map import LocalMap
from alike_ros.odometry.recognition import _as_large


def test_a_landmark_looks_as_it_did_from_as_far_and_less_like_it_from_nearer_or_farther():
    local_map = LocalMap(12)
    near, far = keyframe(3), keyframe(2)
    far.world_from_cam = from_Rt(np.eye(3), np.array([0, 0, -2.0]))
    local_map.keyframes += [near, far]
    positions = np.array([[0, 0, 2.0], [2, 0, 0], [0, 0, 2]])
    rows = local_map.add(near, np.arange(3), positions, np.zeros((3, 3)))
    local_map.observe(far, rows[:1], np.arange(1))  # it sees the first one from twice as far
    remains = [np.exp(-((np.log(ratio) / 0.4) ** 2)) for ratio in (2, 1, 1.5)]
    here, away, between, nearer = (
        _as_large(local_map, np.array([0, 0, z])) for z in (0.0, -2.0, -1.0, 1.0)
    )
    np.testing.assert_allclose(here, 1)
    np.testing.assert_allclose(away[[0, 2]], [1, remains[0]])
    np.testing.assert_allclose(between[2], remains[2])
    assert between[0] > between[2]  # four thirds of the distance are nearer to one than 3 to 2
    np.testing.assert_allclose(nearer[0], remains[0])


def test_what_no_keyframe_sees_is_not_expected():
    local_map = LocalMap(12)
    first = keyframe(2)
    local_map.keyframes.append(first)
    rows = local_map.add(first, np.arange(2), np.array([[0, 0, 2.0], [0, 0, 3]]), np.zeros((2, 3)))
    first.landmarks[first.landmarks == rows[1]] = -1
    np.testing.assert_allclose(_as_large(local_map, np.zeros(3)), [1, 0])
