"""Labelled pictures for the tests of an evaluation."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.labelled import write_labelled


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 good pictures, 5 squares at the left and 5 at the right, all masked. Do not change it."""
    return write_labelled(tmp_path_factory.mktemp("evaluation") / "dataset")


@pytest.fixture
def dataset(untouched: Path, tmp_path: Path) -> Path:
    """A copy of `untouched` to change."""
    return Path(shutil.copytree(untouched, tmp_path / "dataset"))
