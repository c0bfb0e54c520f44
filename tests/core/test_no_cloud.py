"""Libraries that send statistics unasked cannot: the package that does it is absent in every process."""

from __future__ import annotations

import importlib
import multiprocessing
import os

import pytest

from stream.core.no_cloud import refuse_statistics


def finds_the_statistics_package(*_: object) -> bool:
    """Whether an import of it works; runs in other processes, too."""
    try:
        importlib.import_module("openvino_telemetry")
    except ImportError:
        return False
    return True


def test_the_package_that_sends_statistics_is_absent_here_and_in_spawned_processes():
    assert not finds_the_statistics_package()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(_after_the_package_is_loaded, [0]) == [False]


def _after_the_package_is_loaded(_: int) -> bool:
    importlib.import_module("stream.core.errors")
    return finds_the_statistics_package()


def test_children_that_are_no_python_of_ours_are_told_to_send_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)
    refuse_statistics()
    assert os.environ["DO_NOT_TRACK"] == "1"
