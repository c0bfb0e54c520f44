"""What the dashboard tells browsers and programs: the JSON of its API, and the frames of its live feed.

Moments in nanoseconds are text, since JavaScript's numbers cannot hold them; seconds are numbers.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, Field

from stream.config_sections import AccessRole
from stream.dashboard.newest import STATE, Newest
from stream.messages import Cause, SettledPart, Verdict
from stream.records import AlarmRecord, Event
from stream.store_search import Place


class Me(BaseModel):
    """Who asks. `forgery_token` goes with every change as `X-Forgery-Token`; empty where none is needed."""

    name: str | None
    role: AccessRole | None
    login: bool
    forgery_token: str


class Credentials(BaseModel):
    """A login."""

    name: Annotated[str, Field(max_length=64)]
    password: Annotated[str, Field(max_length=1024)]


class StationAnswer(BaseModel):
    """A station as configured."""

    name: str
    camera: str
    mode: str
    deadline_ms: float
    actuator: str | None


class LineAnswer(BaseModel):
    """The line as configured."""

    line: str
    stations: list[StationAnswer]
    verdicts: list[Verdict]
    causes: list[Cause]


class Calibration(BaseModel):
    """What the station's bundle learned: the image scores of good pictures that are not in its bank."""

    bundle: str
    threshold: float
    pixel_threshold: float
    scores: list[float]


class Recent(BaseModel):
    """The last parts of a station, oldest first, in columns of one length."""

    seq: list[int]
    captured_s: list[float]
    verdict: list[Verdict]
    score: list[float | None]
    threshold: list[float | None]
    total_ms: list[float | None]
    stages: list[dict[str, float]]


MarkKind = Literal["false_alarm", "true_defect"]


class Mark(BaseModel):
    """What a person found at an event, and why."""

    station: str
    seq: int
    mark: MarkKind
    note: str
    who: str
    at_s: float


class EventAnswer(BaseModel):
    """One part. `place` is its place in time, for the pages before and after it."""

    event_id: int
    place: str
    station: str
    seq: int
    part_id: str | None
    verdict: Verdict
    cause: Cause | None
    detail: str
    action: str
    score: float | None
    threshold: float | None
    pixel_threshold: float | None
    captured_s: float
    worker: str | None
    bundle: str | None
    stages: dict[str, float]
    total_ms: float | None
    mark: Mark | None = None


class EventPage(BaseModel):
    """Events, the newest first; `older` and `newer` are the places to ask on from, None at the end."""

    events: list[EventAnswer]
    older: str | None
    newer: str | None


class AlarmName(BaseModel):
    """Which alarm."""

    kind: Annotated[str, Field(max_length=64)]
    subject: Annotated[str, Field(max_length=64)]
    raised_ns: Annotated[str, Field(pattern=r"^\d{1,19}$")]


class AlarmAnswer(AlarmName):
    """An alarm, and who has seen to it."""

    alarm_id: int | None
    raised_s: float
    text: str
    acknowledged_by: str | None
    acknowledged_s: float | None


class AlarmPage(BaseModel):
    """Alarms, the newest first; `older` is the id to ask on from."""

    alarms: list[AlarmAnswer]
    older: int | None


class AuditEntry(BaseModel):
    """Who changed what."""

    at_s: float
    who: str
    what: str
    detail: str


def event_answer(event: Event, mark: Mark | None) -> EventAnswer:
    """Return an event of the store as the API gives it."""
    assert event.event_id is not None, "it was read from the store"
    fields = {name: getattr(event, name) for name in EventAnswer.model_fields if hasattr(event, name)}
    place = f"{event.captured_realtime_ns}-{event.event_id}"
    return EventAnswer(**fields, place=place, captured_s=event.captured_realtime_ns / 1e9, mark=mark)


def place_of(text: str) -> Place:
    """Read a place; raises ValueError."""
    captured_ns, _, event_id = text.partition("-")
    return Place(int(captured_ns), int(event_id))


def alarm_answer(alarm: AlarmRecord, acknowledged: tuple[str, float] | None) -> AlarmAnswer:
    """Return an alarm of the store as the API gives it."""
    return AlarmAnswer(
        kind=alarm.kind,
        subject=alarm.subject,
        raised_ns=str(alarm.raised_realtime_ns),
        alarm_id=alarm.alarm_id,
        raised_s=alarm.raised_realtime_ns / 1e9,
        text=alarm.text,
        acknowledged_by=acknowledged[0] if acknowledged else None,
        acknowledged_s=acknowledged[1] if acknowledged else None,
    )


def recent_answer(parts: list[SettledPart]) -> Recent:
    """Return a station's last parts in columns."""
    return Recent(
        seq=[part.seq for part in parts],
        captured_s=[part.captured_realtime_ns / 1e9 for part in parts],
        verdict=[part.verdict for part in parts],
        score=[part.score for part in parts],
        threshold=[part.threshold for part in parts],
        total_ms=[part.total_ms for part in parts],
        stages=[part.stages for part in parts],
    )


def part_header(part: SettledPart) -> dict[str, Any]:
    """Return what a frame of the live feed says of a part."""
    return {
        "channel": part.station,
        "seq": part.seq,
        "part_id": part.part_id,
        "verdict": part.verdict,
        "cause": part.cause,
        "action": part.action,
        "score": part.score,
        "threshold": part.threshold,
        "pixel_threshold": part.pixel_threshold,
        "captured_s": part.captured_realtime_ns / 1e9,
        "total_ms": part.total_ms,
        "stages": part.stages,
        "grid": part.grid,
    }


def state_header(newest: Newest, seen: Mapping[tuple[str, str, int], tuple[str, float]]) -> dict[str, Any]:
    """Return what a frame of the live feed says of the line; `seen` tells who has seen to which alarm, and when."""
    state = newest.state
    assert state is not None, "there is a state before there is a version of it"
    return {
        "channel": STATE,
        "age_s": max(0.0, time.time() - state.at_realtime_ns / 1e9),
        "line": state.line,
        "stations": msgspec.to_builtins(state.stations),
        **{
            kind: {name: {"up": each.up, "text": each.text} for name, each in getattr(state, kind).items()}
            for kind in ("cameras", "workers", "actuators")
        },
        "alarms": [
            {
                "kind": alarm.kind,
                "subject": alarm.subject,
                "raised_ns": str(alarm.raised_realtime_ns),
                "raised_s": alarm.raised_realtime_ns / 1e9,
                "text": alarm.text,
                "acknowledged_by": seen.get((alarm.kind, alarm.subject, alarm.raised_realtime_ns), (None,))[0],
            }
            for alarm in state.alarms
        ],
        "rejects": [part_header(shown.part) | {"picture": bool(shown.view)} for shown in reversed(newest.rejects)],
    }


def live_frame(header: dict[str, Any], anomaly_map: bytes = b"", view: bytes = b"") -> bytes:
    """Return a frame: length of the header (uint32, little endian), header (JSON), map (float16), view (JPEG)."""
    text = json.dumps(header).encode()
    return struct.pack("<I", len(text)) + text + anomaly_map + view
