"""A part's view: what its preview is made of, if anybody wants one."""

from __future__ import annotations

from typing import Literal, NamedTuple

from stream.core.halvings import Halvings
from stream.core.images import jpeg_of
from stream.line.config import LineConfig
from stream.line.sections import StoreOptions


class View(NamedTuple):
    """A view as it is sent.

    Attributes:
        data: pixels, or a JPEG.
        shape: (height, width, channels) of the uint8 pixels, BGR or grey; None: a JPEG.
    """

    data: bytes
    shape: tuple[int, int, Literal[1, 3]] | None


def view_of(region: Halvings, store: StoreOptions, *, raw: bool) -> View:
    """Return the view of a part's region: `raw` pixels, or a JPEG."""
    pixels = region.view(store.preview_max_px)
    if not raw:
        return View(jpeg_of(pixels, store.preview_jpeg_quality), None)
    return View(pixels.tobytes(), (pixels.shape[0], pixels.shape[1], 1 if pixels.ndim == 2 else 3))


def goes_raw(config: LineConfig, camera: str) -> bool:
    """Whether a camera's views are sent as pixels.

    Most parts are GOOD and nobody sees them. Within a host, a megapixel is passed on in a quarter of the time in which
    it is encoded; a network would be filled by it.
    """
    return all(address.startswith("ipc:") for address in (config.frames_address(camera), config.results_address()))
