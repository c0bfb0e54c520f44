"""The line as it runs: the live feed over a WebSocket, and what stands behind it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import time
from typing import Annotated, Any

import cv2
import numpy as np
from fastapi import APIRouter, HTTPException, WebSocket, WebSocketDisconnect
from starlette.requests import Request
from starlette.responses import Response

from stream.core.images import jpeg_within
from stream.core.verdict import Cause, Verdict
from stream.dashboard.live.latest import STATE, Subscription
from stream.dashboard.routes.schemas import Calibration, LineAnswer, RecentParts, StationAnswer, recent_answer
from stream.dashboard.services import Dashboard, dashboard_of
from stream.model.bundle import live_bundle

router = APIRouter(tags=["live"])

#: How often it is asked anew whether a browser may still watch.
_RECHECK_S = 5.0

_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}


@router.get("/line")
def line(request: Request) -> LineAnswer:
    """Return the stations as configured, and the closed lists of verdicts and causes."""
    config = dashboard_of(request).config
    stations = [
        StationAnswer(
            name=name,
            camera=station.camera,
            mode=station.mode,
            deadline_ms=station.deadline_ms,
            actuator=station.reject.actuator if station.reject else None,
        )
        for name, station in config.stations.items()
    ]
    return LineAnswer(line=config.line, stations=stations, verdicts=list(Verdict), causes=list(Cause))


@router.get("/stations/{station}/recent")
async def recent(request: Request, station: str) -> RecentParts:
    """Return the last parts of a station."""
    history = dashboard_of(request).hub.newest.history
    if station not in history:
        raise HTTPException(404, f"no station {station}")
    return recent_answer(list(history[station]))


@router.get("/stations/{station}/calibration")
def calibration(request: Request, station: str) -> Calibration:
    """Return the scores with which the station's bundle was calibrated; raises BundleError."""
    options = dashboard_of(request).config.stations.get(station)
    if options is None:
        raise HTTPException(404, f"no station {station}")
    bundle = live_bundle(options.bundle)
    thresholds = bundle.info.thresholds
    assert thresholds is not None, "live bundles are calibrated"
    return Calibration(
        bundle_sha256=bundle.sha256,
        threshold=thresholds.image,
        pixel_threshold=thresholds.pixel,
        scores=[float(score) for score in bundle.calibration_scores],
    )


@router.get("/rejects/{station}/{seq}.jpg", response_class=Response, responses=_JPEG)
async def reject(request: Request, station: str, seq: int) -> Response:
    """Return a small picture of one of the last parts that were not GOOD."""
    shown = dashboard_of(request).hub.newest.reject(station, seq)
    if shown is None or not shown.preview_jpeg:
        raise HTTPException(404, f"no picture of part {seq} of {station} (any more)")
    data = await asyncio.to_thread(thumbnail, shown.preview_jpeg)
    return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})


@router.websocket("/live")
async def live(socket: WebSocket, stations: Annotated[str | None, "comma-separated; default: all"] = None) -> None:
    """Send binary frames (see `live_frame`); each is to be answered with `{"ack": CHANNEL}`.

    Until then nothing more comes on that channel, and what comes next is the newest there is then.
    """
    found = dashboard_of(socket)
    await socket.accept()
    known = found.config.stations
    wanted = known if stations is None else [name for name in stations.split(",") if name in known]
    watcher, news = Subscription([STATE, *wanted]), found.hub.subscribe()
    listener = asyncio.create_task(_listen(socket, watcher, news))
    try:
        with contextlib.suppress(WebSocketDisconnect):
            await _show(found, socket, watcher, news, listener)
    finally:
        found.hub.unsubscribe(news)
        listener.cancel()
        with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect):
            await listener


async def _show(
    found: Dashboard, socket: WebSocket, watcher: Subscription, news: asyncio.Event, listener: asyncio.Task[None]
) -> None:
    news.set()
    recheck_s = time.monotonic() + _RECHECK_S
    while not listener.done():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await news.wait()
        news.clear()
        for channel in watcher.due(found.hub.newest.versions):
            await socket.send_bytes(found.hub.frame(channel))
        if time.monotonic() > recheck_s:
            recheck_s = time.monotonic() + _RECHECK_S
            if found.who(socket) is None:
                await socket.close(4401, "the session has ended")
                return


async def _listen(socket: WebSocket, watcher: Subscription, news: asyncio.Event) -> None:
    """Hear acknowledgements until the browser leaves, or says something else."""
    try:
        while True:
            watcher.acknowledge(json.loads(await socket.receive_text())["ack"])
            news.set()
    except (ValueError, KeyError, TypeError):
        await socket.close(1003, 'expected {"ack": CHANNEL}')
    finally:
        news.set()


_THUMBNAIL_PX = 240
_THUMBNAIL_QUALITY = 95


@functools.lru_cache(maxsize=64)
def thumbnail(preview_jpeg: bytes) -> bytes:
    """Return a JPEG whose longer side has at most 240 px; one that is small or cannot be decoded stays as it is."""
    picture = cv2.imdecode(np.frombuffer(preview_jpeg, np.uint8), cv2.IMREAD_COLOR)
    if picture is None or max(picture.shape[:2]) <= _THUMBNAIL_PX:
        return preview_jpeg
    return jpeg_within(np.asarray(picture, dtype=np.uint8), _THUMBNAIL_PX, _THUMBNAIL_QUALITY)
