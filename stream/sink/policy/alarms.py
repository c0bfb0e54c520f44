"""When to raise an alarm: n of m observations with a cool-down, or the edge of a state that lasts."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from stream.line.sections import AlarmOptions, AlarmRule

#: Alarms about single observations, which may be chance: they follow an AlarmRule.
RuledKind = Literal["defect", "uninspected", "late_reject", "reload_failed", "message_refused"]
#: Alarms about a state that lasts: raised once when it begins, and again only after an observation that it ended.
LevelKind = Literal[
    "line_not_ready",
    "camera_down",
    "worker_down",
    "announcements_missing",
    "clock_skew",
    "socket_fault",
    "actuator_fault",
    "encoder_fault",
    "store_fault",
    "drift",
]
AlarmKind = RuledKind | LevelKind

#: Shortest time that an alarm is active: enough to read it.
_SHOWN_S = 10.0


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm about `subject`: a station, camera, worker, actuator, encoder or the store."""

    kind: AlarmKind
    subject: str
    text: str
    raised_ns: int


class NofM:
    """Debounce: raises when n of the last m observations are bad, then stays silent for the cool-down."""

    def __init__(self, rule: AlarmRule) -> None:
        self._rule = rule
        self._recent: deque[bool] = deque(maxlen=rule.of)
        self._silent_until_ns: int | None = None

    def observe(self, bad: bool, now_ns: int) -> bool:
        """Take one observation and return whether to raise now.

        Observations count during the cool-down too: a fault that outlasts it is raised again by the
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
    """Every alarm of a line: a debounce for each ruled kind and subject, an edge for each level and subject."""

    def __init__(self, rules: AlarmOptions) -> None:
        self._rules: dict[str, AlarmRule] = {
            "defect": rules.defect,
            "uninspected": rules.uninspected,
            "late_reject": rules.late_reject,
            "reload_failed": AlarmRule(cooldown_s=0),  # a user waits for the outcome of each request
            "message_refused": AlarmRule(cooldown_s=10),
        }
        self._debounces: dict[tuple[str, str], NofM] = {}
        self._active_levels: set[tuple[str, str]] = set()
        self._raised: dict[tuple[str, str], Alarm] = {}

    def observe(self, kind: AlarmKind, subject: str, bad: bool, now_ns: int, text: str) -> Alarm | None:
        """Take one observation, good or bad, and return the alarm it raises, if any.

        `text` describes what is bad. For a level (`camera_down` …) `bad` means that the state lasts at
        `now_ns`; a good observation ends it, and the next bad one raises again.
        """
        key = (kind, subject)
        rule = self._rules.get(kind)
        if rule is None:
            raised = bad and key not in self._active_levels
            if bad:
                self._active_levels.add(key)
            else:
                self._active_levels.discard(key)
        else:
            if key not in self._debounces:
                self._debounces[key] = NofM(rule)
            raised = self._debounces[key].observe(bad, now_ns)
        if not raised:
            return None
        alarm = self._raised[key] = Alarm(kind, subject, text, now_ns)
        return alarm

    def active(self, now_ns: int) -> list[Alarm]:
        """Return the active alarms, the newest first.

        A level is active until a good observation ends it, any other alarm for its cool-down, `_SHOWN_S` at least.
        """
        alarms = []
        for key, alarm in self._raised.items():
            rule = self._rules.get(alarm.kind)
            if rule is None:
                active = key in self._active_levels
            else:
                active = now_ns - alarm.raised_ns < max(_SHOWN_S, rule.cooldown_s) * 1e9
            if active:
                alarms.append(alarm)
        return sorted(alarms, key=lambda alarm: alarm.raised_ns, reverse=True)
