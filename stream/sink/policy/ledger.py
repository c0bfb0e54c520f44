"""The ledger: every announced part ends with exactly one verdict, or is still pending.

For every station, at every moment: announced = good + defect + Σ uninspected by cause + pending.
Pure: messages and the clock's value in, settled parts out.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable

from stream.core.parts import LedgerCounts, Part, Settled
from stream.core.verdict import Cause, Verdict

#: A longer gap in the numbers is a defect of the sender, not a loss of parts.
MAX_GAP = 100_000_000
#: Missing parts beyond this number are booked in one event.
MAX_EVENTS = 10_000


class SeqError(ValueError):
    """A number that was used before, or that lies absurdly far ahead."""


class _Account:
    """The parts of one station."""

    def __init__(self, next_seq: int) -> None:
        self.announced = 0
        self.verdicts: Counter[Verdict] = Counter()
        self.causes: Counter[Cause] = Counter()
        self.pending: dict[int, Part] = {}
        self.deadlines: list[tuple[int, int]] = []
        self.next_seq = next_seq
        self.ahead: set[int] = set()  # announced by their result, before their announcement came
        self.judged_unseen: set[int] = set()  # judged at a restart, before their announcement came
        self.gap_cause = Cause.CAMERA_FAULT

    def open(self, part: Part) -> None:
        self.announced += 1
        self.pending[part.seq] = part
        heapq.heappush(self.deadlines, (part.deadline_ns, part.seq))

    def book_unseen(self, count: int) -> None:
        """Book parts that nobody will hear of singly."""
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
    """The accounts of all stations."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}

    def begin(self, station: str, first_seq: int) -> None:
        """Open a station's account at the first number of the run; an account that exists stays."""
        self._accounts.setdefault(station, _Account(first_seq))

    def restore(self, station: str, counts: LedgerCounts, now_ns: int) -> list[Settled]:
        """Continue an account after a restart: what was pending, or comes to light as missing, had no sink."""
        account = self._accounts[station] = _Account(counts.next_seq)
        account.announced = counts.announced - len(counts.pending)
        account.verdicts.update({Verdict.GOOD: counts.good, Verdict.DEFECT: counts.defect})
        account.verdicts[Verdict.UNINSPECTED] = sum(counts.uninspected.values())
        account.causes.update(counts.uninspected)
        account.gap_cause = Cause.SINK_DOWN
        # Numbers below one that is known from its result were given out too; their announcements may yet come.
        account.next_seq = max([counts.next_seq, *(seq + 1 for seq in counts.ahead)])
        account.judged_unseen = set(range(counts.next_seq, account.next_seq))
        lost = sorted({*counts.pending, *account.judged_unseen} - set(counts.ahead))
        exposed_ns = dict(zip(counts.pending, counts.captured_ns, strict=False))
        names = dict(zip(counts.pending, counts.part_ids, strict=False))
        why = "pending when the sink ended"
        return [
            self._lost(station, seq, Cause.SINK_DOWN, why, now_ns, exposed_ns.get(seq), names.get(seq)) for seq in lost
        ]

    def announce(self, part: Part, cause: Cause | None, detail: str, now_ns: int) -> list[Settled]:
        """Book a part, and with it the parts that its number shows to be missing.

        Args:
            part: as announced.
            cause: when it is UNINSPECTED from the start.
            detail: one line for the event store.
            now_ns: the clock.

        Returns:
            The parts that this settles: those missing, then the announced one if it has a cause.

        Raises:
            SeqError: the number was announced before, or lies too far ahead.
        """
        account = self._accounts.setdefault(part.station, _Account(0))
        if part.seq in account.judged_unseen:
            account.judged_unseen.discard(part.seq)
            return []
        if part.seq < account.next_seq:
            raise SeqError(f"{part.station}: number {part.seq} came again, {account.next_seq} was next")
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
        """Book a result; it proves its part when it comes before the announcement.

        Returns:
            The settled part, UNINSPECTED(timeout) when the result is past the deadline; None when
            the part has its verdict already.
        """
        account = self._accounts.setdefault(part.station, _Account(0))
        known = account.pending.get(part.seq)
        if known is None:
            if part.seq < account.next_seq or part.seq in account.ahead:
                return None
            if part.seq - account.next_seq > MAX_GAP:
                raise SeqError(f"{part.station}: number {part.seq} is absurd, {account.next_seq} was next")
            account.ahead.add(part.seq)
            account.open(part)
            known = part
        if now_ns > known.deadline_ns:
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
        """Book what is missing below `next_seq` when a camera says that it is finished."""
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
        """Return the lowest number of a station that was not announced yet."""
        return self._accounts[station].next_seq if station in self._accounts else 0

    @property
    def next_deadline_ns(self) -> int | None:
        """The earliest moment at which `expire` may have something to do."""
        heads = [account.deadlines[0][0] for account in self._accounts.values() if account.deadlines]
        return min(heads, default=None)

    @property
    def stations(self) -> Iterable[str]:
        """Stations with an account."""
        return self._accounts.keys()

    def counts(self, station: str) -> LedgerCounts:
        """Return one station's line of the ledger."""
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
            raise SeqError(f"{station}: number {below} is absurd, {account.next_seq} was next")
        why = "its announcement never came"
        if below - account.next_seq > MAX_EVENTS:
            known = {seq for seq in account.ahead if seq < below}
            count = below - account.next_seq - len(known)
            account.ahead -= known
            account.book_unseen(count - 1)
            why = f"{count} announcements never came"
            first = next(seq for seq in range(account.next_seq, below) if seq not in known)
            return [self._lost(station, first, account.gap_cause, why, now_ns)]
        settled = []
        for seq in range(account.next_seq, below):
            if seq in account.ahead:
                account.ahead.discard(seq)
                continue
            settled.append(self._lost(station, seq, account.gap_cause, why, now_ns))
        return settled

    def _lost(
        self,
        station: str,
        seq: int,
        cause: Cause,
        detail: str,
        now_ns: int,
        captured_ns: int | None = None,
        part_id: str | None = None,
    ) -> Settled:
        account = self._accounts[station]
        account.open(Part(station, seq, captured_ns, now_ns, part_id))
        return account.settle(seq, Verdict.UNINSPECTED, cause, detail, now_ns)
