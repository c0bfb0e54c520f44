"""What makes two sets of patch features comparable."""

from __future__ import annotations

import hashlib
from typing import Annotated, NamedTuple

import msgspec

from stream.model.patchcore.tiles import Tiles

#: A number of something that a bundle cannot be without.
Count = Annotated[int, msgspec.Meta(ge=1, le=2**31)]


class StoredGraph(NamedTuple):
    """An OpenVINO graph as stored in a bundle: model text and weights."""

    model: bytes
    weights: bytes

    @property
    def sha256(self) -> str:
        """Hash over both."""
        return hashlib.sha256(self.model + self.weights).hexdigest()


class FeatureSpec(msgspec.Struct, frozen=True):
    """Everything that decides the features of an image; bundles with equal specs share a backbone pass.

    Attributes:
        backbone: name, e.g. `efficientnet_lite0`.
        weights_sha256: hash of the weights of the cut backbone.
        levels: names of the backbone's levels, fine to coarse: `stride8` of a pyramid, `block6` of tokens.
        input_px: (width, height) of a part's network input, which holds all tiles.
        neighbourhood: p of the locally aware patch features.
        stride: s, distance of patches on the finest level's grid.
        preprocessing: version of the pixel path, `patchcore.preprocess.PREPROCESSING`.
        channels: of each level.
        graph_sha256: hash of the int8 graph in the bundle; empty: the features are those of the float32 weights.
        tiles: how the network input is cut; None: the network takes it whole.
    """

    backbone: str
    weights_sha256: str
    levels: tuple[str, ...]
    input_px: tuple[Count, Count]
    neighbourhood: Count
    stride: Count
    preprocessing: str
    channels: tuple[int, ...]
    graph_sha256: str = ""
    tiles: Tiles | None = None

    @property
    def network_px(self) -> tuple[int, int]:
        """(width, height) of one pass of the network: of a tile, or of all."""
        return self.input_px if self.tiles is None else self.tiles.tile_px

    @property
    def level_dims(self) -> tuple[int, ...]:
        """Number of features of each level, then of the tiles' coordinates where these have banks of their own."""
        return (*self.channels, self.coordinates) if self.coordinates else self.channels

    @property
    def coordinates(self) -> int:
        """Number of features that tell the tiles apart, where these have banks of their own; 0: there is one bank."""
        return 0 if self.tiles is None else self.tiles.coordinates

    @property
    def of_one_pass(self) -> FeatureSpec:
        """What decides the features of one tile."""
        return msgspec.structs.replace(self, input_px=self.network_px, tiles=None)

    @property
    def key(self) -> str:
        """SHA-256 over all fields."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()
