"""Programs of the system that some tests start; without them these tests are skipped."""

from __future__ import annotations

import shutil

import pytest


def needs_program(*names: str) -> pytest.MarkDecorator:
    """Skip a test where one of these programs is not installed."""
    missing = [name for name in names if shutil.which(name, path="/usr/local/bin:/usr/bin:/usr/sbin:/bin") is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")
