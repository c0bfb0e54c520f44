"""The ledger: every announced part ends with exactly one verdict, or is still pending.

For every station, at every moment: announced = good + defect + Σ uninspected by cause + pending. Parts within the
specification are among the good ones, and counted apart.
Pure: parts, results and the time in, settled parts out.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable

from stream.core.parts import LedgerCounts, Part, Settled
from stream.core.verdict import Cause, Verdict

#: How far a number may be ahead of those that its camera is known to have reached. What is further ahead is the error
#: of one message or one host, and must not make the parts that follow come again.
MAX_AHEAD = 10_000
#: Longest gap in front of an announcement that is booked at once. A longer one waits until the camera's own status
#: confirms it: otherwise one wrong number would cost the verdicts of as many parts.
MAX_GAP = 64
#: Time after which a gap is booked where no status has come since, ns.
PATIENCE_NS = 1_000_000_000
#: Time between two statuses that agree on a number further ahead than `MAX_AHEAD`, which only a sink sees that was away
#: for long; longer than a camera's interval, so that its own status contradicts a wrong one in between, ns.
CONFIRM_NS = 300_000_000
#: Longest gap whose parts are settled one by one; the parts of a longer one are booked in one event.
MAX_EVENTS = 1_000


class SeqError(ValueError):
    """A number that was used before, or is too far ahead."""


class _Account:
    """The parts of one station."""

    def __init__(self, next_seq: int, *, begun: bool = True) -> None:
        self.announced = 0
        self.verdicts: Counter[Verdict] = Counter()
        self.causes: Counter[Cause] = Counter()
        self.within_spec = 0
        self.pending: dict[int, Part] = {}
        self.deadlines: list[tuple[int, int]] = []
        self.next_seq = next_seq
        self.begun = begun  # the camera has reported its first number
        self.ahead: set[int] = set()  # known before those below it: from results, or from announcements behind a gap
        self.behind_gap: set[int] = set()  # those of them that were announced
        self.gap_ns = 0  # when the last announcement before the gap came, or the first behind it
        self.reported_ns: int | None = None  # when the camera last reported how far it is
        self.claim: tuple[int, int] | None = None  # number and time of a report too far ahead to believe it alone
        self.gap_cause = Cause.CAMERA_FAULT

    def check_plausible(self, station: str, seq: int) -> None:
        if seq - self.next_seq > MAX_AHEAD:
            raise SeqError(
                f"{station}: number {seq} is too far ahead, expected {self.next_seq} to {self.next_seq + MAX_AHEAD}"
            )

    def open(self, part: Part) -> None:
        self.announced += 1
        self.pending[part.seq] = part
        heapq.heappush(self.deadlines, (part.deadline_ns, part.seq))

    def book_missing(self, count: int) -> None:
        """Book missing parts that have no separate events."""
        self.announced += count
        self.verdicts[Verdict.UNINSPECTED] += count
        self.causes[self.gap_cause] += count

    def settle(
        self,
        seq: int,
        verdict: Verdict,
        cause: Cause | None,
        detail: str,
        now_ns: int,
        *,
        within_spec: bool = False,
    ) -> Settled:
        part = self.pending.pop(seq)
        self.verdicts[verdict] += 1
        if verdict is Verdict.UNINSPECTED:
            assert cause is not None, "an uninspected part has a cause"
            self.causes[cause] += 1
        within_spec = within_spec and verdict is Verdict.GOOD
        self.within_spec += within_spec
        return Settled(part, verdict, cause, detail, now_ns, within_spec)


class Ledger:
    """The accounts of all stations, each a `LedgerCounts` with the parts behind it."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}

    def begin(self, station: str, first_seq: int) -> None:
        """Open a station's account at the first number of the run; one that counts parts stays as it is."""
        account = self._accounts.setdefault(station, _Account(first_seq))
        if not account.begun:  # messages about parts were faster than this
            account.begun = True
            account.next_seq = max(account.next_seq, first_seq)
        elif account.announced == 0:  # an earlier report was wrong
            account.next_seq = min(account.next_seq, first_seq)

    def restore(self, station: str, counts: LedgerCounts, now_ns: int) -> list[Settled]:
        """Continue an account after a restart; settles what was pending then as UNINSPECTED(sink_down).

        Numbers that are missing are found by the next announcement or report, and are sink_down, too.
        """
        account = self._accounts[station] = _Account(counts.next_seq)
        account.announced = counts.announced - len(counts.pending)
        account.verdicts.update({Verdict.GOOD: counts.good, Verdict.DEFECT: counts.defect})
        account.verdicts[Verdict.UNINSPECTED] = sum(counts.uninspected.values())
        account.causes.update(counts.uninspected)
        account.within_spec = counts.within_spec
        account.gap_cause = Cause.SINK_DOWN
        account.ahead = {seq for seq in counts.ahead if 0 <= seq - counts.next_seq <= MAX_AHEAD}
        captured_ns = dict(zip(counts.pending, counts.captured_ns, strict=False))
        part_ids = dict(zip(counts.pending, counts.part_ids, strict=False))
        return [
            self._settle_lost(
                station,
                seq,
                Cause.SINK_DOWN,
                "pending when the sink ended",
                now_ns,
                captured_ns=captured_ns.get(seq),
                part_id=part_ids.get(seq),
            )
            for seq in counts.pending
        ]

    def announce(self, part: Part, cause: Cause | None, detail: str, now_ns: int) -> list[Settled]:
        """Book a part, and the parts that its number shows to be missing.

        Behind a gap of more than `MAX_GAP` only the part itself is booked: what is missing follows when the camera
        reports that it has passed these numbers (`end`), or after `PATIENCE_NS` without a report.

        Args:
            part: as announced.
            cause: of a part that is UNINSPECTED from the start.
            detail: one line for the event store.
            now_ns: the clock.

        Returns:
            The parts settled by this: the missing ones, then the announced one if it has a cause.

        Raises:
            SeqError: the number was announced before, or is too far ahead; nothing is booked.
        """
        account = self._accounts.setdefault(part.station, _Account(0, begun=False))
        if part.seq < account.next_seq or part.seq in account.behind_gap:
            raise SeqError(f"{part.station}: number {part.seq} came again, expected {account.next_seq}")
        account.check_plausible(part.station, part.seq)
        account.claim = None
        settled: list[Settled] = []
        known = part.seq in account.ahead
        missing = part.seq - account.next_seq
        if missing > MAX_GAP:
            missing -= sum(seq < part.seq for seq in account.ahead)
        if missing <= MAX_GAP:
            settled = self._pass(part.station, part.seq, now_ns)
            account.next_seq = part.seq + 1
            account.ahead.discard(part.seq)
            account.gap_cause = Cause.CAMERA_FAULT
            account.gap_ns = now_ns
        else:
            # Another number may be wrong, but not silently: the part itself is inspected or timed out.
            if not account.behind_gap:
                account.gap_ns = now_ns
            account.behind_gap.add(part.seq)
            account.ahead.add(part.seq)
        if known:
            return settled
        account.open(part)
        if cause is not None:
            settled.append(account.settle(part.seq, Verdict.UNINSPECTED, cause, detail, now_ns))
        return settled

    def result(
        self,
        part: Part,
        verdict: Verdict,
        cause: Cause | None,
        detail: str,
        now_ns: int,
        *,
        within_spec: bool = False,
    ) -> Settled | None:
        """Book a result; one that comes before its announcement makes its part known.

        Returns:
            The settled part, UNINSPECTED(timeout) when the result is past the deadline; None when
            the part has its verdict already.

        Raises:
            SeqError: the number is too far ahead.
        """
        account = self._accounts.setdefault(part.station, _Account(0, begun=False))
        pending = account.pending.get(part.seq)
        if pending is None:
            if part.seq < account.next_seq or part.seq in account.ahead:
                return None
            account.check_plausible(part.station, part.seq)
            account.ahead.add(part.seq)
            account.open(part)
            pending = part
        if now_ns > pending.deadline_ns:
            verdict, cause, detail = Verdict.UNINSPECTED, Cause.TIMEOUT, "the result came after the deadline"
        return account.settle(part.seq, verdict, cause, detail, now_ns, within_spec=within_spec)

    def expire(self, now_ns: int) -> list[Settled]:
        """Settle every pending part whose deadline has passed as UNINSPECTED(timeout), and what is missing in gaps."""
        settled = []
        for station, account in self._accounts.items():
            while account.deadlines and (
                account.deadlines[0][1] not in account.pending or account.deadlines[0][0] < now_ns
            ):
                _, seq = heapq.heappop(account.deadlines)
                if seq in account.pending:
                    settled.append(
                        account.settle(seq, Verdict.UNINSPECTED, Cause.TIMEOUT, "no result by the deadline", now_ns)
                    )
            silent_since_ns = max(account.gap_ns, account.reported_ns or 0)
            if account.behind_gap and now_ns - silent_since_ns > PATIENCE_NS:
                settled += self._pass(station, max(account.behind_gap) + 1, now_ns)
        return settled

    def end(self, station: str, next_seq: int, now_ns: int) -> list[Settled]:
        """Book what is missing below `next_seq`, the number after the last part that a camera reports as announced.

        Raises:
            SeqError: it is too far ahead; repeated after `CONFIRM_NS` it is believed unless lower numbers have come.
        """
        account = self._accounts.setdefault(station, _Account(next_seq))
        account.reported_ns = now_ns
        if next_seq - account.next_seq > MAX_AHEAD:
            seq, claimed_ns = account.claim or (next_seq, now_ns)
            account.claim = (seq, claimed_ns) if seq <= next_seq else (next_seq, now_ns)
            if seq > next_seq or now_ns - claimed_ns < CONFIRM_NS:
                account.check_plausible(station, next_seq)
        account.claim = None
        return self._pass(station, next_seq, now_ns)

    def shut_down(self, now_ns: int) -> list[Settled]:
        """Settle everything still pending as UNINSPECTED(shutdown)."""
        return [
            account.settle(seq, Verdict.UNINSPECTED, Cause.SHUTDOWN, "the line was stopped", now_ns)
            for account in self._accounts.values()
            for seq in sorted(account.pending)
        ]

    def awaits_announcement(self, station: str, seq: int) -> bool:
        """Whether a part is not known yet, and its number may be announced next."""
        if station not in self._accounts:
            return 0 <= seq <= MAX_AHEAD
        account = self._accounts[station]
        return 0 <= seq - account.next_seq <= MAX_AHEAD and seq not in account.ahead

    @property
    def next_deadline_ns(self) -> int | None:
        """Earliest moment at which `expire` may have something to do; None without a pending part."""
        earliest = [account.deadlines[0][0] for account in self._accounts.values() if account.deadlines]
        return min(earliest, default=None)

    @property
    def stations(self) -> Iterable[str]:
        """Names of the stations with an account."""
        return self._accounts.keys()

    def counts(self, station: str) -> LedgerCounts:
        """Return one station's counts."""
        account = self._accounts[station]
        return LedgerCounts(
            announced=account.announced,
            good=account.verdicts[Verdict.GOOD],
            defect=account.verdicts[Verdict.DEFECT],
            uninspected={cause: count for cause, count in account.causes.items() if count},
            pending=tuple(sorted(account.pending)),
            next_seq=account.next_seq,
            ahead=tuple(sorted(account.ahead)),
            captured_ns=tuple(part.captured_ns for _, part in sorted(account.pending.items())),
            part_ids=tuple(part.part_id for _, part in sorted(account.pending.items())),
            within_spec=account.within_spec,
        )

    def _pass(self, station: str, below: int, now_ns: int) -> list[Settled]:
        """Settle what is missing below a number, and go on from there; a long gap in one event."""
        account = self._accounts[station]
        if below <= account.next_seq:
            return []
        known = {seq for seq in account.ahead if seq < below}
        count = below - account.next_seq - len(known)
        missing = (seq for seq in range(account.next_seq, below) if seq not in known)
        account.next_seq = below
        account.ahead -= known
        account.behind_gap -= known
        detail = "its announcement never came"
        if count > MAX_EVENTS:
            account.book_missing(count - 1)
            return [
                self._settle_lost(
                    station, next(missing), account.gap_cause, f"{count} announcements never came", now_ns
                )
            ]
        return [self._settle_lost(station, seq, account.gap_cause, detail, now_ns) for seq in missing]

    def _settle_lost(
        self,
        station: str,
        seq: int,
        cause: Cause,
        detail: str,
        now_ns: int,
        *,
        captured_ns: int | None = None,
        part_id: str | None = None,
    ) -> Settled:
        account = self._accounts[station]
        account.open(Part(station, seq, captured_ns, now_ns, part_id))
        return account.settle(seq, Verdict.UNINSPECTED, cause, detail, now_ns)
