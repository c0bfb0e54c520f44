"""A line that can be tuned."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.offers import LINE

from stream.dashboard.tuning.changes import BundleChanges
from stream.line.config import LineConfig, parse
from stream.store.review_store import Review


@pytest.fixture
def config(tmp_path: Path, small_bundle: Path) -> LineConfig:
    """A line that does not run: what is put live lies there for its next start."""
    shutil.copy(small_bundle, tmp_path / "cap.safetensors")
    return parse(LINE, name="line.yaml", folder=tmp_path)


@pytest.fixture
def review(config: LineConfig) -> Review:
    return Review(config.store.path / "review.sqlite")


@pytest.fixture
def changes(config: LineConfig, review: Review) -> BundleChanges:
    return BundleChanges(config, review)
