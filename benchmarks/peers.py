"""Environments for the peers that PatchLine is measured against, made by the benchmarks that need them.

A peer is installed once, into a virtual environment of its own in PatchLine's cache folder; the
project does not depend on it. `anomalib_peer.py` is the program that runs there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

from stream.core.files import cache_folder

ANOMALIB = ("anomalib==2.7.0", "torch==2.13.*", "torchvision==0.28.*", "openvino", "onnx", "onnxscript")
_PROGRAM = Path(__file__).with_name("anomalib_peer.py")


def anomalib(*arguments: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Run `anomalib_peer.py` with these arguments in anomalib's environment; return its results."""
    python = _environment("anomalib-2.7.0", ANOMALIB)
    done = subprocess.run(
        [python, _PROGRAM, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env=os.environ | (environment or {}),
    )
    if done.returncode != 0:
        sys.exit(f"anomalib ended with exit code {done.returncode}; its messages stand above")
    results: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return results


def _environment(name: str, requirements: tuple[str, ...]) -> Path:
    folder = cache_folder() / "peers" / name
    python, ready = folder / "bin" / "python", folder / "ready"
    if ready.exists() and ready.read_text() == repr(requirements):
        return python
    print(f"installing {requirements[0]} into {folder} (1.8 GB, once)", file=sys.stderr)
    venv.create(folder, with_pip=True, clear=True)
    installed = subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=False)
    if installed.returncode != 0:
        sys.exit(f"{requirements[0]} could not be installed; pip's messages stand above")
    ready.write_text(repr(requirements))
    return python
