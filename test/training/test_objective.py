"""The losses of whole batches: what lowers them, what they do not depend on."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from alike_ros.network import ALIKE
from alike_ros.network.alnet import ALNet
from training.config import LossConfig, PhotometryConfig
from training.data.drawings import drawing
from training.data.homography import disturb
from training.objective import Description, Objective, View, to_float

GRID = LossConfig(
    top_k=60, random_points=30, thin_radius=0, nre_map="grid", t_des=0.05, nre=1, reliability=1
)
DENSE = replace(GRID, nre_map="dense")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(homography: Tensor, count: int = 2, same: bool = False) -> dict[str, Tensor]:
    """Pairs of drawings related by the identity, said to be related by `homography`."""
    pictures = []
    for i in range(2 * count):
        rng = np.random.default_rng(i)
        image = drawing(np.random.default_rng(i % count), 96, 128)
        picture = image if same else disturb(rng, image, PhotometryConfig())
        pictures.append(torch.from_numpy(picture).permute(2, 0, 1))
    return {
        "image0": torch.stack(pictures[:count]),
        "image1": torch.stack(pictures[count:]),
        "view1_from_view0": homography.expand(count, 3, 3),
    }


@pytest.fixture(scope="module")
def network() -> ALNet:
    torch.manual_seed(0)
    return ALIKE("alike-t").eval()


@pytest.mark.parametrize("config", [GRID, DENSE])
def test_the_same_picture_is_easier_than_another_one(network: ALNet, config: LossConfig) -> None:
    objective = Objective(network, config)
    same = objective(batch(torch.eye(3), same=True), generator())
    shift = torch.tensor([[1.0, 0, 30], [0, 1, 17], [0, 0, 1]])  # which is not true
    other = objective(batch(shift, same=True), generator())
    assert same["nre"] < other["nre"] - 0.1
    assert same["reliability"] < other["reliability"]
    assert same["reprojection"] < 1e-5  # keypoints found again at the same places
    assert other["reprojection"] > 0.5


@pytest.mark.parametrize("config", [GRID, DENSE])
def test_what_both_views_show_is_where_the_homography_says(
    network: ALNet, config: LossConfig
) -> None:
    """Two pieces of one picture, to a network that sees no more than some pixels around."""
    fine = copy.deepcopy(network)
    with torch.no_grad():
        fine.convhead2.weight[:, network.dim // 4 :] = 0
    picture = torch.from_numpy(drawing(np.random.default_rng(0), 128, 176)).permute(2, 0, 1)[None]
    views = picture[..., :96, :128], picture[..., 32:, 48:]
    objective = Objective(fine, replace(config, top_k=0))
    terms = []
    for sign in (-1, 1):
        shift = torch.tensor([[[1.0, 0, sign * 48], [0, 1, sign * 32], [0, 0, 1]]])
        pair = {"image0": views[0], "image1": views[1], "view1_from_view0": shift}
        terms.append(objective(pair, generator()))
    true, false = terms
    assert true["reprojection"] < 0.05 < 0.2 < false["reprojection"]  # measured 0.010, 0.46
    assert true["nre"] < false["nre"] - 0.5  # measured 6.8, 9.3 and 8.2, 9.0


@pytest.mark.parametrize("config", [GRID, DENSE])
def test_views_may_change_places(network: ALNet, config: LossConfig) -> None:
    objective = Objective(network, replace(config, random_points=0, stride=1))
    homography = torch.tensor([[1.1, 0.05, -9], [-0.05, 0.95, 7], [1e-4, 0, 1]])
    pairs = batch(homography, count=1)
    turned = {
        "image0": pairs["image1"],
        "image1": pairs["image0"],
        "view1_from_view0": homography.inverse()[None],
    }
    first, second = objective(pairs, generator()), objective(turned, generator())
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("config", [GRID, DENSE])
def test_every_parameter_gets_a_gradient(config: LossConfig) -> None:
    torch.manual_seed(0)
    network = ALIKE("alike-t")
    Objective(network, config)(batch(torch.eye(3)), generator())["loss"].backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_empty_pictures_learn_to_have_no_keypoints() -> None:
    torch.manual_seed(0)
    network = ALIKE("alike-t")
    objective = Objective(network, replace(GRID, blank=1.0))
    like = torch.zeros(2, 3, 96, 128)
    statistics = {name: value.clone() for name, value in network.named_buffers()}
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    means = []
    for i in range(20):
        mean = objective.blank(like, generator(i))
        means.append(mean.item())
        optimizer.zero_grad()
        mean.backward()
        optimizer.step()
    assert means[-1] < means[0] / 2  # measured 0.50 -> 0.00
    assert network.training
    assert all(torch.equal(value, statistics[name]) for name, value in network.named_buffers())


def course(
    network: ALNet, term: str, pairs: dict[str, Tensor], steps: int, rate: float
) -> list[float]:
    """A term of the loss at each step of a training by it alone."""
    objective = Objective(network, replace(GRID, **{term: 1.0}))
    optimizer = torch.optim.Adam(network.parameters(), rate)
    values = []
    for i in range(steps):
        value = objective(pairs, generator(i))[term]
        values.append(value.item())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return values


def test_keypoints_learn_not_to_be_pulled_by_stretched_levels() -> None:
    torch.manual_seed(0)
    network = ALIKE("alike-t")
    with torch.no_grad():
        network.convhead2.weight[-1] *= 30  # scores that differ, as of a network that has learned
    pulls = course(network, "stretch", batch(torch.eye(3)), 20, 3e-3)
    assert pulls[-1] < pulls[0] / 2  # pixels


def test_keypoints_learn_to_stay_where_they_are_when_the_picture_is_mirrored() -> None:
    torch.manual_seed(0)
    network = ALIKE("alike-t")
    with torch.no_grad():
        network.convhead2.weight[-1] *= 30  # scores that differ, as of a network that has learned
    moved = course(network, "mirror", batch(torch.eye(3), count=1), 40, 1e-3)
    assert np.mean(moved[-6:]) < np.mean(moved[:6]) / 10  # pixels; measured 1.6 -> 0.01


def test_a_network_that_is_symmetric_itself_moves_nothing(network: ALNet) -> None:
    symmetric = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in symmetric.parameters():
            if parameter.dim() == 4:
                parameter.copy_((parameter + parameter.flip(-1)) / 2)
                parameter.copy_((parameter + parameter.flip(-2)) / 2)
    objectives = [Objective(some, replace(GRID, mirror=1.0)) for some in (symmetric, network)]
    pairs = batch(torch.eye(3))
    distances = [objective(pairs, generator())["mirror"] for objective in objectives]
    assert 0 < distances[0] < 1e-3  # of rounding: there is something to compare
    assert distances[1] > 0.5  # pixels; measured 1.8


def test_pictures_become_quiet(network: ALNet) -> None:
    pairs = batch(torch.eye(3))
    images = torch.cat([pairs["image0"], pairs["image1"]]).float() / 255
    expected = network(images)[0].mean().item()
    means = course(copy.deepcopy(network), "quiet", pairs, 20, 3e-3)
    assert means[0] == pytest.approx(expected, rel=1e-5)
    assert means[-1] < means[0] / 2


def test_scores_that_crowd_are_told_by_the_objective(network: ALNet) -> None:
    terms = [
        Objective(network, replace(GRID, quiet=1.0, quiet_cell=cell))(
            batch(torch.eye(3)), generator()
        )
        for cell in (0, 8)
    ]
    assert terms[1]["quiet"] > terms[0]["quiet"] > 0


def test_levels_without_a_say_in_the_scores_pull_nothing(network: ALNet) -> None:
    fine = copy.deepcopy(network)
    with torch.no_grad():
        fine.convhead2.weight[-1, network.dim // 4 :] = 0
    terms = Objective(fine, replace(GRID, stretch=1.0))(batch(torch.eye(3)), generator())
    assert terms["stretch"] == 0


def test_loss_is_the_weighted_sum(network: ALNet) -> None:
    config = replace(GRID, reprojection=2, dispersity=3, nre=5, reliability=7, triplet=11)
    terms = Objective(network, config)(batch(torch.eye(3)), generator())
    weights = {"reprojection": 2, "dispersity": 3, "nre": 5, "reliability": 7, "triplet": 11}
    total = sum(weights[name] * terms[name] for name in weights)
    torch.testing.assert_close(terms["loss"], total)


def test_random_points_come_from_the_generator_alone(network: ALNet) -> None:
    objective, pairs = Objective(network, GRID), batch(torch.eye(3))
    first = objective(pairs, generator(5))["loss"]
    torch.rand(7)
    assert objective(pairs, generator(5))["loss"] == first
    assert objective(pairs, generator(6))["loss"] != first


def test_views_that_share_nothing_cost_no_nan() -> None:
    torch.manual_seed(0)
    network = ALIKE("alike-t")
    away = torch.tensor([[1.0, 0, 1000], [0, 1, 0], [0, 0, 1]])
    for config in (GRID, DENSE):
        network.zero_grad()
        terms = Objective(network, config)(batch(away), generator())
        terms["loss"].backward()
        assert all(torch.isfinite(term) for term in terms.values())
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_depth_pairs_give_the_same_losses_as_the_homography_of_a_plane(network: ALNet) -> None:
    """A frontal plane, the camera moved sideways: both ways of warping are the same."""
    shift = torch.tensor([[1.0, 0, 8], [0, 1, 0], [0, 0, 1]])
    by_homography = batch(shift, count=1)
    motion = torch.eye(4)
    motion[0, 3] = 8 * 2.0 / 100  # 8 px at 2 m with focal length 100
    K = torch.tensor([[100.0, 0, 63.5], [0, 100, 47.5], [0, 0, 1]])
    depth = torch.full((1, 96, 128), 2.0)
    by_depth = by_homography | {
        "depth0": depth,
        "depth1": depth,
        "K0": K[None],
        "K1": K[None],
        "view1_from_view0": motion[None],
    }
    objective = Objective(network, GRID)
    first, second = objective(by_homography, generator()), objective(by_depth, generator())
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=1e-3, rtol=1e-3)


def test_only_what_has_left_the_picture_is_sought_outside(network: ALNet) -> None:
    """Three points of a dense map by hand: seen, left, and hidden or of unknown depth."""
    torch.manual_seed(0)
    height, width = 8, 10
    unit = torch.nn.functional.normalize
    own = unit(torch.randn(3, 4), dim=1).requires_grad_()
    grid = unit(torch.randn(height * width, 4), dim=1)
    points_there = torch.tensor([[4.0, 5], [90, 5], [6, 2]])
    visible, left = torch.tensor([True, False, False]), torch.tensor([False, True, False])
    scores = torch.rand(height, width)
    nothing = torch.zeros(0)
    view = View(
        scores, nothing, nothing, nothing, own[:, :2], nothing, points_there, visible, left
    )
    guest = grid[5 * width + 4][None]
    here, there = Description(own, nothing, grid, nothing), Description(own, guest, grid, nothing)
    nre = Objective(network, DENSE).description_terms(view, view, here, there)["nre"]
    logits = (own @ grid.T - 1) / DENSE.t_des
    total = torch.cat([logits, torch.zeros(3, 1)], dim=1).logsumexp(1)
    torch.testing.assert_close(nre, (total[0] - logits[0, 5 * width + 4] + total[1]) / 2)
    (gradient,) = torch.autograd.grad(nre, own)
    assert gradient[0].any() and gradient[1].any() and not gradient[2].any()


def test_points_compete_and_weigh_where_they_are(network: ALNet) -> None:
    """Three points of the source by hand, of which two are seen; the grid has two pixels."""
    torch.manual_seed(0)
    unit = torch.nn.functional.normalize
    own, grid, theirs, guests = (unit(torch.randn(n, 4), dim=1) for n in (3, 2, 2, 2))
    score_map0, score_map1 = torch.rand(2, 20, 30)
    points = torch.tensor([[4.0, 5], [20, 10], [11, 2]])
    points_there = torch.tensor([[7.0, 12], [16, 4], [90, 9]])
    visible = torch.tensor([True, True, False])
    nothing = torch.zeros(0)
    source = View(
        score_map0, nothing, nothing, nothing, points, nothing, points_there, visible, ~visible
    )
    target = source._replace(
        score_map=score_map1, points=torch.tensor([[20.0, 10], [9, 12]]), points_there=nothing
    )
    pixels = torch.tensor([[8.0, 12], [25, 3]])
    here = Description(own, nothing, nothing, nothing)
    there = Description(theirs, guests, grid, pixels)
    terms = Objective(network, GRID).description_terms(source, target, here, there)
    # of the target, the first pixel and the second point are too near to (7, 12) to compete
    first = torch.stack([guests[0], grid[1], theirs[0]]) @ own[0]
    second = torch.stack([guests[1], *grid, *theirs]) @ own[1]
    log_probability = torch.stack([(x / GRID.t_des).log_softmax(0)[0] for x in (first, second)])
    torch.testing.assert_close(terms["nre"], -log_probability.mean())
    weight = torch.stack(
        [score_map0[5, 4] * score_map1[12, 7], score_map0[10, 20] * score_map1[4, 16]]
    )
    unreliable = 1 - log_probability.exp()
    expected = (unreliable * weight).sum() / weight.sum()
    torch.testing.assert_close(terms["reliability"], expected)


def test_keypoints_near_the_border_have_their_whole_window(network: ALNet) -> None:
    """Refined, they may be nearer to it than a window reaches."""
    levels = network.levels(to_float(batch(torch.eye(3), count=1)["image0"]))
    score_map = network.score_map(levels, 96, 128)[0, 0]
    nothing = torch.zeros(0)

    def pull(*keypoints: list[float]) -> Tensor:
        points = torch.tensor(keypoints)
        view = View(score_map, points, torch.ones(len(points)), *[nothing] * 6)
        return Objective(network, GRID).stretch(levels, [view])

    assert pull([1.2, 40.0], [126.4, 94.9]) == pull([2.0, 40.0], [125.0, 93.0]) > 0


def test_random_points_near_better_ones_are_thinned(network: ALNet) -> None:
    pairs = batch(torch.eye(3))
    pair = {name: value[0] for name, value in pairs.items()}
    levels = network.levels(to_float(pairs["image0"][:1]))
    score_map = network.score_map(levels, 96, 128)[0, 0]
    config = replace(GRID, random_points=400)
    everything = Objective(network, config).view(score_map, pair, 0, generator())
    config = replace(config, thin_radius=4.0)
    thinned = Objective(network, config).view(score_map, pair, 0, generator())
    count = len(thinned.keypoints)
    assert len(everything.points) == count + 400
    low, high = everything.points[count:].aminmax(dim=0)
    assert (low < 5).all() and (high > torch.tensor([122, 90])).all()
    assert (low >= 0).all() and (high <= torch.tensor([127, 95])).all()
    random = thinned.points[count:]
    assert 20 < len(random) < 400
    distance = torch.cdist(random, random) + 1e3 * torch.eye(len(random))
    assert distance.min() > 4.0
    assert torch.equal(thinned.points[:count], thinned.keypoints)


def test_grid_covers_the_map_in_every_phase(network: ALNet) -> None:
    score_map = torch.zeros(30, 50)
    seen = set()
    for seed in range(200):
        pixels = Objective(network, GRID).grid(score_map, generator(seed))
        assert (pixels >= 0).all() and (pixels < torch.tensor([50, 30])).all()
        seen.add(tuple(pixels[0].tolist()))
        gaps = pixels[:, 0].unique().diff()
        assert (gaps == 8).all()
    assert len(seen) > 55  # of 64
    assert len(Objective(network, DENSE).grid(score_map, generator())) == 30 * 50


def test_images_arrive_in_zero_to_one() -> None:
    image = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    torch.testing.assert_close(to_float(image).flatten(), torch.tensor([0.0, 0.2, 1.0]))
