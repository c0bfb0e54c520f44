"""The running line: its stations, its last parts and the live feed over a WebSocket."""

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
from stream.dashboard.services import NO_STATION, Dashboard, dashboard_of
from stream.line.unjudged_areas import unjudged_area
from stream.model.bundle import live_bundle

router = APIRouter(tags=["live"])

#: Interval at which an open feed's session is checked again, in seconds.
_RECHECK_S = 5.0

_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}
_PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}, 204: {}}


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
    """Return the last parts of a station, oldest first."""
    history = dashboard_of(request).hub.latest.history
    if station not in history:
        raise HTTPException(404, NO_STATION)
    # They come in the order of their settlement.
    return recent_answer(sorted(history[station], key=lambda settled: settled.part.seq))


@router.get("/stations/{station}/calibration")
def calibration(request: Request, station: str) -> Calibration:
    """Return the scores that the station's live bundle was calibrated with."""
    options = dashboard_of(request).config.stations.get(station)
    if options is None:
        raise HTTPException(404, NO_STATION)
    bundle = live_bundle(options.bundle)
    thresholds = bundle.info.thresholds
    assert thresholds is not None, "live bundles are calibrated"
    return Calibration(
        bundle_sha256=bundle.sha256,
        threshold=thresholds.image,
        pixel_threshold=thresholds.pixel,
        scores=[float(score) for score in bundle.calibration_scores],
    )


@router.get("/stations/{station}/unjudged/{bundle_sha256}.png", response_class=Response, responses=_PNG)
def unjudged(request: Request, station: str, bundle_sha256: str) -> Response:
    """Return what a bundle does not judge of a station's parts, opaque over the region, else transparent.

    204: it judges everything, or is neither live nor archived any more.
    """
    config = dashboard_of(request).config
    if station not in config.stations:
        raise HTTPException(404, NO_STATION)
    area = unjudged_area(config, station, bundle_sha256)
    if area is None:
        return Response(status_code=204)
    pixels = np.full((*area.shape, 4), 255, np.uint8)
    pixels[..., 3] = np.where(area, 255, 0)
    data = cv2.imencode(".png", pixels)[1].tobytes()
    return Response(data, media_type="image/png", headers={"cache-control": "private, max-age=86400, immutable"})


@router.get("/rejects/{station}/{seq}.jpg", response_class=Response, responses=_JPEG)
async def reject(request: Request, station: str, seq: int) -> Response:
    """Return a thumbnail of one of the last parts that were not GOOD."""
    part = dashboard_of(request).hub.latest.reject(station, seq)
    if part is None or not part.preview_jpeg:
        raise HTTPException(404, "no preview of this part, or no longer")
    data = await asyncio.to_thread(thumbnail, part.preview_jpeg)
    return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})


@router.websocket("/live")
async def live(socket: WebSocket, stations: Annotated[str | None, "comma-separated; default: all"] = None) -> None:
    """Send binary frames (see `live_frame`), each to be acknowledged with `{"ack": CHANNEL}`.

    Until then no further frame is sent on that channel; the next one is the latest there is by then.
    """
    dashboard = dashboard_of(socket)
    await socket.accept()
    known = dashboard.config.stations
    wanted = known if stations is None else [name for name in stations.split(",") if name in known]
    subscription, news = Subscription([STATE, *wanted]), dashboard.hub.subscribe()
    listener = asyncio.create_task(_receive(socket, subscription, news))
    try:
        with contextlib.suppress(WebSocketDisconnect):
            await _send(dashboard, socket, subscription, news, listener)
    finally:
        dashboard.hub.unsubscribe(news)
        listener.cancel()
        with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect):
            await listener


async def _send(
    dashboard: Dashboard,
    socket: WebSocket,
    subscription: Subscription,
    news: asyncio.Event,
    listener: asyncio.Task[None],
) -> None:
    news.set()
    recheck_s = time.monotonic() + _RECHECK_S
    while not listener.done():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await news.wait()
        news.clear()
        for channel in subscription.due(dashboard.hub.latest.versions):
            await socket.send_bytes(dashboard.hub.frame(channel))
        if time.monotonic() > recheck_s:
            recheck_s = time.monotonic() + _RECHECK_S
            if dashboard.identity_of(socket) is None:
                await socket.close(4401, "the session has ended")
                return


async def _receive(socket: WebSocket, subscription: Subscription, news: asyncio.Event) -> None:
    """Receive acknowledgements until the browser leaves or sends anything else."""
    try:
        while True:
            subscription.acknowledge(json.loads(await socket.receive_text())["ack"])
            news.set()
    except (ValueError, KeyError, TypeError, RecursionError):
        await socket.close(1003, 'expected {"ack": CHANNEL}')
    finally:
        news.set()


#: Longer side of a thumbnail.
_THUMBNAIL_PX = 240
_THUMBNAIL_QUALITY = 95


@functools.lru_cache(maxsize=64)
def thumbnail(preview_jpeg: bytes) -> bytes:
    """Return a JPEG whose longer side has at most 240 px; one that is small or cannot be decoded stays as it is."""
    picture = cv2.imdecode(np.frombuffer(preview_jpeg, np.uint8), cv2.IMREAD_COLOR)
    if picture is None or max(picture.shape[:2]) <= _THUMBNAIL_PX:
        return preview_jpeg
    return jpeg_within(np.asarray(picture, dtype=np.uint8), _THUMBNAIL_PX, _THUMBNAIL_QUALITY)
