"""Import torchvision beside a CPU build of torch.

Torchvision's wheels register their compiled operators only next to the CUDA build of torch they
were made with. Beside another build the import fails with `operator torchvision::nms does not
exist`, because torchvision (and timm after it) attaches shape functions to two detection operators.
PatchLine uses neither, so declaring their schemas is enough. Where the compiled operators do load,
they have declared themselves already and nothing is done.

Import this module before torchvision or timm.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def _compiled_operators_load() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    libraries = list(Path(spec.origin).parent.glob("_C*.so"))
    try:
        for library in libraries:
            torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return bool(libraries)


#: Kept alive: the schemas are withdrawn when the library object goes.
_library: torch.library.Library | None = None

if not _compiled_operators_load():
    _library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for _schema in _SCHEMAS:
        _library.define(_schema)  # type: ignore[no-untyped-call]
