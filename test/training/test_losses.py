"""Losses: gradients against finite differences, values against cases worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from alike_ros.network.detection import sample_scores, soft_argmax
from training import losses


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(random(*shape, seed=seed) - 0.5, dim=-1)


def check_gradient(function, *inputs: Tensor) -> None:
    """The analytic gradient equals finite differences, and is not just zero."""
    inputs = tuple(x.clone().requires_grad_() for x in inputs)
    assert torch.autograd.gradcheck(function, inputs)
    gradients = torch.autograd.grad(function(*inputs).sum(), inputs)
    assert all(gradient.abs().max() > 1e-6 for gradient in gradients)


# Soft-argmax


def test_soft_argmax_gradients() -> None:
    centres = torch.tensor([[4, 5], [9, 3]])
    check_gradient(lambda score_map: soft_argmax(score_map, centres)[0], random(12, 14))
    check_gradient(lambda score_map: soft_argmax(score_map, centres)[1], random(12, 14))


def test_sampled_scores_follow_map_and_place() -> None:
    points = torch.tensor([[3.3, 4.6], [7.1, 2.2]], dtype=torch.float64)
    check_gradient(sample_scores, random(9, 11), points)


# Correspondences


def test_correspondences_are_mutual_and_near() -> None:
    keypoints0 = torch.tensor([[10.0, 10], [12, 10], [50, 50], [80, 80], [30, 30]])
    keypoints1 = torch.tensor([[11.6, 10], [50, 54], [80, 86], [70, 20]])
    points0_in_1, points1_in_0 = keypoints0.clone(), keypoints1.clone()
    points0_in_1[4] = torch.nan  # not visible
    index0, index1 = losses.correspondences(
        keypoints0, keypoints1, points0_in_1, points1_in_0, 5.0
    )
    # 12 is nearer to 11.6 than 10 is; 50 is 4 px away, 80 is 6
    assert index0.tolist() == [1, 2]
    assert index1.tolist() == [0, 1]
    nearer = losses.correspondences(keypoints0, keypoints1, points0_in_1, points1_in_0, 2.0)
    assert nearer.index0.tolist() == [1]


def test_no_keypoints_no_correspondences() -> None:
    none, one = torch.zeros(0, 2), torch.zeros(1, 2)
    assert len(losses.correspondences(none, one, none, one, 5.0).index0) == 0
    unseen = torch.full((1, 2), torch.nan)
    assert len(losses.correspondences(one, one, unseen, unseen, 5.0).index0) == 0


# Reprojection and dispersity


def test_reprojection_loss_by_hand() -> None:
    keypoints0 = torch.tensor([[10.0, 10], [20, 20], [30, 30]])
    keypoints1 = torch.tensor([[13.0, 14], [20, 20], [0, 0]])
    points0_in_1, points1_in_0 = keypoints0.clone(), keypoints1.clone()
    scores0, scores1 = torch.tensor([0.9, 0.9, 0.9]), torch.tensor([0.9, 0.9, 0.05])
    loss = losses.reprojection_loss(
        keypoints0, keypoints1, points0_in_1, points1_in_0, scores0, scores1
    )
    # |3| + |4| in each view for the first, 0 for the second; the third is too faint
    assert loss.item() == pytest.approx((7 + 7) / 2 / 2)


def test_reprojection_loss_gradients() -> None:
    scores = torch.full((6,), 0.5, dtype=torch.float64)
    views = [10 * random(6, 2, seed=i) for i in range(4)]
    check_gradient(lambda *v: losses.reprojection_loss(*v, scores, scores), *views)


def test_reprojection_loss_of_nothing_can_be_differentiated() -> None:
    keypoints = torch.zeros(0, 2, requires_grad=True)
    none = torch.zeros(0)
    loss = losses.reprojection_loss(keypoints, keypoints, keypoints, keypoints, none, none)
    loss.backward()
    assert loss.item() == 0


def test_dispersity_peak_loss_by_hand() -> None:
    dispersity, scores = torch.tensor([0.2, 0.4, 9.0]), torch.tensor([0.5, 0.2, 0.1])
    assert losses.dispersity_peak_loss(dispersity, scores).item() == pytest.approx(0.3)


def test_dispersity_is_zero_at_a_peak_and_largest_on_a_plain() -> None:
    peak, plain = torch.zeros(9, 9), torch.zeros(9, 9)
    peak[4, 4] = 5.0
    centre = torch.tensor([[4, 4]])
    assert soft_argmax(peak, centre)[1].item() < 1e-6
    # mean of (dx^2 + dy^2) / 4 over the 5x5 window
    assert soft_argmax(plain, centre)[1].item() == pytest.approx(1.0)


def test_stretch_loss_by_hand() -> None:
    keypoints = torch.tensor([[10.0, 10], [20, 20], [30, 30]])
    unstretched = torch.tensor([[10.3, 9.9], [20, 20], [0, 0]])
    scores = torch.tensor([0.9, 0.2, 0.05])  # the third is too faint
    loss = losses.stretch_loss(keypoints, unstretched, scores)
    assert loss.item() == pytest.approx((0.3 + 0.1) / 2, abs=1e-5)


def test_stretch_loss_gradients() -> None:
    scores = torch.full((6,), 0.5, dtype=torch.float64)
    keypoints, unstretched = 10 * random(6, 2), 10 * random(6, 2, seed=1)
    check_gradient(lambda *k: losses.stretch_loss(*k, scores), keypoints, unstretched)


def test_quiet_loss_by_hand() -> None:
    crowded, spread = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    crowded[0, :2, :2] = 0.8
    spread[0, ::2, ::2] = 0.8
    assert losses.quiet_loss(crowded, 0).item() == pytest.approx(0.2)
    assert losses.quiet_loss(spread, 0).item() == pytest.approx(0.2)
    assert losses.quiet_loss(crowded, 2).item() == pytest.approx(0.4)  # root of 0.8^2 / 4
    assert losses.quiet_loss(spread, 2).item() == pytest.approx(0.2)
    assert losses.quiet_loss(crowded, 9).item() == pytest.approx(0.2)  # one cell, the picture


@pytest.mark.parametrize("cell", [0, 2])
def test_quiet_loss_gradients(cell: int) -> None:
    check_gradient(lambda scores: losses.quiet_loss(scores, cell), random(2, 4, 6).abs())


# Neural reprojection error


def test_nre_reads_the_probability_between_pixels() -> None:
    descriptor_map = unit(3, 4, 5, seed=1)  # (D, H, W), unit along D below
    descriptor_map = F.normalize(descriptor_map, dim=0)
    descriptors = unit(1, 3, seed=2)
    point = torch.tensor([[2.25, 1.5]], dtype=torch.float64)
    loss = losses.neural_reprojection_error(
        descriptors, descriptor_map, point, torch.tensor([True]), 0.1
    )
    similarity = (descriptors[0, :, None, None] * descriptor_map).sum(0)
    exponentials = ((similarity - 1) / 0.1).exp()
    probability = exponentials / (exponentials.sum() + 1)  # + 1 is the bin "outside"
    above = 0.75 * probability[1, 2] + 0.25 * probability[1, 3]
    below = 0.75 * probability[2, 2] + 0.25 * probability[2, 3]
    assert loss.item() == pytest.approx(-math.log(0.5 * above + 0.5 * below))


def test_nre_of_what_left_the_image_is_low_where_nothing_is_alike() -> None:
    descriptors = torch.eye(4, dtype=torch.float64)[:1]
    other = torch.zeros(4, 6, 6, dtype=torch.float64)
    other[1] = 1  # orthogonal everywhere
    alike = torch.zeros(4, 6, 6, dtype=torch.float64)
    alike[0] = 1
    nowhere, left = torch.full((1, 2), torch.nan, dtype=torch.float64), torch.tensor([False])
    low = losses.neural_reprojection_error(descriptors, other, nowhere, left, 0.02)
    high = losses.neural_reprojection_error(descriptors, alike, nowhere, left, 0.02)
    assert low.item() == pytest.approx(36 * math.exp(-50))
    assert high.item() == pytest.approx(math.log(37))


def test_nre_stays_finite_far_from_the_optimum() -> None:
    descriptors = torch.tensor([[1.0, 0]], dtype=torch.float32)
    descriptor_map = torch.tensor([-1.0, 0]).reshape(2, 1, 1).expand(2, 8, 8).clone()
    descriptor_map[:, 0, 0] = torch.tensor([1.0, 0])
    loss = losses.neural_reprojection_error(
        descriptors, descriptor_map, torch.tensor([[5.0, 5]]), torch.tensor([True]), 0.02
    )
    assert loss.item() == pytest.approx(2 / 0.02 + math.log(2), rel=1e-3)


def test_nre_gradients() -> None:
    points = torch.tensor([[1.3, 2.6], [3.2, 0.4], [0, 0]], dtype=torch.float64)
    visible = torch.tensor([True, True, False])
    check_gradient(
        lambda d, m: losses.neural_reprojection_error(d, m, points, visible, 0.2),
        unit(3, 4),
        unit(4, 5, 6),
    )


def test_grid_nre_is_a_softmax_without_the_excluded() -> None:
    similarity = torch.tensor([0.8])
    similarities = torch.tensor([[0.6, 0.79, 0.1]])
    excluded = torch.tensor([[False, True, False]])
    log_probability = losses.log_matching_probability(similarity, similarities, excluded, 0.1)
    expected = math.exp(8) / (math.exp(8) + math.exp(6) + math.exp(1))
    assert log_probability.exp().item() == pytest.approx(expected, rel=1e-5)


def test_grid_nre_equals_the_dense_one_on_a_grid_of_all_pixels() -> None:
    descriptor_map = F.normalize(unit(3, 4, 5, seed=1), dim=0)
    descriptors = unit(2, 3, seed=2)
    pixels = torch.tensor([[2, 1], [4, 3]])
    similarities = descriptors @ descriptor_map.flatten(1)
    true_index = pixels[:, 1] * 5 + pixels[:, 0]
    excluded = F.one_hot(true_index, 20).bool()
    # similarity 1 joins as the bin "outside" of the dense form
    outside = torch.cat([similarities, torch.ones(2, 1)], dim=1)
    excluded = torch.cat([excluded, torch.zeros(2, 1, dtype=torch.bool)], dim=1)
    similarity = similarities.gather(1, true_index[:, None])[:, 0]
    sparse = -losses.log_matching_probability(similarity, outside, excluded, 0.1)
    dense = losses.neural_reprojection_error(
        descriptors, descriptor_map, pixels.double(), torch.tensor([True, True]), 0.1
    )
    torch.testing.assert_close(sparse, dense)


def test_grid_nre_and_triplet_gradients() -> None:
    excluded = torch.zeros(3, 5, dtype=torch.bool)
    excluded[0, 2] = True
    similarity, similarities = random(3, seed=4), random(3, 5, seed=5)
    check_gradient(
        lambda s, n: losses.log_matching_probability(s, n, excluded, 0.3),
        similarity,
        similarities,
    )
    check_gradient(lambda s, n: losses.triplet_loss(s, n, excluded), similarity, similarities)


def test_triplet_loss_by_hand() -> None:
    similarity = torch.tensor([0.9, 0.6])
    similarities = torch.tensor([[0.3, 0.95], [0.5, 0.2]])
    excluded = torch.tensor([[False, True], [False, False]])
    loss = losses.triplet_loss(similarity, similarities, excluded, margin=0.5)
    torch.testing.assert_close(loss, torch.tensor([0.0, 0.4]))


# Reliability


def test_reliability_of_equal_descriptors_is_one() -> None:
    reliability = losses.reliability(torch.tensor([1.0, 0.0]), 1.0)
    torch.testing.assert_close(reliability, torch.tensor([1.0, math.exp(-1)]))


def test_reliability_loss_by_hand() -> None:
    reliability = torch.tensor([1.0, 0.5])
    loss = losses.reliability_loss(reliability, torch.tensor([0.5, 0.2]), torch.tensor([0.8, 0.5]))
    assert loss.item() == pytest.approx(0.5 * 0.1 / (0.4 + 0.1))


def test_reliability_loss_lowers_the_scores_of_the_unreliable() -> None:
    reliability = torch.tensor([0.9, 0.1], requires_grad=True)
    scores0 = torch.tensor([0.5, 0.5], requires_grad=True)
    losses.reliability_loss(reliability, scores0, torch.tensor([0.5, 0.5])).backward()
    assert reliability.grad is None
    assert scores0.grad is not None
    assert scores0.grad[0] < 0 < scores0.grad[1]


def test_reliability_loss_gradients() -> None:
    reliability = random(5, seed=7)
    check_gradient(
        lambda s0, s1: losses.reliability_loss(reliability, s0, s1), random(5), random(5, seed=1)
    )


# Thinning


def test_of_near_points_the_best_stays() -> None:
    points = torch.tensor([[10.0, 10], [11, 10], [30, 30], [30, 30], [50, 50]])
    scores = torch.tensor([0.3, 0.4, 0.5, 0.5, 0.1])
    assert losses.thin(points, scores, 2.0).tolist() == [False, True, True, False, True]
