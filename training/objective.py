"""The network together with its losses: a batch of pairs in, the terms of the loss out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from alike_ros.network.alnet import ALNet
from alike_ros.network.detection import RADIUS, detect, sample_scores, soft_argmax
from training import losses
from training.config import LossConfig
from training.warp import warp_pair

Batch = Mapping[str, Tensor]
#: Along which axes a picture is mirrored: from left to right, upside down, or both.
MIRRORS = ((-1,), (-2,), (-2, -1))


class View(NamedTuple):
    """One image of a pair: what was detected in it, and where the other view sees it."""

    score_map: Tensor  # (H, W)
    keypoints: Tensor  # (K, 2) detected, differentiable
    scores: Tensor  # (K,)
    dispersity: Tensor  # (K,)
    points: Tensor  # (N, 2) the K keypoints and random ones, no gradient
    keypoints_there: Tensor  # (K, 2) in the other view, NaN if not visible, differentiable
    points_there: Tensor  # (N, 2) in the other view, no gradient
    visible: Tensor  # (N,) whether the other view sees the points
    left: Tensor  # (N,) whether they are outside of it


class Description(NamedTuple):
    """Descriptors that one image has at different places."""

    own: Tensor  # (N, D) at the view's points
    guests: Tensor  # (V, D) at the visible points of the other view
    grid: Tensor  # (M, D) at `pixels`, which points have to be told from
    pixels: Tensor  # (M, 2) every pixel, or some


class Objective(nn.Module):
    """Makes losses of batches; its `forward` is what Fabric wraps and distributes."""

    def __init__(self, network: ALNet, config: LossConfig) -> None:
        super().__init__()
        self.network = network
        self.config = config

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean over the pairs of each unweighted term, and `loss`, their weighted sum."""
        axes = MIRRORS[int(torch.randint(len(MIRRORS), (), generator=generator))]
        mirrored = batch["image0"][: int(self.config.mirror > 0)].flip(axes)
        images = torch.cat([batch["image0"], batch["image1"], mirrored])
        levels = self.network.levels(to_float(images))
        with torch.autocast(images.device.type, enabled=False):  # scores need their 24 bits
            levels = [level.float() for level in levels]
            count = 2 * len(batch["image0"])
            terms, views = self.terms([level[:count] for level in levels], batch, generator)
            if self.config.mirror > 0:
                terms["mirror"] = self.mirror([level[count:] for level in levels], views[0], axes)
            if self.config.blank > 0:
                terms["blank"] = self.blank(batch["image0"], generator)
        weights = {name: getattr(self.config, name) for name in terms}
        total = [weights[name] * term for name, term in terms.items()]
        return terms | {"loss": torch.stack(total).sum()}

    def terms(
        self, levels: list[Tensor], batch: Batch, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], list[View]]:
        """Mean over the pairs of each unweighted loss, and the views, ordered as the levels'."""
        count = len(batch["image0"])
        score_maps = self.network.score_map(levels, *batch["image0"].shape[-2:])[:, 0]
        pairs = [{name: value[i] for name, value in batch.items()} for i in range(count)]
        views = [
            self.view(score_map, pairs[i % count], i // count, generator)
            for i, score_map in enumerate(score_maps)
        ]
        described = self.describe(levels, views, generator)
        each = [
            self.pair_terms(views[i], views[count + i], described[i], described[count + i])
            for i in range(count)
        ]
        terms = {name: torch.stack([terms[name] for terms in each]).mean() for name in each[0]}
        if self.config.quiet > 0:
            terms["quiet"] = losses.quiet_loss(score_maps, self.config.quiet_cell)
        if self.config.stretch > 0:
            terms["stretch"] = self.stretch(levels, views)
        return terms, views

    def mirror(self, levels: list[Tensor], view: View, axes: tuple[int, ...]) -> Tensor:
        """How far keypoints are from those of the picture mirrored along the axes.

        All keypoints may lie on the same side of what they mark: those of the published alike-t
        do, by a pixel, and hardly any pair of upright views tells.
        """
        score_map = self.network.score_map(levels, *view.score_map.shape)[0, 0].flip(axes)
        keypoints, scores, _ = detect(score_map, self.config.top_k, 0.0)
        here, there = losses.correspondences(
            view.keypoints, keypoints, view.keypoints, keypoints, self.config.max_distance
        )
        return losses.reprojection_loss(
            view.keypoints[here],
            keypoints[there],
            view.keypoints[here],
            keypoints[there],
            view.scores[here],
            scores[there],
        )

    def stretch(self, levels: list[Tensor], views: list[View]) -> Tensor:
        """How far the stretched levels pull the views' keypoints, mean over the views."""
        height, width = views[0].score_map.shape
        true_maps = self.network.score_map(levels, height, width, stretched=False)[:, 0]
        last = true_maps.new_tensor([width, height]).long() - 1 - RADIUS
        pulls = []
        for view, true_map in zip(views, true_maps, strict=True):
            pixels = view.keypoints.detach().round().long().clamp(min=RADIUS).minimum(last)
            pulled, unpulled = (soft_argmax(m, pixels)[0] for m in (view.score_map, true_map))
            pulls.append(losses.stretch_loss(pulled, unpulled, view.scores.detach()))
        return torch.stack(pulls).mean()

    def blank(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Mean score of the best keypoints of a picture of one colour, half as large as a batch's.

        No pair teaches that the border of an empty picture is no place for keypoints: what is at
        the border is seldom in view in the other picture. With the statistics of inference: those
        of a picture without variance are none.
        """
        height, width = (side // 2 for side in like.shape[-2:])
        picture = empty_picture(height, width, generator).to(like.device)
        was_training = self.network.training
        self.network.eval()
        scores = self.network.score_map(self.network.levels(picture), height, width)[0, 0]
        self.network.train(was_training)
        _, found, _ = detect(scores, self.config.top_k, 0.0)
        return losses.mean(found)

    def view(
        self, score_map: Tensor, pair: Batch, source: int, generator: torch.Generator
    ) -> View:
        """Detects keypoints, adds random points, and warps all into the pair's other view."""
        keypoints, scores, dispersity = detect(score_map, self.config.top_k, 0.0)
        height, width = score_map.shape
        extent = torch.tensor([width - 1.0, height - 1.0])
        random = torch.rand(self.config.random_points, 2, generator=generator) * extent
        points = torch.cat([keypoints.detach(), random.to(score_map)])
        if self.config.thin_radius > 0:
            point_scores = sample_scores(score_map.detach(), points)
            kept = losses.thin(points, point_scores, self.config.thin_radius)
            kept[: len(keypoints)] = True  # the maxima of their windows already
            points = points[kept]
        there, visible, _ = warp_pair(keypoints, pair, source)
        there = torch.where(visible[:, None], there, torch.nan)
        warped = warp_pair(points, pair, source)
        return View(score_map, keypoints, scores, dispersity, points, there, *warped)

    def describe(
        self, levels: list[Tensor], views: list[View], generator: torch.Generator
    ) -> list[Description]:
        """Describes all images at once: each call costs gradients as large as the levels."""
        half = len(views) // 2
        others = views[half:] + views[:half]
        guests = [other.points_there[other.visible] for other in others]
        points = [torch.cat([view.points, g]) for view, g in zip(views, guests, strict=True)]
        described = self.network.describe(levels, pad_sequence(points, batch_first=True))
        pixels = [self.grid(view.score_map, generator) for view in views]
        if self.config.nre_map == "dense":
            _, dense = self.network.dense(levels, *views[0].score_map.shape)
            grid = dense.flatten(2).mT  # (B, H * W, D)
        else:
            grid = self.network.describe_pixels(levels, pad_sequence(pixels, batch_first=True))
        return [
            Description(
                described[i, : len(view.points)],
                described[i, len(view.points) : len(points[i])],
                grid[i, : len(pixels[i])],
                pixels[i],
            )
            for i, view in enumerate(views)
        ]

    def grid(self, score_map: Tensor, generator: torch.Generator) -> Tensor:
        """All pixels (M, 2) of a map (H, W), or those in steps of `stride` from a random one."""
        dense = self.config.nre_map == "dense"
        stride = 1 if dense else self.config.stride
        top, left = torch.randint(stride, (2,), generator=generator).tolist()
        height, width = score_map.shape
        rows, columns = torch.arange(top, height, stride), torch.arange(left, width, stride)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        return torch.stack([x, y], dim=-1).reshape(-1, 2).to(score_map)

    def pair_terms(
        self, view0: View, view1: View, described0: Description, described1: Description
    ) -> dict[str, Tensor]:
        """The unweighted losses of one pair."""
        index0, index1 = losses.correspondences(
            view0.keypoints,
            view1.keypoints,
            view0.keypoints_there,
            view1.keypoints_there,
            self.config.max_distance,
        )
        reprojection = losses.reprojection_loss(
            view0.keypoints[index0],
            view1.keypoints[index1],
            view0.keypoints_there[index0],
            view1.keypoints_there[index1],
            view0.scores[index0],
            view1.scores[index1],
        )
        peaks = [losses.dispersity_peak_loss(v.dispersity, v.scores) for v in (view0, view1)]
        there = self.description_terms(view0, view1, described0, described1)
        back = self.description_terms(view1, view0, described1, described0)
        return {
            "reprojection": reprojection,
            "dispersity": (peaks[0] + peaks[1]) / 2,
            **{name: (there[name] + back[name]) / 2 for name in there},
        }

    def description_terms(
        self, source: View, target: View, here: Description, there: Description
    ) -> dict[str, Tensor]:
        """Descriptor and reliability losses in one direction.

        With a grid, the target's own points compete as well, and the reliability is the matching
        probability itself.
        """
        visible, found = source.visible, source.points_there[source.visible]
        similarity = (here.own[visible] * there.guests).sum(1)  # (V,)
        if self.config.nre_map == "dense":
            descriptor_map = there.grid.T.reshape(-1, *target.score_map.shape)  # (D, H, W)
            known = visible | source.left  # of the others nothing tells where they are
            nre = losses.neural_reprojection_error(
                here.own[known],
                descriptor_map,
                source.points_there[known],
                visible[known],
                self.config.t_des,
            )
            reliability = losses.reliability(similarity, self.config.t_rel)
            terms = {"nre": losses.mean(nre)}
        else:
            similarities = here.own[visible] @ torch.cat([there.grid, there.own]).T  # (V, M)
            excluded = (
                torch.cdist(found, torch.cat([there.pixels, target.points]))
                < self.config.exclusion
            )
            log_probability = losses.log_matching_probability(
                similarity, similarities, excluded, self.config.t_des
            )
            reliability = log_probability.exp()
            terms = {"nre": losses.mean(-log_probability)}
            if self.config.triplet > 0:
                hinge = losses.triplet_loss(similarity, similarities, excluded)
                terms["triplet"] = losses.mean(hinge)
        scores0 = sample_scores(source.score_map, source.points[visible])
        scores1 = sample_scores(target.score_map, found)
        return terms | {"reliability": losses.reliability_loss(reliability, scores0, scores1)}


def to_float(images: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) -> [0, 1], in the memory order that convolutions like."""
    return images.to(memory_format=torch.channels_last).float() / 255


def empty_picture(height: int, width: int, generator: torch.Generator) -> Tensor:
    """(1, 3, H, W) in [0, 1] of one colour and weak noise; a grey half of the time.

    Of the greys a third is black or white, as of a covered lens or a lamp.
    """
    grey, strength = torch.rand(2, generator=generator)
    colour = (1.5 * torch.rand(3, generator=generator) - 0.25).clamp(0, 1)
    colour = colour[:1].expand(3) if grey < 0.5 else colour
    noise = torch.randn(1, 3, height, width, generator=generator)
    picture: Tensor = colour[:, None, None] + 0.03 * strength**2 * noise
    return picture.clamp(0, 1)
