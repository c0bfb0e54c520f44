"""The file of a bundle: one text and named arrays in safetensors, with a checksum over both.

What they mean is defined in `stream.model.bundle`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from stream.core.errors import BundleError, DiskError
from stream.core.files import check_destination, file_sha256, identity, partial_file

_KEY = "patchline"


class StoredFile(NamedTuple):
    """The content of a file.

    Attributes:
        text: the metadata.
        tensors: by name, without those that were left in the file.
        left: names of those, in order.
        intact: whether everything, also what was left, has the checksum that it was written with.
        sha256: of the file.
    """

    text: str
    tensors: dict[str, NDArray[Any]]
    left: list[str]
    intact: bool
    sha256: str


def write_file(path: Path, text: str, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write a file, whole or not at all; the same content gives the same bytes.

    Raises DiskError, also for a pipe or a device: what is written could not be read back.
    """
    check_destination(path)
    metadata = {_KEY: f"{_checksum(text, sorted(tensors.items()))} {text}"}
    try:
        with partial_file(path) as partial:
            save_file(dict(tensors), partial, metadata=metadata)
    except SafetensorError as error:  # its own kind for a full disk, too
        raise DiskError(f"{path}: cannot be written: {error}") from None


def read_file(path: Path, *, leave: str) -> StoredFile:
    """Read a file; tensors whose names begin with `leave` are checked one by one, but not kept in memory.

    Raises:
        BundleError: missing, truncated, not a bundle, or replaced while it was being read.
    """
    left: list[str] = []
    tensors: dict[str, NDArray[Any]] = {}
    if path.exists() and not path.is_file():  # a pipe would be waited for without end
        raise BundleError(f"{path}: not a file; name a bundle that `patchline fit` has written")
    try:
        before = identity(path)
        with safe_open(path, framework="numpy") as file:
            stored = (file.metadata() or {}).get(_KEY)
            if stored is None:
                raise BundleError(
                    f"{path}: a safetensors file, but not a PatchLine bundle; make one with `patchline fit`"
                )
            checksum, _, text = stored.partition(" ")

            def all_tensors() -> Iterable[tuple[str, NDArray[Any]]]:
                for name in sorted(file.keys()):
                    tensor = _tensor(path, file, name)
                    if name.startswith(leave):
                        left.append(name)
                    else:
                        tensors[name] = tensor
                    yield name, tensor

            intact = checksum == _checksum(text, all_tensors())
    except FileNotFoundError:
        raise BundleError(f"{path}: no such bundle; make it with `patchline fit GOOD_DIR -o {path}`") from None
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path}: truncated, damaged or not a bundle ({error}); copy or fit it again") from None
    try:
        sha256 = file_sha256(path)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from None
    if identity(path) != before:  # the hash must name the content that was read
        raise BundleError(f"{path}: was replaced while it was being read; try again")
    return StoredFile(text, tensors, left, intact, sha256)


def read_left(path: Path, stored_sha256: str, *, left: str | tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Return the tensors that `read_file` left in the file and whose names begin so, by name, in their order.

    Raises:
        BundleError: the file is gone, or no longer the one with that hash.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            remaining = {name: _tensor(path, file, name) for name in sorted(file.keys()) if name.startswith(left)}
        unchanged = file_sha256(path) == stored_sha256
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path}: cannot be read: {error}") from None
    if not unchanged:
        raise BundleError(f"{path}: was replaced while it was being read; try again")
    return remaining


def _tensor(path: Path, file: Any, name: str) -> NDArray[Any]:
    """Return a tensor of an open file; raises BundleError for a type that numpy does not have, such as bfloat16."""
    try:
        tensor: NDArray[Any] = file.get_tensor(name)
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise BundleError(
            f"{path}: damaged or not of this release: tensor '{name}' has a type that cannot be read ({error}); "
            "fit it again"
        ) from None
    return tensor


def _checksum(text: str, tensors: Iterable[tuple[str, NDArray[Any]]]) -> str:
    """Hash the content of a bundle: metadata, then name, shape and values of each tensor, in order of their names."""
    digest = hashlib.sha256(text.encode())
    for name, tensor in tensors:
        digest.update(f"{name}{tensor.shape}{tensor.dtype}".encode())
        digest.update(np.ascontiguousarray(tensor).data.cast("B") if tensor.size else b"")
    return digest.hexdigest()
