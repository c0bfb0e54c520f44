"""The installed versions of the libraries that decide scores and speed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

_LIBRARIES = ("patchline", "torch", "torchvision", "timm", "openvino", "faiss-cpu", "faiss-gpu", "numpy")


def library_versions(*more: str) -> dict[str, str]:
    """Return the versions of PatchLine, its libraries and `more` packages, without those that are not installed."""
    versions = {}
    for package in (*_LIBRARIES, *more):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
