"""The cache of converted models: a convenience, without which everything works, only slower."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from stream.model import extractor as extractors
from stream.model.bundle import load_bundle
from stream.model.extractor import load_extractor


@pytest.fixture(autouse=True)
def _nothing_known() -> None:
    extractors._can_be_written.cache_clear()


def test_without_a_cache_that_can_be_written_the_features_are_the_same_and_one_warning_says_so(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    pytest.importorskip("openvino")
    bundle = load_bundle(small_bundle)
    network_input = bundle.selftest.network_input[None]
    expected = load_extractor(bundle.info.spec, device="openvino")(network_input)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("PATCHLINE_CACHE", str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.WARNING, logger="stream.model.extractor"):
        for _ in range(2):
            extractor = load_extractor(bundle.info.spec, device="openvino")
            np.testing.assert_array_equal(extractor(network_input), expected)
    (warning,) = caplog.messages
    assert "each start takes longer" in warning
    assert "set PATCHLINE_CACHE" in warning


def test_a_cache_on_a_disk_that_is_nearly_full_is_left_alone(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    pytest.importorskip("openvino")
    monkeypatch.setenv("PATCHLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(extractors, "_CACHE_MIB", 2**40)
    with caplog.at_level(logging.WARNING, logger="stream.model.extractor"):
        load_extractor(load_bundle(small_bundle).info.spec, device="openvino")
    assert "MiB are free" in caplog.messages[0]
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
