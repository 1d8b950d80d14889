"""Warps against geometry worked by hand, and against each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from training.warp import inside, sample_depth, warp_depth, warp_homography, warp_pair

K = torch.tensor([[100.0, 0, 49.5], [0, 100, 39.5], [0, 0, 1]], dtype=torch.float64)
SIZE = (80, 100)


def grid(step: int = 7) -> Tensor:
    y, x = torch.meshgrid(torch.arange(5, 75, step), torch.arange(5, 95, step), indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2).double()


def pose(rotation_y: float = 0.0, translation: tuple[float, float, float] = (0, 0, 0)) -> Tensor:
    cos, sin = math.cos(rotation_y), math.sin(rotation_y)
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[0, 0], matrix[0, 2], matrix[2, 0], matrix[2, 2] = cos, sin, -sin, cos
    matrix[:3, 3] = torch.tensor(translation)
    return matrix


def test_homography_by_hand() -> None:
    scale_and_shift = torch.tensor([[2.0, 0, -10], [0, 2, -20], [0, 0, 1]])
    points = torch.tensor([[20.0, 20], [80, 20]])
    warped, visible, _ = warp_homography(points, scale_and_shift, SIZE)
    torch.testing.assert_close(warped, torch.tensor([[30.0, 20], [150, 20]]))
    assert visible.tolist() == [True, False]


def test_behind_the_horizon_nothing_is_visible_or_infinite() -> None:
    horizon = torch.tensor([[1.0, 0, 0], [0, 1, 0], [-0.1, 0, 1]])
    points = torch.tensor([[5.0, 5], [10, 5], [20, 5]], requires_grad=True)
    warped, visible, _ = warp_homography(points, horizon, SIZE)
    assert visible.tolist() == [True, False, False]
    warped.sum().backward()
    assert torch.isfinite(warped).all() and torch.isfinite(points.grad).all()


def test_homography_gradient() -> None:
    homography = torch.tensor([[1.1, 0.1, 3], [0, 0.9, 2], [1e-3, 2e-3, 1]], dtype=torch.float64)
    points = grid(30).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: warp_homography(p, homography, SIZE)[0], points)


def test_depth_of_a_frontal_plane_shifts_all_points_alike() -> None:
    depth = torch.full(SIZE, 2.0, dtype=torch.float64)
    warped, visible, _ = warp_depth(grid(), depth, depth, K, K, pose(translation=(0.1, 0, 0)))
    shifted = grid() + torch.tensor([100 * 0.1 / 2, 0], dtype=torch.float64)
    torch.testing.assert_close(warped, shifted)
    assert torch.equal(visible, inside(shifted, SIZE))


def test_depth_and_homography_agree_on_an_oblique_plane() -> None:
    """Depth of the plane n . X = d, and the homography K (R + t n' / d) K^-1 that it induces."""
    normal, distance = torch.tensor([0.2, -0.1, 1.0], dtype=torch.float64), 3.0
    motion = pose(0.15, (0.3, -0.1, 0.2))

    def plane_depth(normal: Tensor, distance: float) -> Tensor:
        y, x = torch.meshgrid(torch.arange(80), torch.arange(100), indexing="ij")
        rays = torch.stack([x, y, torch.ones_like(x)], dim=-1).double() @ K.inverse().T
        return distance / (rays @ normal)

    normal1 = motion[:3, :3] @ normal
    distance1 = distance + float(normal1 @ motion[:3, 3])
    homography = motion[:3, :3] + motion[:3, 3:] @ normal[None] / distance
    by_depth, visible, _ = warp_depth(
        grid(), plane_depth(normal, distance), plane_depth(normal1, distance1), K, K, motion
    )
    by_homography, expected, _ = warp_homography(grid(), K @ homography @ K.inverse(), SIZE)
    assert expected.sum() > 50
    assert torch.equal(visible, expected)
    torch.testing.assert_close(by_depth[visible], by_homography[visible], atol=0.02, rtol=0)


def test_what_a_nearer_surface_hides_is_not_visible() -> None:
    """A wall at 4 m; from the side, a post at 2 m in view 1 covers part of it."""
    wall = torch.full(SIZE, 4.0, dtype=torch.float64)
    with_post = wall.clone()
    with_post[:, 40:60] = 2.0
    warped, visible, _ = warp_depth(grid(), wall, with_post, K, K, pose())
    hidden = (grid()[:, 0] > 39) & (grid()[:, 0] < 60)
    assert hidden.any()
    assert torch.equal(visible, ~hidden)
    torch.testing.assert_close(warped, grid())


def test_unknown_depth_is_not_visible() -> None:
    depth = torch.full(SIZE, 2.0, dtype=torch.float64)
    holes = depth.clone()
    holes[21:40] = torch.nan
    holes[40:60] = 0
    in_hole = (grid()[:, 1] >= 20) & (grid()[:, 1] < 60)
    for source, target in ((holes, depth), (depth, holes)):
        _, visible, _ = warp_depth(grid(), source, target, K, K, pose())
        assert torch.equal(visible, ~in_hole)


def test_points_behind_the_camera_are_not_visible() -> None:
    depth = torch.full(SIZE, 2.0, dtype=torch.float64)
    warped, visible, left = warp_depth(grid(), depth, depth, K, K, pose(math.pi))
    assert not visible.any()
    assert left.all()
    assert torch.isfinite(warped).all()


def test_what_has_left_is_known_to_be_outside() -> None:
    """20 px to the right; columns of 100 end at 99.5, and what is 3 px from there is not seen."""
    points = torch.tensor([[60.0, 20], [77, 20], [79, 20], [80, 20], [90, 20], [60, 60], [90, 60]])
    shown, gone = (
        [True, False, False, False, False, True, False],
        [False, False, False, True, True, False, True],
    )
    shift = torch.tensor([[1.0, 0, 20], [0, 1, 0], [0, 0, 1]])
    _, visible, left = warp_homography(points, shift, SIZE)
    assert visible.tolist() == shown
    assert left.tolist() == gone
    depth = torch.full(SIZE, 2.0)
    motion = pose(translation=(0.4, 0, 0)).float()
    _, visible, left = warp_depth(points, depth, depth, K, K, motion)
    assert visible.tolist() == shown
    assert left.tolist() == gone
    holes = torch.where(torch.arange(80)[:, None] < 40, depth, torch.nan)
    unseen = [False, False]
    _, visible, left = warp_depth(points, holes, depth, K, K, motion)
    assert visible.tolist() == shown[:5] + unseen
    assert left.tolist() == gone[:5] + unseen
    near = depth.clone()
    near[:40] = 1  # hides what is behind it
    _, visible, left = warp_depth(points, depth, near, K, K, motion)
    assert visible.tolist() == [False] * 5 + shown[5:]
    assert left.tolist() == gone


def test_depth_gradient_includes_the_slope_of_the_surface() -> None:
    y, x = torch.meshgrid(torch.arange(80), torch.arange(100), indexing="ij")
    depth = (2 + 0.01 * x + 0.02 * y).double()
    points = torch.tensor([[20.3, 30.6], [50.5, 40.2]], dtype=torch.float64, requires_grad=True)
    motion = pose(0.1, (0.2, 0, 0))
    assert torch.autograd.gradcheck(lambda p: warp_depth(p, depth, depth, K, K, motion)[0], points)


def test_points_beside_unknown_depth_have_no_gradient_but_a_finite_one() -> None:
    depth = torch.full(SIZE, 2.0, dtype=torch.float64)
    depth[:, 50:] = torch.nan
    points = torch.tensor([[49.5, 20.0], [20.0, 20.0]], dtype=torch.float64, requires_grad=True)
    warped, visible, _ = warp_depth(points, depth, depth, K, K, pose(translation=(0.1, 0, 0)))
    assert visible.tolist() == [False, True]
    warped[visible].sum().backward()
    assert points.grad is not None
    torch.testing.assert_close(points.grad, torch.tensor([[0.0, 0], [1, 1]]).double())


def test_sampled_depth_is_bilinear_and_unknown_outside() -> None:
    depth = torch.arange(12.0).reshape(3, 4) + 1
    points = torch.tensor([[1.5, 0.5], [3, 2], [3.5, 1], [-1, 0]])
    sampled = sample_depth(depth, points)
    torch.testing.assert_close(sampled[:2], torch.tensor([4.5, 12.0]))
    assert torch.isnan(sampled[2:]).all()


@pytest.mark.parametrize("source", [0, 1])
def test_pairs_warp_both_ways(source: int) -> None:
    homography = torch.tensor([[1.05, 0.1, 3], [-0.05, 0.95, 2], [1e-4, 2e-4, 1]])
    image = torch.zeros(3, *SIZE)
    pair = {"image0": image, "image1": image, "view1_from_view0": homography}
    points = grid().float()
    there, visible, _ = warp_pair(points, pair, source)
    back, _, _ = warp_pair(there, pair, 1 - source)
    assert visible.sum() > 50
    np.testing.assert_allclose(back, points, atol=1e-3)
