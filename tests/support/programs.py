"""Marks for tests that need a program which is no Python package: without it they are skipped, and counted.

Where `CI=true` they fail instead, so that nobody takes a green run for more than it was.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess

import pytest

#: The interpreter for which Debian installs the GObject bindings (GStreamer, Aravis).
SYSTEM_PYTHON = "/usr/bin/python3"


def needs_program(*names: str) -> pytest.MarkDecorator:
    """Mark a test that starts these programs: `needs_program("mosquitto")`."""
    return pytest.mark.needs_program(*names)


def needs_gi(*namespaces: str) -> pytest.MarkDecorator:
    """Mark a test that uses GObject namespaces in SYSTEM_PYTHON: `needs_gi("GstRtspServer", "Aravis")`."""
    return pytest.mark.needs_gi(*namespaces)


def missing_for(item: pytest.Item) -> list[str]:
    """Return what the test needs and this host has not."""
    programs = [name for mark in item.iter_markers("needs_program") for name in mark.args]
    namespaces = [name for mark in item.iter_markers("needs_gi") for name in mark.args]
    return [f"the program {name}" for name in programs if _path(name) is None] + [
        f"gi.repository.{name} for {SYSTEM_PYTHON}" for name in namespaces if not _has_namespace(name)
    ]


def skip_or_fail(missing: list[str]) -> None:
    """End the test that is about to run if something is missing."""
    if not missing:
        return
    reason = f"needs {', '.join(missing)}; see tests/debian-packages.txt"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@functools.cache
def _path(program: str) -> str | None:
    # Debian keeps servers out of an ordinary user's path.
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]))


@functools.cache
def _has_namespace(namespace: str) -> bool:
    name, _, version = namespace.partition("-")
    ask = (
        "import sys, gi; found = gi.Repository.get_default().enumerate_versions(sys.argv[1]); "
        "sys.exit(not found or (sys.argv[2] != '' and sys.argv[2] not in found))"
    )
    try:
        answer = subprocess.run([SYSTEM_PYTHON, "-c", ask, name, version], capture_output=True, timeout=60, check=False)
    except OSError:
        return False
    return answer.returncode == 0
