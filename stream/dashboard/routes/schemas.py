"""The JSON of the dashboard's API.

Times in nanoseconds are text, since JavaScript's numbers cannot hold them; seconds are numbers.
"""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

import msgspec
from pydantic import BaseModel, Field

from stream.core.good_parts import KeptAs, hour_of
from stream.core.verdict import Cause, Verdict
from stream.line.sections import AccessRole
from stream.store.records import AlarmRecord, Event
from stream.store.review_store import AlarmName, Mark
from stream.store.search import LARGEST, NearMissPlace, Place
from stream.transport.messages import SettledPart


class Me(BaseModel):
    """Who sends the request (None: nobody known), and whether a login is needed here."""

    name: str | None
    role: AccessRole | None
    login: bool


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
    """The calibration of a station's live bundle: the image scores of good images that are not in its memory bank."""

    bundle_sha256: str
    threshold: float
    pixel_threshold: float
    scores: list[float]


class RecentParts(BaseModel):
    """The last parts of a station, oldest first, in columns of one length."""

    seq: list[int]
    captured_s: list[float]
    verdict: list[Verdict]
    score: list[float | None]
    threshold: list[float | None]
    total_ms: list[float | None]
    stages: list[dict[str, float]]


class SpotAnswer(BaseModel):
    """A spot, see `stream.core.spots.Spot`: in px of the part's region; where it is asked for alone, of its preview."""

    x_px: float
    y_px: float
    area_px: float
    length_px: float
    width_px: float
    box_px: tuple[int, int, int, int]
    peak: float
    place: str
    zone: str
    area_mm2: float | None
    length_mm: float | None
    width_mm: float | None
    rule: str | None


class PlacementAnswer(BaseModel):
    """How an aligned part lay in its frame against its place at fit: moved right and down, turned clockwise."""

    dx_px: float
    dy_px: float
    angle_deg: float
    match: float


class EventAnswer(BaseModel):
    """The event of one part. `place` is where it is in the list, from which the older and newer pages begin.

    `within_spec` tells that it is GOOD only because rules let its spots pass; `rule` decided, by `spot`, the number of
    one of the `spots`, from 1. `kept_as` says why another GOOD part has its images.
    """

    event_id: int
    place: str
    station: str
    seq: int
    part_id: str | None
    verdict: Verdict
    cause: Cause | None
    detail: str
    decision: str
    score: float | None
    threshold: float | None
    pixel_threshold: float | None
    within_spec: bool
    rule: str | None
    spot: int | None
    spots: list[SpotAnswer]
    captured_s: float
    worker: str | None
    bundle_sha256: str | None
    stages: dict[str, float]
    total_ms: float | None
    kept_as: KeptAs | None = None
    placement: PlacementAnswer | None = None
    mark: Mark | None = None


class EventPage(BaseModel):
    """Events in the order of the list; `older` and `newer` are the places of the adjoining pages, None at the end."""

    events: list[EventAnswer]
    older: str | None
    newer: str | None


class AlarmAnswer(AlarmName):
    """An alarm, and who acknowledged it."""

    alarm_id: int | None
    raised_s: float
    text: str
    acknowledged_by: str | None
    acknowledged_s: float | None


class AlarmPage(BaseModel):
    """Alarms, latest first; `older` is the id from which the next page begins, None at the end."""

    alarms: list[AlarmAnswer]
    older: int | None


def event_answer(event: Event, mark: Mark | None) -> EventAnswer:
    """Return an event of the store as the API shows it."""
    assert event.event_id is not None, "it was read from the store"
    fields = msgspec.structs.asdict(event.part) | {
        name: getattr(event, name) for name in EventAnswer.model_fields if hasattr(event, name)
    }
    fields["spots"] = [SpotAnswer(**msgspec.structs.asdict(spot)) for spot in event.part.spots]
    fields["placement"] = None if event.placement is None else msgspec.structs.asdict(event.placement)
    place = EventPlace.of(event).text()
    return EventAnswer(**fields, place=place, captured_s=event.captured_realtime_ns / 1e9, mark=mark)


class EventPlace(NamedTuple):
    """Where an event is in every order in which a list may be; as text the cursor of the list's pages."""

    captured_realtime_ns: int
    event_id: int
    score: float

    @classmethod
    def of(cls, event: Event) -> EventPlace:
        """Return the place of an event of the store."""
        assert event.event_id is not None, "it was read from the store"
        return cls(event.captured_realtime_ns, event.event_id, event.part.score or 0.0)

    @classmethod
    def read(cls, text: str) -> EventPlace:
        """Read a place; raises ValueError."""
        captured_ns, event_id, score = text.split("_")
        place = cls(int(captured_ns), int(event_id), float(score))
        if not (0 <= place.captured_realtime_ns <= LARGEST and 0 <= place.event_id <= LARGEST):
            raise ValueError("a number that no event has")
        if not math.isfinite(place.score):
            raise ValueError("a score that no event has")
        return place

    def text(self) -> str:
        """Return what `read` reads."""
        return f"{self.captured_realtime_ns}_{self.event_id}_{self.score!r}"

    @property
    def in_time(self) -> Place:
        """The place in the order of exposure."""
        return Place(self.captured_realtime_ns, self.event_id)

    @property
    def near_miss(self) -> NearMissPlace:
        """The place among the near misses."""
        return NearMissPlace(hour_of(self.captured_realtime_ns), self.score, self.event_id)


def alarm_answer(alarm: AlarmRecord, acknowledged: tuple[str, float] | None) -> AlarmAnswer:
    """Return an alarm of the store as the API shows it."""
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


def recent_answer(parts: list[SettledPart]) -> RecentParts:
    """Return a station's last parts, oldest first, in columns."""
    return RecentParts(
        seq=[settled.part.seq for settled in parts],
        captured_s=[settled.captured_realtime_ns / 1e9 for settled in parts],
        verdict=[settled.part.verdict for settled in parts],
        score=[settled.part.score for settled in parts],
        threshold=[settled.part.threshold for settled in parts],
        total_ms=[settled.total_ms for settled in parts],
        stages=[settled.stages for settled in parts],
    )
