"""Bundles that differ from a fitted one in what a test needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stream.model.bundle import (
    Bundle,
    CalibrationScores,
    calibration_distances,
    calibration_inputs,
    load_bundle,
    save_bundle,
)


def resaved(source: Path, target: Path, **changes: Any) -> Bundle:
    """Write the bundle `source` with other values of some fields of `Bundle`."""
    pictures, distances = calibration_inputs(source), calibration_distances(source)
    bundle = load_bundle(source)._replace(**changes)
    return save_bundle(
        target,
        bundle.info,
        bundle.bank,
        CalibrationScores(bundle.calibration_scores, bundle.calibration_peaks, distances),
        pictures,
        bundle.selftest,
        position=bundle.position,
        graph=bundle.graph,
    )
