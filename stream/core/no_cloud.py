"""No process talks to anybody whom the configuration does not name.

Some libraries do so unasked. OpenVINO and NNCF send events with a lasting id of this host to a statistics server when
they are imported, unless `openvino_telemetry` is absent, which is their only switch but for files in the user's home;
huggingface_hub counts its downloads. `stream/__init__.py` calls this before any other module of the package is loaded,
hence in every process, those that `multiprocessing` starts included, before any of these libraries.

Weights that a user asks for by name are downloaded where they are not on this host: see `timm_networks`.
"""

from __future__ import annotations

import os
import sys

#: Packages that only send statistics. Their users have a stand-in for their absence.
_STATISTICS = ("openvino_telemetry",)
#: Environment variables by which libraries send none.
_REFUSALS = ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK")


def refuse_statistics() -> None:
    """Have libraries that are imported from now on send no statistics; in this process and its children."""
    for package in _STATISTICS:
        # Python's way to make an import fail: ModuleNotFoundError.
        sys.modules[package] = None  # type: ignore[assignment]
    for variable in _REFUSALS:
        os.environ[variable] = "1"
