"""The network in int8, for OpenVINO: made once by a fit, kept in the bundle.

NNCF watches what the good pictures do inside the network and chooses each layer's scale from it, so
the graph belongs to the bundle as its memory bank does: a worker needs neither weights nor NNCF.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.core.errors import ConfigError
from stream.model.extractor import convert
from stream.model.patchcore.spec import FeatureSpec, StoredGraph

#: Pictures whose activations are watched; more change little.
PICTURES = 300


def quantized(spec: FeatureSpec, images: NDArray[np.uint8], weights: Path | None) -> StoredGraph:
    """Return the graph of `spec` in int8.

    Args:
        spec: of the float32 features.
        images: (N, S, S, 3) uint8 RGB, good pictures.
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
    nncf.set_log_level(logging.ERROR)
    model = nncf.quantize(
        convert(spec, weights),
        nncf.Dataset([image[None] for image in images[:PICTURES]]),
        subset_size=min(PICTURES, len(images)),
    )
    # Names count on from whatever the process made before; the same fit is to write the same bytes.
    model.set_friendly_name("patch features")
    for number, operation in enumerate(model.get_ordered_ops()):
        operation.set_friendly_name(f"{operation.get_type_name()}{number}")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "graph.xml")
        openvino.save_model(model, path, compress_to_fp16=False)
        return StoredGraph(path.read_bytes(), path.with_suffix(".bin").read_bytes())
