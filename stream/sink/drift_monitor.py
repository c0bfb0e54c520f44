"""The drift of every station: good parts' score, brightness and focus against the station's bundle."""

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
    """Whether the good parts of a station have changed for good; `text` says how, for people."""

    station: str
    drifting: bool
    text: str


class _Watched:
    """One station: the bundle that its results must be of, and a comparison for each quantity."""

    def __init__(self, bundle: Bundle, window: int) -> None:
        assert bundle.info.thresholds is not None, "live bundles are calibrated"
        self.sha256 = bundle.sha256
        # A GOOD part's score is at most the threshold, so the reference is cut there too.
        scores = bundle.calibration_scores[bundle.calibration_scores <= bundle.info.thresholds.image]
        reference = bundle.info.reference
        references: dict[str, Sequence[float]] = {
            "score": scores.tolist(),
            "brightness": reference.brightness_values,
            "focus": reference.focus_values,
        }
        self.counts = {what: len(values) for what, values in references.items()}
        self.quantities = {what: DriftDetector(values, window) for what, values in references.items()}
        #: In standard deviations, what is noticed as often as not; None: nothing is.
        self.smallest = {what: smallest_shift(count, window) for what, count in self.counts.items()}
        self.window = 0 if set(self.smallest.values()) == {None} else window
        self.found: dict[str, DriftFinding] = {}


class DriftMonitor:
    """Compares from time to time what the sink tells it of every judged part; `add` costs next to nothing."""

    def __init__(self, config: LineConfig, bundles: dict[str, Bundle]) -> None:
        """Know every station's bundle; of it only the references are kept."""
        self._stations: dict[str, _Watched] = {}
        self._read: deque[tuple[str, Bundle, int]] = deque()
        for name, bundle in bundles.items():
            self.use(name, bundle, config.stations[name].drift.window)

    def use(self, station: str, bundle: Bundle, window: int) -> None:
        """Compare a station's parts with another bundle from now on."""
        watched = self._stations[station] = _Watched(bundle, window)
        for what, count in watched.counts.items():
            shift = watched.smallest[what]
            seen = "never (too few)" if shift is None else f"from {shift:.1f} standard deviations on"
            log.info("station %s: drift of %s is noticed %s: %d reference values", station, what, seen, count)

    def renew(self, station: str, path: Path, window: int) -> None:
        """Read a station's new bundle, in a thread: verdicts do not wait for the disk."""

        def read() -> None:
            try:
                self._read.append((station, live_bundle(path), window))
            except BundleError as error:
                log.warning("station %s: its drift is not watched: %s", station, error)

        threading.Thread(target=read, name="drift", daemon=True).start()

    def add(self, result: Result) -> None:
        """Take a part that was judged; others than GOOD ones of the station's bundle say nothing about drift."""
        watched = self._stations[result.frame.station]
        if result.verdict is not Verdict.GOOD or result.frame.bundle_sha256 != watched.sha256:
            return
        for what, value in (("score", result.score), ("brightness", result.brightness), ("focus", result.focus)):
            if value is not None:
                watched.quantities[what].add(value)

    def compare(self) -> StationDrift | None:
        """Compare one station that has enough new parts, the one that waits longest; it takes about 1 ms."""
        while self._read:
            self.use(*self._read.popleft())
        for station in list(self._stations):
            watched = self._stations.pop(station)
            self._stations[station] = watched  # behind the others
            new = {what: found for what, drift in watched.quantities.items() if (found := drift.compare())}
            if new:
                return self._told(station, watched, new)
        return None

    def state(self, station: str) -> DriftState:
        """Return how a station stands, for people who look; every good part has a score, so scores are counted."""
        watched = self._stations[station]
        return DriftState(
            parts=watched.quantities["score"].parts,
            window=watched.window,
            psi={what: it.psi for what, it in watched.found.items() if watched.smallest[what] is not None},
            drifting=tuple(what for what, it in watched.found.items() if it.drifting),
        )

    def _told(self, station: str, watched: _Watched, new: dict[str, DriftFinding]) -> StationDrift:
        for what, found in new.items():
            metrics.DRIFT_PSI.labels(station, what).set(found.psi)
            metrics.DRIFT_P_VALUE.labels(station, what).set(found.p_value)
        watched.found |= new
        drifting = {what: found for what, found in watched.found.items() if found.drifting}
        figures = ", ".join(f"{what} (PSI {it.psi:.2f}, p {it.p_value:.1g})" for what, it in drifting.items())
        text = f"good parts of {station} are no longer like those of the calibration: {figures}"
        return StationDrift(station, bool(drifting), text)
