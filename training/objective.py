"""The network together with its losses: a batch of pairs in, the terms of the loss out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from alike_ros.network.alnet import ALNet
from alike_ros.network.detection import detect, sample_scores
from training import losses
from training.config import LossConfig
from training.warp import warp_pair

Batch = Mapping[str, Tensor]


class View(NamedTuple):
    """One image of a pair, as the network sees it."""

    levels: list[Tensor]  # (1, dim/4, h, w) each
    score_map: Tensor  # (H, W)
    keypoints: Tensor  # (K, 2) detected, differentiable
    scores: Tensor  # (K,)
    dispersity: Tensor  # (K,)
    points: Tensor  # (N, 2) the K keypoints and random ones, no gradient


class Seen(NamedTuple):
    """The points of one view in the other."""

    keypoints: Tensor  # (K, 2) detected keypoints warped, NaN if not visible, differentiable
    points: Tensor  # (N, 2) all points warped, no gradient
    visible: Tensor  # (N,)


class Objective(nn.Module):
    """Makes losses of batches; its `forward` is what Fabric wraps and distributes."""

    def __init__(self, network: ALNet, config: LossConfig) -> None:
        super().__init__()
        self.network = network
        self.config = config

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean over the pairs of each unweighted term, and `loss`, their weighted sum."""
        images = torch.cat([batch["image0"], batch["image1"]])
        levels = self.network.levels(to_float(images))
        with torch.autocast(images.device.type, enabled=False):  # scores need their 24 bits
            levels = [level.float() for level in levels]
            terms = self.terms(levels, batch, generator)
        weights = {name: getattr(self.config, name) for name in terms}
        total = [weights[name] * term for name, term in terms.items()]
        return terms | {"loss": torch.stack(total).sum()}

    def terms(
        self, levels: list[Tensor], batch: Batch, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Mean over the pairs of each unweighted loss."""
        count = len(batch["image0"])
        score_maps = self.network.score_map(levels, *batch["image0"].shape[-2:])[:, 0]
        # split and unbind: indexing would make a gradient of the whole batch per image
        each_levels = zip(*(torch.split(level, 1) for level in levels), strict=True)
        views = [
            self.view(list(levels), score_map, generator)
            for levels, score_map in zip(each_levels, score_maps.unbind(), strict=True)
        ]
        each = []
        for i in range(count):
            pair = {name: value[i] for name, value in batch.items()}
            each.append(self.pair_terms(views[i], views[count + i], pair, generator))
        return {name: torch.stack([terms[name] for terms in each]).mean() for name in each[0]}

    def view(self, levels: list[Tensor], score_map: Tensor, generator: torch.Generator) -> View:
        """Detects keypoints and adds random ones, thinned by score."""
        keypoints, scores, dispersity = detect(score_map, self.config.top_k, 0.0)
        height, width = score_map.shape
        extent = torch.tensor([width - 1.0, height - 1.0])
        random = torch.rand(self.config.random_points, 2, generator=generator) * extent
        random = random.to(score_map)
        if self.config.thin_radius > 0:
            points = torch.cat([keypoints.detach(), random])
            point_scores = torch.cat([scores.detach(), sample_scores(score_map.detach(), random)])
            kept = losses.thin(points, point_scores, self.config.thin_radius)
            kept[: len(keypoints)] = True  # already maxima of their window
            random = random[kept[len(keypoints) :]]
        points = torch.cat([keypoints.detach(), random])
        return View(levels, score_map, keypoints, scores, dispersity, points)

    def pair_terms(
        self, view0: View, view1: View, pair: Batch, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The unweighted losses of one pair."""
        seen0, seen1 = see(view0, pair, 0), see(view1, pair, 1)
        index0, index1 = losses.correspondences(
            view0.keypoints, view1.keypoints, seen0.keypoints, seen1.keypoints
        )
        reprojection = losses.reprojection_loss(
            view0.keypoints[index0],
            view1.keypoints[index1],
            seen0.keypoints[index0],
            seen1.keypoints[index1],
            view0.scores[index0],
            view1.scores[index1],
        )
        peaks = [losses.dispersity_peak_loss(v.dispersity, v.scores) for v in (view0, view1)]
        own0, true0 = self.describe(view0, seen1)
        own1, true1 = self.describe(view1, seen0)
        there = self.description_terms(view0, view1, seen0, own0, true1, own1, generator)
        back = self.description_terms(view1, view0, seen1, own1, true0, own0, generator)
        return {
            "reprojection": reprojection,
            "dispersity": (peaks[0] + peaks[1]) / 2,
            **{name: (there[name] + back[name]) / 2 for name in there},
        }

    def describe(self, view: View, guests: Seen) -> tuple[Tensor, Tensor]:
        """Descriptors (N, D) of a view's points and (V, D) of the other's visible points in it."""
        points = torch.cat([view.points, guests.points[guests.visible]])
        descriptors = self.network.describe(view.levels, points[None])[0]
        return descriptors[: len(view.points)], descriptors[len(view.points) :]

    def description_terms(
        self,
        source: View,
        target: View,
        seen: Seen,
        own: Tensor,
        true: Tensor,
        others: Tensor,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Descriptor and reliability losses in one direction.

        `own` (N, D) are the source's descriptors, `true` (V, D) the target's at the same, visible
        points, `others` (M, D) those at the target's own points.
        """
        visible = seen.visible
        similarity = (own[visible] * true).sum(1)  # (V,)
        if self.config.nre_map == "dense":
            _, descriptor_map = self.network.dense(target.levels, *target.score_map.shape)
            nre = losses.neural_reprojection_error(
                own, descriptor_map[0], seen.points, visible, self.config.t_des
            )
            reliability = losses.reliability(similarity, self.config.t_rel)
            terms = {"nre": losses.mean(nre)}
        else:
            similarities, excluded = self.competitors(
                target, own[visible], seen.points[visible], others, generator
            )
            log_probability = losses.neural_reprojection_error_grid(
                similarity, similarities, excluded, self.config.t_des
            )
            reliability = log_probability.exp()
            terms = {"nre": losses.mean(-log_probability)}
            if self.config.triplet > 0:
                hinge = losses.triplet_loss(similarity, similarities, excluded)
                terms["triplet"] = losses.mean(hinge)
        scores0 = sample_scores(source.score_map, source.points[visible])
        scores1 = sample_scores(target.score_map, seen.points[visible])
        return terms | {"reliability": losses.reliability_loss(reliability, scores0, scores1)}

    def competitors(
        self,
        target: View,
        descriptors: Tensor,
        points: Tensor,
        others: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Similarities (V, M) to a grid of random phase and to the target's own points.

        Also which of them (V, M) are too close to the true points (V, 2) to compete.
        """
        pixels = grid(target.score_map, self.config.stride, generator)
        on_grid = self.network.describe_pixels(target.levels, pixels[None])[0]
        similarities = descriptors @ torch.cat([on_grid, others]).T
        distance = torch.cdist(points, torch.cat([pixels, target.points]))
        return similarities, distance < self.config.exclusion


def see(view: View, pair: Batch, source: int) -> Seen:
    """Warps a view's keypoints (with gradient) and points (without) into the other view."""
    keypoints, visible = warp_pair(view.keypoints, pair, source)
    keypoints = torch.where(visible[:, None], keypoints, torch.nan)
    with torch.no_grad():
        points, visible = warp_pair(view.points, pair, source)
    return Seen(keypoints, points, visible)


def grid(score_map: Tensor, stride: int, generator: torch.Generator) -> Tensor:
    """Pixels (M, 2) of a map (H, W) in steps of `stride` from a random first one."""
    phase = torch.randint(stride, (2,), generator=generator).tolist()
    height, width = score_map.shape
    y, x = torch.meshgrid(
        torch.arange(phase[0], height, stride),
        torch.arange(phase[1], width, stride),
        indexing="ij",
    )
    return torch.stack([x, y], dim=-1).reshape(-1, 2).to(score_map)


def to_float(images: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) -> [0, 1], in the memory order that convolutions like."""
    return images.to(memory_format=torch.channels_last).float() / 255
