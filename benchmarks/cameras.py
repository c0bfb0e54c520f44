"""What does a part of a large camera cost, from its pixels to its score?

Drawn parts of 0.3 to 20 megapixels, in BGR, mono and Bayer (as a camera sends it: demosaicing is its stage), as one
square network input of about 224 px and as 4×3 tiles of that size: the milliseconds of each stage in one thread,
network input and preview the old way beside it (two area averages from full size), and how near the network input is to
the exact means of areas in float64. Medians; both ways take turns, so that a busy machine slows both.

Encoding is the preview's JPEG, which only parts that are not GOOD, kept or watched have. Parts per second
are what one core makes of all other stages.

    .venv/bin/python benchmarks/cameras.py [--repeats 9] [--no-network]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from conditions import conditions, report
from numpy.typing import NDArray
from rich.progress import track
from rich.table import Table

from stream.cli.bench.trial import make_images
from stream.core.halvings import Halvings
from stream.core.images import jpeg_of, list_images
from stream.model.bundle import Bundle, load_bundle
from stream.model.extractor import load_extractor
from stream.model.patchcore.inspector import inspect
from stream.model.patchcore.preprocess import network_input
from stream.model.patchcore.tiles import Tiling
from stream.training.fit import fit
from stream.training.fit_options import FitOptions
from stream.training.learning import search_of

#: (width, height) of the cameras' pictures.
CAMERAS = {
    "0.3": (640, 480),
    "1.3": (1280, 1024),
    "5": (2448, 2048),
    "12": (4096, 3000),
    "20": (5472, 3648),
}
FORMATS = ("BGR", "mono", "Bayer")
TILES = {"one": None, "4×3": Tiling(4, 3)}
PREVIEW_PX, QUALITY = 1024, 85
#: Good pictures of each bundle, of a size that fits quickly: banks and networks do not depend on it.
_GOOD, _GOOD_PX = 30, (640, 480)


class Cost(NamedTuple):
    """Medians in ms, and dB."""

    convert_ms: float
    resize_ms: float
    old_ms: float
    encode_ms: float
    psnr_db: float


def picture(size_px: tuple[int, int], kind: str) -> NDArray[np.uint8]:
    """Draw a part as a camera sends it: (H, W, 3) BGR, or (H, W) grey or RGGB."""
    random = np.random.default_rng(1)
    drawn = cv2.resize(random.normal(128, 40, (24, 24, 3)).astype(np.float32), size_px, interpolation=cv2.INTER_CUBIC)
    for number in range(60):
        place = (int(random.integers(0, size_px[0])), int(random.integers(0, size_px[1])))
        colour = tuple(map(float, random.integers(0, 256, 3)))
        cv2.circle(drawn, place, int(random.integers(3, size_px[1] // 12)), colour, cv2.FILLED if number % 2 else 3)
    drawn += random.standard_normal(drawn.shape, dtype=np.float32) * 6
    colours = np.clip(drawn, 0, 255).astype(np.uint8)
    if kind == "BGR":
        return colours
    if kind == "mono":
        return np.ascontiguousarray(colours[:, :, 1])
    bayer = np.ascontiguousarray(colours[:, :, 1])
    bayer[::2, ::2], bayer[1::2, 1::2] = colours[::2, ::2, 2], colours[1::2, 1::2, 0]
    return bayer


def image_of(sent: NDArray[np.uint8], kind: str) -> NDArray[np.uint8]:
    """Return a frame's image of what a camera sent."""
    return np.asarray(cv2.cvtColor(sent, cv2.COLOR_BayerRGGB2BGR), np.uint8) if kind == "Bayer" else sent


def old_way(image: NDArray[np.uint8], input_px: tuple[int, int]) -> None:
    """Average areas from full size, once for the network input and once for the preview; grey was three channels."""
    colours = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    cv2.cvtColor(cv2.resize(colours, input_px, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
    factor = min(1.0, PREVIEW_PX / max(image.shape))
    size_px = round(image.shape[1] * factor), round(image.shape[0] * factor)
    cv2.resize(colours, size_px, interpolation=cv2.INTER_AREA)


def new_way(image: NDArray[np.uint8], input_px: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Return network input and view, as capture makes them."""
    halvings = Halvings(image)
    return network_input(halvings, input_px), halvings.view(PREVIEW_PX)


def exact(image: NDArray[np.uint8], size_px: tuple[int, int]) -> NDArray[np.float64]:
    """Return the means of areas of each channel, (height, width, 3) RGB, in float64."""
    rows, columns = (_shares(edge, size) for edge, size in zip(image.shape[:2], size_px[::-1], strict=True))
    channels = [image] * 3 if image.ndim == 2 else list(cv2.split(image))[::-1]
    return np.dstack([rows @ (channel.astype(np.float64) @ columns.T) for channel in channels])


def _shares(edge_px: int, size_px: int) -> NDArray[np.float64]:
    borders = np.arange(size_px + 1)[:, None] * edge_px / size_px
    overlaps = np.minimum(np.arange(edge_px) + 1, borders[1:]) - np.maximum(np.arange(edge_px), borders[:-1])
    return np.asarray(np.clip(overlaps, 0, None) * size_px / edge_px)


def _ms(call: Callable[[], object]) -> float:
    begun_s = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - begun_s)


def cost(size_px: tuple[int, int], kind: str, input_px: tuple[int, int], repeats: int) -> Cost:
    """Measure one camera."""
    sent = picture(size_px, kind)
    image = image_of(sent, kind)
    pixels, view = new_way(image, input_px)
    difference = np.square(pixels - exact(image, input_px)).mean()
    calls: tuple[Callable[[], object], ...] = (
        lambda: image_of(sent, kind),
        lambda: new_way(image, input_px),
        lambda: old_way(image, input_px),
        lambda: jpeg_of(view, QUALITY),
    )
    times = np.median([[_ms(call) for call in calls] for _ in range(repeats)], axis=0)
    return Cost(*map(float, times), float(10 * np.log10(255**2 / max(1e-9, difference))))


def inspection_ms(bundle: Bundle, repeats: int) -> float:
    """Return the median ms of backbone, search and score of one part in one thread."""
    extractor = load_extractor(bundle.info.spec, threads=1, graph=bundle.graph)
    search = search_of(bundle.bank, extractor)
    width_px, height_px = bundle.info.spec.input_px
    inputs = np.random.default_rng(0).integers(0, 256, (1, height_px, width_px, 3), np.uint8)
    times = [_ms(lambda: inspect(extractor, search, inputs, bundle.scoring)) for _ in range(repeats + 2)]
    return float(np.median(times[2:]))


def main() -> None:
    """Print a row for each camera, pixel format and number of tiles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--no-network", action="store_true", help="leave backbone and search out")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    columns = ("MP", "pixels", "tiles", "network input", "demosaic", "input + view", "old way", "JPEG")
    table = Table(*columns, "network + search", "parts/s", "PSNR")
    with tempfile.TemporaryDirectory() as scratch:
        good = make_images(Path(scratch) / "good", _GOOD, _GOOD_PX)
        for tiles, tiling in TILES.items():
            path = Path(scratch) / f"{tiles}.safetensors"
            fit(good, path, FitOptions(tiling=tiling, calibration="split"))
            bundle = load_bundle(path)
            input_px = bundle.info.spec.input_px
            network_ms = 0.0 if options.no_network else inspection_ms(bundle, options.repeats)
            for camera, size_px in track(CAMERAS.items(), f"{len(list_images(good))} pictures, tiles: {tiles}"):
                for kind in FORMATS:
                    found = cost(size_px, kind, input_px, options.repeats)
                    total_ms = found.convert_ms * (kind == "Bayer") + found.resize_ms + network_ms
                    table.add_row(
                        *(camera, kind, tiles, f"{input_px[0]}×{input_px[1]}"),
                        f"{found.convert_ms:.1f}" if kind == "Bayer" else "-",
                        *(f"{found.resize_ms:.1f}", f"{found.old_ms:.1f}", f"{found.encode_ms:.1f}"),
                        f"{network_ms:.1f}" if network_ms else "-",
                        *(f"{1e3 / total_ms:.0f}" if network_ms else "-", f"{found.psnr_db:.0f} dB"),
                    )
    note = "Milliseconds of one thread, medians. PSNR of the network input against the exact means of areas (float64)."
    machine = conditions("opencv-python-headless", "openvino", "numpy", "patchline")
    report("cameras", "Large cameras", "python benchmarks/cameras.py", machine, table, note)


if __name__ == "__main__":
    main()
