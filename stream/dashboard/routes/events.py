"""Events: pages, filters, images, export and marks."""

from __future__ import annotations

import csv
import io
import itertools
import time
import zipfile
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from fastapi import APIRouter, Depends, HTTPException, Query
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from stream.core.csv_cells import csv_cell
from stream.core.images import encoded_size
from stream.core.verdict import Cause, Verdict
from stream.dashboard.access import Identity
from stream.dashboard.routes.schemas import EventAnswer, EventPage, EventPlace, SpotAnswer, event_answer
from stream.dashboard.services import Dashboard, dashboard_of, require_role
from stream.line.unjudged_areas import unjudged_area
from stream.model.patchcore.spots import spot_in_picture
from stream.store.event_reader import EventReader
from stream.store.overlay import overlay
from stream.store.records import Event, EventImages
from stream.store.review_store import OF_GOOD, Mark, MarkKind
from stream.store.schema import EVENT_COLUMNS, PART_COLUMNS, PLACEMENT_COLUMNS

router = APIRouter(tags=["events"])

_NO_EVENT = "no such event, or no longer"

#: Latest time of a filter, in seconds; nanoseconds beyond it do not fit the store.
_LATEST_S = 9e9
#: Events in an export.
_EXPORTED = 20_000
#: Columns of the exported table: those of an event without its stages.
_TABLE = (*PART_COLUMNS, *(column for column in EVENT_COLUMNS if column != "stages"), *PLACEMENT_COLUMNS)
_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}
_PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}
Moment = Annotated[float | None, Query(ge=0, le=_LATEST_S, description="time of exposure, in seconds since 1970")]


class EventFilter(NamedTuple):
    """The filters of a request."""

    station: str | None
    verdicts: list[Verdict]
    cause: Cause | None
    within_spec: bool
    skipped: bool
    seq: int | None
    part_id: str | None
    since_ns: int
    until_ns: int
    near_misses: bool


def read_filters(
    station: str | None = None,
    verdict: Annotated[list[Verdict] | None, Query(description="any of these")] = None,
    cause: Cause | None = None,
    within_spec: Annotated[bool, Query(description="only the parts that are GOOD because rules let them pass")] = False,
    skipped: Annotated[bool, Query(description="false: without the frames that free-running cameras skipped")] = True,
    seq: Annotated[int | None, Query(ge=0, lt=2**53)] = None,
    part_id: Annotated[str | None, Query(max_length=1000, description="the whole part id")] = None,
    since_s: Moment = None,
    until_s: Moment = None,
    near_misses: Annotated[
        bool,
        Query(description="only GOOD parts kept with images, the latest hour first, in it the highest score"),
    ] = False,
) -> EventFilter:
    """Read the filters of a request."""
    until_ns = round((_LATEST_S if until_s is None else until_s) * 1e9)
    since_ns = round((since_s or 0) * 1e9)
    if near_misses and (verdict or cause or within_spec or seq is not None or part_id):
        raise HTTPException(422, "near_misses: only station, since_s and until_s can narrow them")
    if within_spec and (verdict or cause):
        raise HTTPException(422, "within_spec: these parts are GOOD; leave verdict and cause out")
    return EventFilter(
        station, verdict or [], cause, within_spec, skipped, seq, part_id, since_ns, until_ns, near_misses
    )


@router.get("/events")
def events(
    request: Request,
    filters: Annotated[EventFilter, Depends(read_filters)],
    before: Annotated[str | None, Query(description="place: return the page older than it")] = None,
    after: Annotated[str | None, Query(description="place: return the page newer than it")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 60,
) -> EventPage:
    """Return one page of events, latest first, or with `near_misses` those of each hour by score."""
    dashboard = dashboard_of(request)
    older, newer = _place(before), _place(after)
    with dashboard.store() as store:
        # One more than requested tells whether the next page has any.
        page = _page(store, filters, before=older, after=newer, limit=limit + 1)
    more = len(page) > limit
    page = page[-limit:] if newer else page[:limit]
    marks = dashboard.review.marks((event.part.station, event.part.seq) for event in page)
    answers = [event_answer(event, marks.get((event.part.station, event.part.seq))) for event in page]
    has_older, has_newer = (bool(page), more) if newer else (more, older is not None)
    return EventPage(
        events=answers,
        older=answers[-1].place if answers and has_older else None,
        newer=answers[0].place if answers and has_newer else None,
    )


@router.get("/events.zip", response_class=Response, responses={200: {"content": {"application/zip": {}}}})
def export(request: Request, filters: Annotated[EventFilter, Depends(read_filters)], pictures: bool = True) -> Response:
    """Return a zip file of the matching events, 20,000 at most: a CSV table, and previews plain and with heat map."""
    headers = {"content-disposition": 'attachment; filename="events.zip"'}
    pieces = _zip(dashboard_of(request), filters, pictures)
    first = next(pieces)  # an event store that cannot be read is an answer of its own, not half a file
    return StreamingResponse(itertools.chain([first], pieces), media_type="application/zip", headers=headers)


@router.get("/events/{event_id}")
def event(request: Request, event_id: int) -> EventAnswer:
    """Return one event."""
    dashboard = dashboard_of(request)
    event, _ = _event(dashboard, event_id)
    return event_answer(event, _mark_of(dashboard, event))


@router.get("/events/{event_id}/preview.jpg", response_class=Response, responses=_JPEG)
def preview_jpeg(request: Request, event_id: int) -> Response:
    """Return the preview without heat map."""
    _, images = _event(dashboard_of(request), event_id)
    return _unchanging(_present(images).preview_jpeg, "image/jpeg")


@router.get("/events/{event_id}/overlay.jpg", response_class=Response, responses=_JPEG)
def with_overlay(request: Request, event_id: int) -> Response:
    """Return the preview with heat map and outlines; what is not judged is hatched."""
    dashboard = dashboard_of(request)
    event, images = _event(dashboard, event_id)
    data = overlay(event, _present(images), _unjudged(dashboard, event))
    if data is None:
        raise HTTPException(404, "the preview cannot be decoded")
    return _unchanging(data, "image/jpeg")


@router.get("/events/{event_id}/map", response_class=Response)
def patch_distances(request: Request, event_id: int) -> Response:
    """Return the patch distances, float16, little endian, row by row; the header X-Grid is HEIGHTxWIDTH."""
    grid = _present(_event(dashboard_of(request), event_id)[1]).patch_distances
    if grid is None:
        raise HTTPException(404, "this event has no patch distances")
    answer = _unchanging(grid.astype("<f2").tobytes(), "application/octet-stream")
    answer.headers["x-grid"] = f"{grid.shape[0]}x{grid.shape[1]}"
    return answer


@router.get("/events/{event_id}/spot")
def strongest_spot(request: Request, event_id: int) -> SpotAnswer:
    """Return where the part resembles the good ones least."""
    event, images = _event(dashboard_of(request), event_id)
    images, pixel_threshold = _present(images), event.part.pixel_threshold
    size_px = encoded_size(images.preview_jpeg)
    if images.patch_distances is None or pixel_threshold is None or size_px is None:
        raise HTTPException(404, "this event has no patch distances, or no preview")
    spot = spot_in_picture(images.patch_distances, pixel_threshold, (size_px[1], size_px[0]))
    if spot is None:
        raise HTTPException(404, "all patch distances of this event are 0")
    return SpotAnswer(**msgspec.structs.asdict(spot))


@router.get("/events/{event_id}/input.png", response_class=Response, responses=_PNG)
def network_input(request: Request, event_id: int) -> Response:
    """Return the network input of a DEFECT or a kept GOOD part without loss, or of one that rules let pass."""
    with dashboard_of(request).store() as store:
        data = store.network_input_png(event_id) if 0 < event_id < 2**62 else None
    if data is None:
        raise HTTPException(404, "this event has no network input, or no longer")
    return _unchanging(data, "image/png")


class EventMark(BaseModel):
    """A user's finding on an event."""

    mark: MarkKind
    note: Annotated[str, Field(max_length=1000)] = ""


@router.post("/events/{event_id}/mark")
def mark(
    request: Request,
    event_id: int,
    finding: EventMark,
    operator: Annotated[Identity, Depends(require_role("operator"))],
) -> EventAnswer:
    """Mark an event as a false alarm or a true defect, a GOOD one as a missed defect or as good."""
    dashboard = dashboard_of(request)
    event, _ = _event(dashboard, event_id)
    if (event.part.verdict is Verdict.GOOD) != (finding.mark in OF_GOOD):
        raise HTTPException(409, f"this event is {event.part.verdict}: it cannot be marked {finding.mark}")
    mark = Mark(
        station=event.part.station,
        seq=event.part.seq,
        mark=finding.mark,
        note=finding.note,
        who=operator.name,
        at_s=time.time(),
    )
    dashboard.review.mark(mark)
    return event_answer(event, mark)


def _place(text: str | None) -> EventPlace | None:
    try:
        return EventPlace.read(text) if text else None
    except ValueError:
        raise HTTPException(422, "before, after: expected the place of an event") from None


def _event(dashboard: Dashboard, event_id: int) -> tuple[Event, EventImages | None]:
    if not 0 < event_id < 2**62:
        raise HTTPException(404, _NO_EVENT)
    with dashboard.store() as store:
        event = store.event(event_id)
        if event is None:
            raise HTTPException(404, _NO_EVENT)
        return event, store.images(event_id)


def _unjudged(dashboard: Dashboard, event: Event) -> NDArray[np.bool_] | None:
    return unjudged_area(dashboard.config, event.part.station, event.bundle_sha256)


def _mark_of(dashboard: Dashboard, event: Event) -> Mark | None:
    key = event.part.station, event.part.seq
    return dashboard.review.marks([key]).get(key)


def _present(images: EventImages | None) -> EventImages:
    if images is None or not images.preview_jpeg:
        raise HTTPException(404, "this event has no images, or no longer")
    return images


def _unchanging(data: bytes, kind: str) -> Response:
    """Return a response that browsers may keep, since an event's images never change."""
    return Response(data, media_type=kind, headers={"cache-control": "private, max-age=3600, immutable"})


def _zip(dashboard: Dashboard, filters: EventFilter, pictures: bool) -> Iterator[bytes]:
    """Yield a zip file piece by piece: images as they are read, then the table."""
    target = _Pieces()
    table = io.StringIO()
    # Quoted, so that a separator of another country does not begin a new cell.
    rows = csv.writer(table, quoting=csv.QUOTE_NONNUMERIC)
    rows.writerow([*_TABLE, "picture", "mark", "note", "marked_by"])
    with dashboard.store() as store, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for event in _all(store, filters):
            assert event.event_id is not None, "it was read from the store"
            images = store.images(event.event_id) if pictures else None
            name = ""
            if images is not None and images.preview_jpeg:
                name = f"{event.part.station}_{event.part.seq:09d}_{event.part.verdict}"
                archive.writestr(f"pictures/{name}.jpg", images.preview_jpeg)
                drawn = overlay(event, images, _unjudged(dashboard, event))
                if drawn is not None:
                    archive.writestr(f"overlays/{name}.jpg", drawn)
            mark = _mark_of(dashboard, event)
            marked = [mark.mark, mark.note, mark.who] if mark else ["", "", ""]
            rows.writerow([csv_cell(value) for value in (*_row(event), name, *marked)])
            yield target.take()
        archive.writestr("events.csv", table.getvalue())
    yield target.take()


def _page(
    store: EventReader, filters: EventFilter, *, before: EventPlace | None, after: EventPlace | None, limit: int
) -> list[Event]:
    if filters.near_misses:
        return store.near_misses(
            station=filters.station,
            since_ns=filters.since_ns,
            until_ns=filters.until_ns,
            before=before.near_miss if before else None,
            after=after.near_miss if after else None,
            limit=limit,
        )
    which = filters._asdict()
    del which["near_misses"]
    return store.search(
        **which, before=before.in_time if before else None, after=after.in_time if after else None, limit=limit
    )


def _all(store: EventReader, filters: EventFilter) -> Iterator[Event]:
    before, left = None, _EXPORTED
    while left > 0 and (page := _page(store, filters, before=before, after=None, limit=min(200, left))):
        yield from page
        left -= len(page)
        before = EventPlace.of(page[-1])


def _row(event: Event) -> list[object]:
    """Return an event's values in the order of `_TABLE`."""
    of = dict.fromkeys(PART_COLUMNS, event.part) | dict.fromkeys(PLACEMENT_COLUMNS, event.placement)
    values: list[object] = [getattr(of.get(column, event), column, None) for column in _TABLE]
    values[_TABLE.index("spots")] = msgspec.json.encode(event.part.spots).decode() if event.part.spots else ""
    return values


class _Pieces(io.RawIOBase):
    """Collects written bytes until they are taken; not seekable, as zipfile finds out."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        data, self._pieces = b"".join(self._pieces), []
        return data
