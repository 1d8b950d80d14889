"""Where points of one view lie in the other, by a homography or by depth and pose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]

#: Depths that differ by more than this share belong to different surfaces.
DEPTH_TOLERANCE = 0.05
#: Points nearer to the border than this are not followed: nothing is detected there.
BORDER = 3


class Warped(NamedTuple):
    """Where points are in the other view, and what is known of them there.

    Neither is true of points that are hidden, too near to the border or of unknown depth.
    """

    points: Tensor  # (N, 2)
    visible: Tensor  # (N,) the other view shows them
    left: Tensor  # (N,) they are outside of its picture


def warp_homography(points: Tensor, target_from_source: Tensor, size: Size) -> Warped:
    """Points (N, 2) by a homography (3, 3).

    `size` is the target's (height, width). Differentiable with respect to the points.
    """
    homogeneous = torch.cat([points, torch.ones_like(points[:, :1])], dim=1)
    warped = homogeneous @ target_from_source.to(points).T  # (N, 3)
    in_front = warped[:, 2] > 1e-6
    scale = torch.where(in_front, warped[:, 2], 1)
    warped = warped[:, :2] / scale[:, None]
    left = ~(in_front & inside(warped, size, border=-0.5))
    return Warped(warped, in_front & inside(warped, size), left)


def warp_depth(
    points: Tensor,
    depth_source: Tensor,
    depth_target: Tensor,
    K_source: Tensor,
    K_target: Tensor,
    target_from_source: Tensor,
) -> Warped:
    """Points (N, 2) by depth (H, W) in metres and pose (4, 4).

    A point is visible if its depth is known, it lands inside the target, and the target's depth
    there is known and agrees: what is farther than the target's surface is occluded. The depth at
    a point is bilinear and differentiable; it is unknown (NaN) where one of its four pixels is.
    """
    depth = sample_depth(depth_source, points)
    known = depth > 0  # False for NaN
    depth = torch.where(known, depth, 1)
    homogeneous = torch.cat([points, torch.ones_like(points[:, :1])], dim=1)
    in_source = homogeneous @ K_source.to(points).inverse().T * depth[:, None]
    pose = target_from_source.to(points)
    in_target = in_source @ pose[:3, :3].T + pose[:3, 3]
    in_front = in_target[:, 2] > 1e-6
    z = torch.where(in_front, in_target[:, 2], 1)
    warped = (in_target / z[:, None]) @ K_target.to(points).T
    warped = warped[:, :2]
    size = (depth_target.shape[0], depth_target.shape[1])
    left = known & ~(in_front & inside(warped, size, border=-0.5))
    visible = known & in_front & inside(warped, size)
    there = sample_depth(depth_target, warped.detach())
    agrees = (there - z).abs() < DEPTH_TOLERANCE * z  # False for NaN
    return Warped(warped, visible & agrees, left)


def warp_pair(points: Tensor, pair: Mapping[str, Tensor], source: int) -> Warped:
    """Warps points (N, 2) of view `source` (0 or 1) of a pair into its other view.

    A pair with depths is warped by them, otherwise view1_from_view0 is a homography.
    """
    target = 1 - source
    target_from_source = pair["view1_from_view0"]
    if source == 1:
        target_from_source = torch.linalg.inv(target_from_source.double()).to(points)
    if "depth0" in pair:
        return warp_depth(
            points,
            pair[f"depth{source}"],
            pair[f"depth{target}"],
            pair[f"K{source}"],
            pair[f"K{target}"],
            target_from_source,
        )
    height, width = pair[f"image{target}"].shape[-2:]
    return warp_homography(points, target_from_source, (height, width))


def inside(points: Tensor, size: Size, border: float = BORDER) -> Tensor:
    """Whether points (N, 2) lie inside a picture of `size` (height, width), off its border.

    A border of -0.5 is the rim of the picture: that of the outermost pixels.
    """
    limit = points.new_tensor([size[1] - 1 - border, size[0] - 1 - border])
    return ((points >= border) & (points <= limit)).all(1)


def sample_depth(depth: Tensor, points: Tensor) -> Tensor:
    """Depth (H, W) at points (N, 2), bilinear -> (N,); NaN outside or next to an unknown pixel."""
    height, width = depth.shape
    grid = points * points.new_tensor([2 / (width - 1), 2 / (height - 1)]) - 1
    within = (grid.abs() <= 1).all(1)
    grid = grid.nan_to_num(2.0).clamp(-1, 1)[None, None]
    # NaN in the map itself would come back as the gradient of points that no loss is taken at
    unknown = (~(depth > 0)).to(points)
    filled = torch.where(depth > 0, depth, 1).to(points)
    sampled = F.grid_sample(filled[None, None], grid, align_corners=True)[0, 0, 0]
    missing = F.grid_sample(unknown[None, None], grid.detach(), align_corners=True)[0, 0, 0]
    return torch.where(within & (missing == 0), sampled, torch.nan)
