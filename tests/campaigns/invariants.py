"""What must hold of a line when it has ended, whatever was done to its processes: values in, violations out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stream.core.parts import LedgerCounts
from stream.core.verdict import Cause, Verdict

#: Parts that a violation names; it says how many there are in all.
_NAMED = 8


class Violation(NamedTuple):
    """One broken promise: `rule` is one of this module's names, `text` says of what and how."""

    rule: str
    text: str


class PartFacts(NamedTuple):
    """One event, as far as the rules look at it."""

    seq: int
    verdict: Verdict
    cause: Cause | None = None
    score: float | None = None


class PulseFacts(NamedTuple):
    """One pulse that an output fired; times are of the monotonic clock."""

    seq: int
    planned_ns: int
    actual_ns: int


class Run(NamedTuple):
    """One run of a camera: the number with which it began, and when."""

    first_seq: int
    origin_ns: int


@dataclass(frozen=True)
class StationRecord:
    """What is known of a station after the end, from sources that do not know of each other.

    Attributes:
        station: its name.
        taken: numbers that capture's file has marked as used, from 0 on.
        ledger: its account; None when the store has none.
        events: in the order of the store.
        fired: pulses in the order of the output's file.
        late: numbers of the rejects that were counted as late; a part may occur several times.
        late_unnamed: how many more the log only counts, since they came too fast to be named.
        defective: whether the picture that passed under this number shows a defect.
        exposed_ns: moment of exposure of this number.
        transport_ns, tolerance_ns: from exposure to the reject, and how late its pulse may begin.
        clock_error_ns: how precisely the sink can know a moment of exposure: on the camera's own host exactly.
    """

    station: str
    taken: int
    ledger: LedgerCounts | None
    events: Sequence[PartFacts]
    fired: Sequence[PulseFacts]
    late: Sequence[int]
    defective: Callable[[int], bool]
    exposed_ns: Callable[[int], int]
    transport_ns: int
    tolerance_ns: int
    clock_error_ns: int = 0
    late_unnamed: int = 0


def violations(record: StationRecord) -> list[Violation]:
    """Return every promise that the station's record breaks."""
    found: list[Violation] = []
    for rule in (_ledger, _numbers, _counts, _goods, _pulses, _moments, _rejects):
        found += [Violation(name, f"{record.station}: {text}") for name, text in rule(record)]
    return found


def _ledger(record: StationRecord) -> Iterator[tuple[str, str]]:
    counts = record.ledger
    if counts is None:
        if record.taken:
            yield "ledger", f"none, although {record.taken} numbers were taken"
        return
    if not counts.closed or counts.pending:
        yield "ledger", counts.summary()
    if counts.announced != record.taken:
        yield "journal", f"{record.taken} numbers were taken, {counts.announced} parts announced"


def _numbers(record: StationRecord) -> Iterator[tuple[str, str]]:
    times = Counter(event.seq for event in record.events)
    if missing := [seq for seq in range(record.taken) if seq not in times]:
        yield "event missing", _parts(missing)
    if twice := sorted(seq for seq, count in times.items() if count > 1):
        yield "part twice", _parts(twice)
    if unknown := sorted(seq for seq in times if not 0 <= seq < record.taken):
        yield "part unknown to capture", _parts(unknown)


def _counts(record: StationRecord) -> Iterator[tuple[str, str]]:
    if record.ledger is None:
        return
    verdicts = Counter(event.verdict for event in record.events)
    causes = Counter(event.cause for event in record.events if event.cause is not None)
    booked = {Verdict.GOOD: record.ledger.good, Verdict.DEFECT: record.ledger.defect}
    for verdict, count in booked.items():
        if verdicts[verdict] != count:
            yield "counts", f"the ledger has {count} {verdict}, the events {verdicts[verdict]}"
    if causes != Counter(record.ledger.uninspected):
        yield "counts", f"the ledger has {_causes(record.ledger.uninspected)}, the events {_causes(causes)}"


def _goods(record: StationRecord) -> Iterator[tuple[str, str]]:
    goods = [event for event in record.events if event.verdict is Verdict.GOOD]
    if silent := [event.seq for event in goods if event.score is None or event.cause is not None]:
        yield "silently good", f"without a score, or with a cause: {_parts(silent)}"
    if wrong := [event.seq for event in goods if record.defective(event.seq)]:
        yield "silently good", f"although another picture passed: {_parts(wrong)}"
    causeless = [e.seq for e in record.events if e.verdict is Verdict.UNINSPECTED and e.cause is None]
    if causeless:
        yield "cause missing", _parts(causeless)


def _pulses(record: StationRecord) -> Iterator[tuple[str, str]]:
    times = Counter(pulse.seq for pulse in record.fired)
    if twice := sorted(seq for seq, count in times.items() if count > 1):
        yield "reject twice", _parts(twice)
    good = {event.seq for event in record.events if event.verdict is Verdict.GOOD}
    if wrong := sorted(good & times.keys()):
        yield "reject of a good part", _parts(wrong)


def _moments(record: StationRecord) -> Iterator[tuple[str, str]]:
    for pulse in record.fired:
        due_ns = record.exposed_ns(pulse.seq) + record.transport_ns
        if abs(pulse.planned_ns - due_ns) > record.clock_error_ns:
            off_ms = (pulse.planned_ns - due_ns) / 1e6
            yield "reject at another moment", f"part {pulse.seq} was planned {off_ms:+.3f} ms from its own"
        elif not 0 <= pulse.actual_ns - pulse.planned_ns <= record.tolerance_ns:
            off_ms = (pulse.actual_ns - due_ns) / 1e6
            yield "reject at another moment", f"part {pulse.seq} was fired {off_ms:+.3f} ms from its moment"


def _rejects(record: StationRecord) -> Iterator[tuple[str, str]]:
    bad = {event.seq for event in record.events if event.verdict is not Verdict.GOOD}
    answered = {pulse.seq for pulse in record.fired} | set(record.late)
    passed = sorted(bad - answered)
    if len(passed) > record.late_unnamed:
        yield "neither rejected nor late", _parts(passed)


def _parts(numbers: Sequence[int]) -> str:
    named = ", ".join(map(str, numbers[:_NAMED]))
    return f"{len(numbers)} parts: {named}{' …' if len(numbers) > _NAMED else ''}"


def _causes(counts: dict[Cause, int] | Counter[Cause]) -> str:
    return ", ".join(f"{cause} {count}" for cause, count in sorted(counts.items()) if count) or "no cause"
