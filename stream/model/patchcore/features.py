"""Locally aware patch features (paper section 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

if TYPE_CHECKING:
    from stream.model.patchcore.backbones import Backbone


class PatchFeatures(nn.Module):
    """Network pixels to patch features, normalisation included, so that one graph does all of it.

    Each level is averaged over the p×p neighbourhood of every position, at distance s. Positions outside the
    map count as zeros, as in the reference implementation: they damp the features of border patches, which
    would otherwise differ most from picture to picture. The coarser levels are resized bilinearly to the grid of
    the finest and the channels concatenated.
    """

    def __init__(
        self, backbone: Backbone, *, neighbourhood: int, stride: int, dtype: torch.dtype = torch.float32
    ) -> None:
        """Take over a backbone; `dtype` is the precision of its network, pixels and features stay float32."""
        super().__init__()
        self.network = backbone.network.to(dtype)
        self.dtype = dtype
        self.neighbourhood = neighbourhood
        self.stride = stride
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", torch.tensor([1 / (255 * s) for s in backbone.std]).view(1, 3, 1, 1))
        self.register_buffer(
            "shift",
            torch.tensor([-m / s for m, s in zip(backbone.mean, backbone.std, strict=True)]).view(1, 3, 1, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 RGB → (N, h, w, D) float32, D = sum of the levels' channels."""
        x = (images.permute(0, 3, 1, 2).float() * self.scale + self.shift).to(self.dtype)
        levels = [pool(level, self.neighbourhood, self.stride) for level in self.network(x)]
        grid = levels[0].shape[-2:]
        fine = [levels[0]] + [
            F.interpolate(level, size=grid, mode="bilinear", align_corners=False) for level in levels[1:]
        ]
        return torch.cat(fine, dim=1).permute(0, 2, 3, 1).float()


def pool(level: Tensor, neighbourhood: int, stride: int) -> Tensor:
    """Average (N, C, h, w) over the p×p neighbourhood of every s-th position; outside the map are zeros.

    Computed as the average inside the map, scaled by the share of the neighbourhood that lies inside: the same
    values, but in integers, too, where quantisation gives the padding's zero another value.
    """
    average = F.avg_pool2d(
        level, kernel_size=neighbourhood, stride=stride, padding=neighbourhood // 2, count_include_pad=False
    )
    # A constant of the graph: compilers do not fold a pool of ones, and cannot compute one in bfloat16.
    down, along = (_inside(size, neighbourhood, stride) for size in level.shape[-2:])
    return average * (down[:, None] * along / neighbourhood**2).to(level)


def _inside(size: int, neighbourhood: int, stride: int) -> Tensor:
    """Return how many positions of each neighbourhood along an edge of `size` lie inside the map, (positions,)."""
    begin = torch.arange(0, size + 2 * (neighbourhood // 2) - neighbourhood + 1, stride) - neighbourhood // 2
    return (begin + neighbourhood).clamp(max=size) - begin.clamp(min=0)
