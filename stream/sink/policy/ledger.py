"""The ledger: every announced part ends with exactly one verdict, or is still pending.

For every station, at every moment: announced = good + defect + Σ uninspected by cause + pending.
Pure: parts, results and the time in, settled parts out.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable

from stream.core.parts import LedgerCounts, Part, Settled
from stream.core.verdict import Cause, Verdict

#: Longest gap in the numbers that counts as lost parts; a longer one is a defect of the sender.
MAX_GAP = 100_000_000
#: Longest gap whose parts are settled one by one; the parts of a longer one are booked in one event.
MAX_EVENTS = 10_000


class SeqError(ValueError):
    """A number that was used before, or is too far ahead."""


class _Account:
    """The parts of one station."""

    def __init__(self, next_seq: int) -> None:
        self.announced = 0
        self.verdicts: Counter[Verdict] = Counter()
        self.causes: Counter[Cause] = Counter()
        self.pending: dict[int, Part] = {}
        self.deadlines: list[tuple[int, int]] = []
        self.next_seq = next_seq
        self.ahead: set[int] = set()  # known from their result, before their announcement
        self.settled_unannounced: set[int] = set()  # settled at a restart, before their announcement
        self.gap_cause = Cause.CAMERA_FAULT

    def open(self, part: Part) -> None:
        self.announced += 1
        self.pending[part.seq] = part
        heapq.heappush(self.deadlines, (part.deadline_ns, part.seq))

    def book_missing(self, count: int) -> None:
        """Book missing parts that have no separate events."""
        self.announced += count
        self.verdicts[Verdict.UNINSPECTED] += count
        self.causes[self.gap_cause] += count

    def settle(self, seq: int, verdict: Verdict, cause: Cause | None, detail: str, now_ns: int) -> Settled:
        part = self.pending.pop(seq)
        self.verdicts[verdict] += 1
        if verdict is Verdict.UNINSPECTED:
            assert cause is not None, "an uninspected part has a cause"
            self.causes[cause] += 1
        return Settled(part, verdict, cause, detail, now_ns)


class Ledger:
    """The accounts of all stations, each a `LedgerCounts` with the parts behind it."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}

    def begin(self, station: str, first_seq: int) -> None:
        """Open a station's account at the first number of the run; an existing account stays as it is."""
        self._accounts.setdefault(station, _Account(first_seq))

    def restore(self, station: str, counts: LedgerCounts, now_ns: int) -> list[Settled]:
        """Continue an account after a restart; settles what was pending or missing then as UNINSPECTED(sink_down)."""
        account = self._accounts[station] = _Account(counts.next_seq)
        account.announced = counts.announced - len(counts.pending)
        account.verdicts.update({Verdict.GOOD: counts.good, Verdict.DEFECT: counts.defect})
        account.verdicts[Verdict.UNINSPECTED] = sum(counts.uninspected.values())
        account.causes.update(counts.uninspected)
        account.gap_cause = Cause.SINK_DOWN
        # Numbers below one that is known from its result were assigned too; their announcements may still come.
        account.next_seq = max([counts.next_seq, *(seq + 1 for seq in counts.ahead)])
        account.settled_unannounced = set(range(counts.next_seq, account.next_seq))
        lost = sorted({*counts.pending, *account.settled_unannounced} - set(counts.ahead))
        captured_ns = dict(zip(counts.pending, counts.captured_ns, strict=False))
        part_ids = dict(zip(counts.pending, counts.part_ids, strict=False))
        detail = "pending when the sink ended"
        return [
            self._settle_lost(
                station,
                seq,
                Cause.SINK_DOWN,
                detail,
                now_ns,
                captured_ns=captured_ns.get(seq),
                part_id=part_ids.get(seq),
            )
            for seq in lost
        ]

    def announce(self, part: Part, cause: Cause | None, detail: str, now_ns: int) -> list[Settled]:
        """Book a part, and the parts that its number shows to be missing.

        Args:
            part: as announced.
            cause: of a part that is UNINSPECTED from the start.
            detail: one line for the event store.
            now_ns: the clock.

        Returns:
            The parts settled by this: the missing ones, then the announced one if it has a cause.

        Raises:
            SeqError: the number was announced before, or is too far ahead.
        """
        account = self._accounts.setdefault(part.station, _Account(0))
        if part.seq in account.settled_unannounced:
            account.settled_unannounced.discard(part.seq)
            return []
        if part.seq < account.next_seq:
            raise SeqError(f"{part.station}: number {part.seq} came again, expected {account.next_seq}")
        settled = self._missing(part.station, part.seq, now_ns)
        account.next_seq = part.seq + 1
        account.gap_cause = Cause.CAMERA_FAULT
        if part.seq in account.ahead:
            account.ahead.discard(part.seq)
            return settled
        account.open(part)
        if cause is not None:
            settled.append(account.settle(part.seq, Verdict.UNINSPECTED, cause, detail, now_ns))
        return settled

    def result(self, part: Part, verdict: Verdict, cause: Cause | None, detail: str, now_ns: int) -> Settled | None:
        """Book a result; one that comes before its announcement makes its part known.

        Returns:
            The settled part, UNINSPECTED(timeout) when the result is past the deadline; None when
            the part has its verdict already.

        Raises:
            SeqError: the number is too far ahead.
        """
        account = self._accounts.setdefault(part.station, _Account(0))
        pending = account.pending.get(part.seq)
        if pending is None:
            if part.seq < account.next_seq or part.seq in account.ahead:
                return None
            if part.seq - account.next_seq > MAX_GAP:
                raise SeqError(f"{part.station}: number {part.seq} is too far ahead, expected {account.next_seq}")
            account.ahead.add(part.seq)
            account.open(part)
            pending = part
        if now_ns > pending.deadline_ns:
            verdict, cause, detail = Verdict.UNINSPECTED, Cause.TIMEOUT, "the result came after the deadline"
        return account.settle(part.seq, verdict, cause, detail, now_ns)

    def expire(self, now_ns: int) -> list[Settled]:
        """Settle every pending part whose deadline has passed as UNINSPECTED(timeout)."""
        settled = []
        for account in self._accounts.values():
            while account.deadlines and (
                account.deadlines[0][1] not in account.pending or account.deadlines[0][0] < now_ns
            ):
                _, seq = heapq.heappop(account.deadlines)
                if seq in account.pending:
                    settled.append(
                        account.settle(seq, Verdict.UNINSPECTED, Cause.TIMEOUT, "no result by the deadline", now_ns)
                    )
        return settled

    def end(self, station: str, next_seq: int, now_ns: int) -> list[Settled]:
        """Book what is missing below `next_seq`, the number after a camera's last part."""
        account = self._accounts.setdefault(station, _Account(next_seq))
        settled = self._missing(station, next_seq, now_ns)
        account.next_seq = max(account.next_seq, next_seq)
        return settled

    def shut_down(self, now_ns: int) -> list[Settled]:
        """Settle everything still pending as UNINSPECTED(shutdown)."""
        return [
            account.settle(seq, Verdict.UNINSPECTED, Cause.SHUTDOWN, "the line was stopped", now_ns)
            for account in self._accounts.values()
            for seq in sorted(account.pending)
        ]

    def next_seq(self, station: str) -> int:
        """Return the lowest number of a station that has not been announced yet."""
        return self._accounts[station].next_seq if station in self._accounts else 0

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
        )

    def _missing(self, station: str, below: int, now_ns: int) -> list[Settled]:
        account = self._accounts[station]
        if below - account.next_seq > MAX_GAP:
            raise SeqError(f"{station}: number {below} is too far ahead, expected {account.next_seq}")
        detail = "its announcement never came"
        if below - account.next_seq > MAX_EVENTS:
            ahead = {seq for seq in account.ahead if seq < below}
            count = below - account.next_seq - len(ahead)
            account.ahead -= ahead
            account.book_missing(count - 1)
            detail = f"{count} announcements never came"
            first = next(seq for seq in range(account.next_seq, below) if seq not in ahead)
            return [self._settle_lost(station, first, account.gap_cause, detail, now_ns)]
        settled = []
        for seq in range(account.next_seq, below):
            if seq in account.ahead:
                account.ahead.discard(seq)
                continue
            settled.append(self._settle_lost(station, seq, account.gap_cause, detail, now_ns))
        return settled

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
