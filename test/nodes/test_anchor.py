"""Where the map lies in odom."""

from __future__ import annotations

import numpy as np

from alike_ros.geometry import adjoint, from_Rt, inverse, rotation_exp
from alike_ros.nodes.anchor import Anchor

START = from_Rt(rotation_exp(np.array([0.0, 0.0, 1.0])), np.array([1.0, 2.0, 0.0]))
MOVE = from_Rt(rotation_exp(np.array([0.1, -0.2, 0.3])), np.array([0.5, 0.0, 0.1]))
COVARIANCE = np.diag([1e-2, 2e-2, 3e-2, 1e-4, 2e-4, 3e-4])


def test_new_map_starts_at_the_last_pose_and_with_its_covariance() -> None:
    anchor = Anchor(START)
    pose, covariance = anchor.locate(MOVE, COVARIANCE)
    assert np.allclose(pose, START @ MOVE)
    assert np.allclose(covariance, COVARIANCE)
    anchor.new_map()
    again, carried = anchor.locate(np.eye(4), np.zeros((6, 6)))
    assert np.allclose(again, pose)
    assert np.allclose(carried, COVARIANCE)
    moved, grown = anchor.locate(MOVE, COVARIANCE)
    assert np.allclose(moved, START @ MOVE @ MOVE)
    # a turn at the start is a shift further on; the map's own part comes on top
    assert np.linalg.eigvalsh(grown - COVARIANCE).min() > 0
    assert np.trace(grown[:3, :3]) > 2 * np.trace(COVARIANCE[:3, :3])


def test_carried_covariance_is_that_of_sampled_errors() -> None:
    anchor = Anchor(np.eye(4))
    anchor.set_pose(START, COVARIANCE)
    _, covariance = anchor.locate(MOVE, np.zeros((6, 6)))
    random = np.random.default_rng(0)
    errors = []
    for e in random.multivariate_normal(np.zeros(6), COVARIANCE * 1e-2, 4000):
        true = START @ from_Rt(rotation_exp(e[3:]), e[:3]) @ MOVE
        error = inverse(START @ MOVE) @ true
        errors.append([*error[:3, 3], error[2, 1], error[0, 2], error[1, 0]])
    assert np.allclose(np.cov(np.array(errors).T) * 1e2, covariance, atol=2e-3)  # 0.0009 measured


def test_pose_is_set_and_the_map_kept() -> None:
    anchor = Anchor(np.eye(4))
    anchor.locate(MOVE, COVARIANCE)
    anchor.set_pose(START, np.zeros((6, 6)))
    assert np.allclose(anchor.locate(MOVE, None)[0], START)
    assert np.allclose(anchor.locate(MOVE @ MOVE, None)[0], START @ MOVE)


def test_pose_that_is_set_is_as_certain_as_it_says() -> None:
    """Whatever the drift was; from there on the map's own uncertainty counts."""
    anchor = Anchor(np.eye(4))
    first, second = 4 * COVARIANCE, 9 * COVARIANCE
    anchor.locate(MOVE, first)
    anchor.set_pose(START, COVARIANCE / 100)
    assert np.allclose(anchor.locate(MOVE, first)[1], COVARIANCE / 100)
    _, grown = anchor.locate(MOVE, second)
    assert np.allclose(grown, COVARIANCE / 100 + second - first)
    _, back = anchor.locate(MOVE, np.zeros((6, 6)))  # where the map is exact
    assert np.allclose(back, COVARIANCE / 100 + first)


def test_covariance_after_a_pose_was_set_is_that_of_the_way_since() -> None:
    anchor = Anchor(np.eye(4))
    to_base = adjoint(inverse(MOVE))
    anchor.locate(MOVE, COVARIANCE)
    anchor.set_pose(START, np.zeros((6, 6)))
    pose, covariance = anchor.locate(MOVE @ MOVE, to_base @ COVARIANCE @ to_base.T + COVARIANCE)
    assert np.allclose(pose, START @ MOVE)
    assert np.allclose(covariance, COVARIANCE)


def test_pose_that_is_set_while_lost_is_that_of_the_next_view() -> None:
    anchor = Anchor(np.eye(4))
    anchor.locate(MOVE, COVARIANCE)
    anchor.set_pose(START, COVARIANCE, seen=False)
    pose, covariance = anchor.locate(MOVE @ MOVE, 9 * COVARIANCE)
    assert np.allclose(pose, START)
    assert np.allclose(covariance, COVARIANCE)
    assert np.allclose(anchor.locate(MOVE @ MOVE @ MOVE, None)[0], START @ MOVE)


def test_unseen_motion_moves_the_next_map() -> None:
    anchor = Anchor(START)
    anchor.move(MOVE)
    anchor.new_map()
    assert np.allclose(anchor.locate(np.eye(4), None)[0], START @ MOVE)
