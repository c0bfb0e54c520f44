"""The network in int8, for OpenVINO: made once by a fit, stored in the bundle.

NNCF measures the activations of good images and chooses each layer's scale from them, so the graph
belongs to the bundle like its memory bank: a worker needs neither weights nor NNCF.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.core.errors import ConfigError
from stream.model.extractor import convert
from stream.model.patchcore.levels import are_blocks
from stream.model.patchcore.spec import FeatureSpec, StoredGraph

#: Number of images whose activations are measured; more change little.
IMAGES = 300


def quantized(spec: FeatureSpec, images: NDArray[np.uint8], weights: Path | None) -> StoredGraph:
    """Return the graph of `spec` in int8.

    Args:
        spec: of the float32 features.
        images: (N, H, W, 3) uint8 RGB, good images.
        weights: state dict file instead of the published weights.

    Raises:
        ConfigError: OpenVINO or NNCF is not installed.
        WeightsError: see `load_extractor`.
    """
    try:
        import nncf
        import openvino
    except ImportError as error:
        raise ConfigError(
            f"--precision int8: {error.name} is not installed: pip install 'patchline[cpu,int8]'"
        ) from None
    # Of the logger alone: its own function also changes handlers that others have put there.
    logging.getLogger("nncf").setLevel(logging.ERROR)
    if spec.tiles is not None:  # evenly spread over all of them
        tiles = spec.tiles.cut(images)
        images = tiles[np.linspace(0, len(tiles) - 1, min(IMAGES, len(tiles))).astype(np.int64)]
    model = nncf.quantize(
        convert(spec, weights),
        nncf.Dataset([image[None] for image in images[:IMAGES]]),
        subset_size=min(IMAGES, len(images)),
        # Of tokens, a few channels are far larger than all others; they are scaled before they are rounded.
        model_type=nncf.ModelType.TRANSFORMER if are_blocks(spec.levels) else None,
    )
    # OpenVINO numbers names across the process; the same fit must write the same bytes.
    model.set_friendly_name("patch features")
    for number, operation in enumerate(model.get_ordered_ops()):
        operation.set_friendly_name(f"{operation.get_type_name()}{number}")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "graph.xml")
        openvino.save_model(model, path, compress_to_fp16=False)
        return StoredGraph(path.read_bytes(), path.with_suffix(".bin").read_bytes())
