"""Tests that need an absent program are skipped and counted, or fail in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.programs import needs_gi, needs_program

TESTS = Path(__file__).parent

SUITE = """
from support.programs import needs_gi, needs_program

@needs_program("sh")
def test_present(): ...

@needs_program("sh", "no-such-program")
def test_absent(): raise AssertionError("it ran")

@needs_gi("NoSuchNamespace")
def test_absent_too(): raise AssertionError("it ran")
"""
CONFTEST = """
from support.programs import missing_for, skip_or_fail

def pytest_runtest_setup(item): skip_or_fail(missing_for(item))
"""


def run(folder: Path, **environment: str) -> str:
    """Run SUITE and return what pytest says."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_suite.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", str(folder)]
    variables = {name: value for name, value in os.environ.items() if name != "CI"} | environment
    variables["PYTHONPATH"] = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=variables).stdout


def test_a_test_without_its_program_is_skipped_and_counted(tmp_path: Path):
    said = run(tmp_path)
    assert "1 passed, 2 skipped" in said
    assert "needs the program no-such-program; see tests/debian-packages.txt" in said
    assert "needs gi.repository.NoSuchNamespace for /usr/bin/python3" in said


def test_in_ci_a_missing_program_is_a_failure(tmp_path: Path):
    said = run(tmp_path, CI="true")
    assert "2 errors" in said
    assert "skipped" not in said


@needs_program("sh")
@needs_gi("GObject", "GLib-2.0")
def test_what_is_there_is_found(request: pytest.FixtureRequest):
    assert request.node.get_closest_marker("needs_gi").args == ("GObject", "GLib-2.0")
