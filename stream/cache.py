"""Where PatchLine keeps what it can make again: compiled models and weight files."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return $PATCHLINE_CACHE, else `patchline` below $XDG_CACHE_HOME or ~/.cache."""
    chosen = os.environ.get("PATCHLINE_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "patchline"


def weights_folder() -> Path:
    """Return the folder in which weight files are looked for, by backbone name or by hash."""
    return cache_folder() / "weights"
