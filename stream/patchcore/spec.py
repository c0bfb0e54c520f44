"""What makes two sets of patch features comparable."""

from __future__ import annotations

import hashlib

import msgspec


class FeatureSpec(msgspec.Struct, frozen=True):
    """Everything that decides the features of a picture; bundles with equal specs share a backbone pass.

    Attributes:
        backbone: name, e.g. `efficientnet_lite0`.
        weights_sha256: hash of the weights of the cut backbone.
        levels: which levels of the feature pyramid, fine to coarse.
        size_px: edge of the square network input.
        neighbourhood: p of the locally aware patch features.
        stride: s, distance of patches on the finest level's grid.
        preprocessing: version of the pixel path, `patchcore.preprocess.PREPROCESSING`.
    """

    backbone: str
    weights_sha256: str
    levels: tuple[int, ...]
    size_px: int
    neighbourhood: int
    stride: int
    preprocessing: str

    @property
    def key(self) -> str:
        """SHA-256 over all fields."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()
