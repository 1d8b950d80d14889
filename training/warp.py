"""Where points of one view lie in the other, by a homography or by depth and pose."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]

#: Depths that differ by more than this share belong to different surfaces.
DEPTH_TOLERANCE = 0.05
#: Points nearer to the border than this are not followed: nothing is detected there.
BORDER = 3


def warp_homography(
    points: Tensor, target_from_source: Tensor, size: Size
) -> tuple[Tensor, Tensor]:
    """Points (N, 2) by a homography (3, 3) -> points (N, 2) and whether they are visible (N,).

    `size` is the target's (height, width). Differentiable with respect to the points.
    """
    homogeneous = torch.cat([points, torch.ones_like(points[:, :1])], dim=1)
    warped = homogeneous @ target_from_source.to(points).T  # (N, 3)
    in_front = warped[:, 2] > 1e-6
    scale = torch.where(in_front, warped[:, 2], 1)
    warped = warped[:, :2] / scale[:, None]
    return warped, in_front & inside(warped, size)


def warp_depth(
    points: Tensor,
    depth_source: Tensor,
    depth_target: Tensor,
    K_source: Tensor,
    K_target: Tensor,
    target_from_source: Tensor,
) -> tuple[Tensor, Tensor]:
    """Points (N, 2) by depth (H, W) in metres and pose (4, 4) -> points (N, 2), visible (N,).

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
    visible = known & in_front & inside(warped, (depth_target.shape[0], depth_target.shape[1]))
    there = sample_depth(depth_target, warped.detach())
    agrees = (there - z).abs() < DEPTH_TOLERANCE * z  # False for NaN
    return warped, visible & agrees


def warp_pair(points: Tensor, pair: Mapping[str, Tensor], source: int) -> tuple[Tensor, Tensor]:
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


def inside(points: Tensor, size: Size) -> Tensor:
    """Whether points (N, 2) lie inside a picture of `size` (height, width), off its border."""
    limit = points.new_tensor([size[1] - 1 - BORDER, size[0] - 1 - BORDER])
    return ((points >= BORDER) & (points <= limit)).all(1)


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
