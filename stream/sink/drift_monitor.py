"""Drift of every station: score, brightness and focus of good parts against the references in its bundle."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from stream.core import metrics
from stream.core.errors import BundleError
from stream.core.verdict import Verdict
from stream.line.config import LineConfig
from stream.model.bundle import Bundle, live_bundle
from stream.sink.policy.drift import DriftDetector, DriftFinding, smallest_shift
from stream.transport.messages import DriftState, Result

log = logging.getLogger(__name__)


class StationDrift(NamedTuple):
    """Whether the good parts of a station have changed lastingly; `text` describes it for the alarm."""

    station: str
    drifting: bool
    text: str


class _StationDetectors:
    """One station: the hash of the bundle that its results must have, and a detector for each quantity."""

    def __init__(self, bundle: Bundle, window: int) -> None:
        assert bundle.info.thresholds is not None, "live bundles are calibrated"
        self.bundle_sha256 = bundle.sha256
        # A GOOD part's score is at most the threshold, so the reference is cut there too.
        scores = bundle.calibration_scores[bundle.calibration_scores <= bundle.info.thresholds.image]
        reference = bundle.info.reference
        references: dict[str, Sequence[float]] = {
            "score": scores.tolist(),
            "brightness": reference.brightness_values,
            "focus": reference.focus_values,
        }
        self.reference_counts = {quantity: len(values) for quantity, values in references.items()}
        self.detectors = {quantity: DriftDetector(values, window) for quantity, values in references.items()}
        #: Shift that is detected half of the time, in standard deviations; None: too few reference values for any.
        self.smallest_shifts = {
            quantity: smallest_shift(count, window) for quantity, count in self.reference_counts.items()
        }
        self.window = 0 if set(self.smallest_shifts.values()) == {None} else window
        self.findings: dict[str, DriftFinding] = {}


class DriftMonitor:
    """Compares each station's good parts with its references. `add` is cheap; `compare` is called between messages."""

    def __init__(self, config: LineConfig, bundles: dict[str, Bundle]) -> None:
        """Take the references from every station's bundle; the bundles themselves are not kept."""
        self._stations: dict[str, _StationDetectors] = {}
        self._loaded: deque[tuple[str, Bundle, int]] = deque()
        for name, bundle in bundles.items():
            self.set_bundle(name, bundle, config.stations[name].drift.window)

    def set_bundle(self, station: str, bundle: Bundle, window: int) -> None:
        """Compare a station's parts with this bundle from now on."""
        detectors = self._stations[station] = _StationDetectors(bundle, window)
        for quantity, count in detectors.reference_counts.items():
            shift = detectors.smallest_shifts[quantity]
            detected = "never (too few)" if shift is None else f"from {shift:.1f} standard deviations on"
            log.info("station %s: drift of %s is noticed %s: %d reference values", station, quantity, detected, count)

    def reload(self, station: str, path: Path, window: int) -> None:
        """Read a station's new bundle in a thread, so that verdicts do not wait for the disk."""

        def read() -> None:
            try:
                self._loaded.append((station, live_bundle(path), window))
            except BundleError as error:
                log.warning("station %s: its drift is not monitored: %s", station, error)

        threading.Thread(target=read, name="drift", daemon=True).start()

    def add(self, result: Result) -> None:
        """Take a worker's result; only a GOOD part of the station's present bundle counts, by its score."""
        detectors = self._stations[result.frame.station]
        if result.frame.bundle_sha256 != detectors.bundle_sha256:
            return
        # What rules let pass is above the threshold, where the reference ends.
        if result.verdict is not Verdict.GOOD or result.within_spec:
            return
        for quantity, value in (
            ("score", result.score),
            ("brightness", result.brightness),
            ("focus", result.focus),
        ):
            if value is not None:
                detectors.detectors[quantity].add(value)

    def compare(self) -> StationDrift | None:
        """Compare the station that has waited longest of those with enough new parts; takes about 1 ms."""
        while self._loaded:
            self.set_bundle(*self._loaded.popleft())
        for station in list(self._stations):
            detectors = self._stations.pop(station)
            self._stations[station] = detectors  # behind the others
            new = {
                quantity: finding
                for quantity, detector in detectors.detectors.items()
                if (finding := detector.compare())
            }
            if new:
                return self._report(station, detectors, new)
        return None

    def state(self, station: str) -> DriftState:
        """Return the drift state of a station for the dashboard; `parts` counts scores, which every good part has."""
        detectors = self._stations[station]
        return DriftState(
            parts=detectors.detectors["score"].parts,
            window=detectors.window,
            psi={
                quantity: finding.psi
                for quantity, finding in detectors.findings.items()
                if detectors.smallest_shifts[quantity] is not None
            },
            drifting=tuple(quantity for quantity, finding in detectors.findings.items() if finding.drifting),
        )

    def _report(self, station: str, detectors: _StationDetectors, new: dict[str, DriftFinding]) -> StationDrift:
        for quantity, finding in new.items():
            metrics.DRIFT_PSI.labels(station, quantity).set(finding.psi)
            metrics.DRIFT_P_VALUE.labels(station, quantity).set(finding.p_value)
        detectors.findings |= new
        drifting = {quantity: finding for quantity, finding in detectors.findings.items() if finding.drifting}
        figures = ", ".join(
            f"{quantity} (PSI {finding.psi:.2f}, p {finding.p_value:.1g})" for quantity, finding in drifting.items()
        )
        text = f"good parts of {station} are no longer like those of the calibration: {figures}"
        return StationDrift(station, bool(drifting), text)
