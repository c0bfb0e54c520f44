"""The strangest good pictures that calibrated a station's live bundle."""

from __future__ import annotations

import math
from typing import Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from stream.dashboard.services import dashboard_of_station
from stream.dashboard.tuning.strangest import StrangePictures, strange_pictures

router = APIRouter(tags=["tuning"])

_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}


class StrangePictureAnswer(BaseModel):
    """A good picture; `threshold_without` is the threshold of all others' scores, None where there are no others."""

    rank: int
    name: str
    score: float
    threshold_without: float | None


class StrangestAnswer(BaseModel):
    """The good pictures with the largest calibration scores, the strangest first."""

    bundle_sha256: str
    pictures: list[StrangePictureAnswer]


@router.get("/stations/{station}/strangest")
def strangest(request: Request, station: str) -> StrangestAnswer:
    """Return the strangest good pictures of a station's live bundle."""
    strange = _strange(request, station)
    pictures = [
        StrangePictureAnswer(
            rank=picture.rank,
            name=picture.name,
            score=picture.score,
            threshold_without=None if math.isnan(picture.threshold_without) else picture.threshold_without,
        )
        for picture in strange.pictures
    ]
    return StrangestAnswer(bundle_sha256=strange.bundle_sha256, pictures=pictures)


@router.get("/stations/{station}/strangest/{bundle_sha256}/{rank}.jpg", response_class=Response, responses=_JPEG)
def strange_picture(request: Request, station: str, bundle_sha256: str, rank: int) -> Response:
    """Return one of them with heat map, while its bundle is live."""
    strange = _strange(request, station)
    if bundle_sha256 != strange.bundle_sha256 or not 1 <= rank <= len(strange.jpegs):
        raise HTTPException(404, "no such strange picture of the live bundle, or no longer")
    headers = {"cache-control": "private, max-age=86400, immutable"}
    return Response(strange.jpegs[rank - 1], media_type="image/jpeg", headers=headers)


def _strange(request: Request, station: str) -> StrangePictures:
    return strange_pictures(dashboard_of_station(request, station).config.stations[station].bundle)
