"""ALNet: image -> score map and descriptor map (Zhao et al. 2022, section III-A)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Images are padded at the bottom and right to multiples of this, the stride of the last level.
STRIDE = 32


@dataclass(frozen=True)
class Variant:
    """Channels of one published network size."""

    channels: tuple[int, int, int, int]
    dim: int
    single_head: bool


VARIANTS = {
    "alike-t": Variant((8, 16, 32, 64), 64, True),
    "alike-s": Variant((8, 16, 48, 96), 96, True),
    "alike-n": Variant((16, 32, 64, 128), 128, True),
    "alike-l": Variant((32, 64, 128, 128), 128, False),
}


class ConvBlock(nn.Module):
    """Two 3x3 convolutions, each with batch norm and ReLU."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, h, w) -> (B, c_out, h, w)."""
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)))


class ResBlock(ConvBlock):
    """A ConvBlock with a 1x1 convolution on the skip connection."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out)
        self.downsample = nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, h, w) -> (B, c_out, h, w)."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ALNet(nn.Module):
    """Encoder, aggregation and head.

    `levels` and what follows from it is the factored form: upsampling and a 1x1 convolution are
    both linear, so they commute, and no map of dim x H x W is made. `forward` is the dense form as
    published.
    """

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        c1, c2, c3, c4 = variant.channels
        dim = variant.dim
        self.dim = dim
        self.block1 = ConvBlock(3, c1)
        self.block2 = ResBlock(c1, c2)
        self.block3 = ResBlock(c2, c3)
        self.block4 = ResBlock(c3, c4)
        self.conv1 = nn.Conv2d(c1, dim // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(c2, dim // 4, 1, bias=False)
        self.conv3 = nn.Conv2d(c3, dim // 4, 1, bias=False)
        self.conv4 = nn.Conv2d(c4, dim // 4, 1, bias=False)
        self.convhead1 = None if variant.single_head else nn.Conv2d(dim, dim, 1, bias=False)
        self.convhead2 = nn.Conv2d(dim, dim + 1, 1, bias=False)

    def levels(self, image: Tensor) -> list[Tensor]:
        """RGB (B, 3, H, W) in [0, 1] -> four maps (B, dim/4, h, w) at strides 1, 2, 8, 32.

        H and W of the levels are those of the image padded to multiples of 32.
        """
        height, width = image.shape[-2:]
        x = F.pad(image, (0, -width % STRIDE, 0, -height % STRIDE))
        x1 = self.block1(x)  # (B, c1, H, W)
        x2 = self.block2(F.max_pool2d(x1, 2))  # (B, c2, H/2, W/2)
        x3 = self.block3(F.max_pool2d(x2, 4))  # (B, c3, H/8, W/8)
        x4 = self.block4(F.max_pool2d(x3, 4))  # (B, c4, H/32, W/32)
        return [
            F.relu(self.conv1(x1)),
            F.relu(self.conv2(x2)),
            F.relu(self.conv3(x3)),
            F.relu(self.conv4(x4)),
        ]

    def score_map(
        self, levels: list[Tensor], height: int, width: int, stretched: bool = True
    ) -> Tensor:
        """Levels -> scores (B, 1, height, width) in (0, 1).

        Not stretched, cells are where they see the image; the published network puts the outer
        ones on its border, half a cell further out.
        """
        if self.convhead1 is not None:  # the head is not linear: only the dense form exists
            head = self.convhead2(F.relu(self.convhead1(_aggregate(levels, stretched))))
            return torch.sigmoid(head[:, -1:, :height, :width])
        weights = self.convhead2.weight[-1:].chunk(4, dim=1)  # four of (1, dim/4, 1, 1)
        logits = [F.conv2d(level, w) for level, w in zip(levels, weights, strict=True)]
        size = levels[0].shape[-2:]
        total = logits[0] + sum(_upsample(logit, size, stretched) for logit in logits[1:])
        return torch.sigmoid(total[:, :, :height, :width])

    def describe(self, levels: list[Tensor], keypoints: Tensor) -> Tensor:
        """Levels and keypoints (B, N, 2) in pixels (x, y) -> unit descriptors (B, N, dim).

        Equals bilinear sampling of the dense descriptor map: heads are applied and descriptors
        normalised at the four pixels around each keypoint, then interpolated.
        """
        corners, weights = _corners(keypoints, levels[0].shape[-2:])  # (B, N, 4, 2), (B, N, 4)
        dense = self.describe_pixels(levels, corners.flatten(1, 2))
        dense = dense.reshape(*weights.shape, dense.shape[-1])  # (B, N, 4, dim)
        return F.normalize((weights.unsqueeze(-1) * dense).sum(2), dim=-1)

    def describe_pixels(self, levels: list[Tensor], pixels: Tensor) -> Tensor:
        """The dense descriptor map at whole pixels (B, N, 2) (x, y) -> (B, N, dim)."""
        sampled = sample(levels, pixels, levels[0].shape[-2:])  # (B, N, dim)
        if self.convhead1 is not None:
            sampled = F.relu(sampled @ self.convhead1.weight.flatten(1).T)
        return F.normalize(sampled @ self.convhead2.weight[:-1].flatten(1).T, dim=-1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """RGB (B, 3, H, W) in [0, 1] -> scores (B, 1, H, W), unit descriptors (B, dim, H, W)."""
        return self.dense(self.levels(image), *image.shape[-2:])

    def dense(self, levels: list[Tensor], height: int, width: int) -> tuple[Tensor, Tensor]:
        """Levels -> scores (B, 1, height, width), unit descriptors (B, dim, height, width)."""
        features = _aggregate(levels)
        if self.convhead1 is not None:
            features = F.relu(self.convhead1(features))
        head = self.convhead2(features)[:, :, :height, :width]
        return torch.sigmoid(head[:, -1:]), F.normalize(head[:, :-1], dim=1)


def _upsample(x: Tensor, size: torch.Size, stretched: bool) -> Tensor:
    return F.interpolate(x, size=list(size), mode="bilinear", align_corners=stretched)


def _aggregate(levels: list[Tensor], stretched: bool = True) -> Tensor:
    size = levels[0].shape[-2:]
    upsampled = (_upsample(level, size, stretched) for level in levels[1:])
    return torch.cat([levels[0], *upsampled], dim=1)


def _corners(keypoints: Tensor, size: torch.Size) -> tuple[Tensor, Tensor]:
    """The four pixels around each keypoint (B, N, 4, 2) and their bilinear weights (B, N, 4)."""
    height, width = size
    limit = keypoints.new_tensor([width - 2, height - 2])
    low = torch.minimum(keypoints.detach().floor().clamp(min=0), limit)
    fx, fy = (keypoints - low).unbind(-1)
    offsets = keypoints.new_tensor([[0, 0], [1, 0], [0, 1], [1, 1]])
    weights = torch.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], dim=-1)
    return low.unsqueeze(2) + offsets, weights


def sample(levels: list[Tensor], points: Tensor, size: torch.Size) -> Tensor:
    """Maps (B, C_i, h_i, w_i) sampled at points (B, N, 2) in pixels of `size` -> (B, N, sum C_i).

    Bilinear, pixel centres at integers, corners of all maps aligned with those of `size`.
    """
    height, width = size
    grid = points * points.new_tensor([2 / (width - 1), 2 / (height - 1)]) - 1
    grid = grid.unsqueeze(1)  # (B, 1, N, 2)
    return torch.cat(
        [
            F.grid_sample(x, grid, align_corners=True, padding_mode="border")[:, :, 0].mT
            for x in levels
        ],
        dim=-1,
    )
