"""When to call a person: n of m with a cool-down, and the edges of what is up or down."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from stream.line.sections import AlarmOptions, AlarmRule

#: Single observations may be chance, so these follow an AlarmRule.
RuledKind = Literal["defect", "uninspected", "late_reject", "reload_failed"]
#: A state that lasts: raised once when it begins, and not again before it was seen to end.
LevelKind = Literal["camera_down", "worker_down", "actuator_fault", "encoder_fault", "store_fault", "drift"]
AlarmKind = RuledKind | LevelKind

#: An alarm without cool-down stands as long as a person needs to read it.
_SHOWN_S = 10.0


@dataclass(frozen=True, slots=True)
class Alarm:
    """A call to a person about `subject` (a station, camera, worker, actuator or the store)."""

    kind: AlarmKind
    subject: str
    text: str
    raised_ns: int


class NofM:
    """Raise when n of the last m observations are bad, then stay silent for the cool-down."""

    def __init__(self, rule: AlarmRule) -> None:
        self._rule = rule
        self._recent: deque[bool] = deque(maxlen=rule.of)
        self._silent_until_ns: int | None = None

    def observe(self, bad: bool, now_ns: int) -> bool:
        """Take one observation and return whether to raise now.

        Observations count during the cool-down too: trouble that outlasts it is raised again by the
        next bad one. A good observation never raises, whatever came before it.
        """
        self._recent.append(bad)
        if not bad or sum(self._recent) < self._rule.n:
            return False
        if self._silent_until_ns is not None and now_ns < self._silent_until_ns:
            return False
        self._silent_until_ns = now_ns + round(self._rule.cooldown_s * 1e9)
        return True


class AlarmBoard:
    """Every alarm of a line: one debounce for each kind and subject, one edge for each level."""

    def __init__(self, rules: AlarmOptions) -> None:
        self._rules: dict[str, AlarmRule] = {
            "defect": rules.defect,
            "uninspected": rules.uninspected,
            "late_reject": rules.late_reject,
            "reload_failed": AlarmRule(cooldown_s=0),  # somebody waits for each of them
        }
        self._debounces: dict[tuple[str, str], NofM] = {}
        self._down: set[tuple[str, str]] = set()
        self._raised: dict[tuple[str, str], Alarm] = {}

    def observe(self, kind: AlarmKind, subject: str, bad: bool, now_ns: int, text: str) -> Alarm | None:
        """Take one observation, good or bad, and return the alarm it raises, if any.

        `text` says what is bad, for a person. For a level (`camera_down` …) `bad` means that it is
        down at `now_ns`; the first observation that it is up again arms it anew.
        """
        key = (kind, subject)
        rule = self._rules.get(kind)
        if rule is None:
            raised = bad and key not in self._down
            if bad:
                self._down.add(key)
            else:
                self._down.discard(key)
        else:
            if key not in self._debounces:
                self._debounces[key] = NofM(rule)
            raised = self._debounces[key].observe(bad, now_ns)
        if not raised:
            return None
        alarm = self._raised[key] = Alarm(kind, subject, text, now_ns)
        return alarm

    def active(self, now_ns: int) -> list[Alarm]:
        """Return the alarms that stand, the newest first.

        A level stands until it was seen to end, any other as long as its cool-down, and a moment at least.
        """
        standing = []
        for key, alarm in self._raised.items():
            rule = self._rules.get(alarm.kind)
            if rule is None:
                stands = key in self._down
            else:
                stands = now_ns - alarm.raised_ns < max(_SHOWN_S, rule.cooldown_s) * 1e9
            if stands:
                standing.append(alarm)
        return sorted(standing, key=lambda alarm: alarm.raised_ns, reverse=True)
