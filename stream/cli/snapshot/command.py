"""`patchline snapshot`: one frame of a camera, with the stations' regions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stream.cli.snapshot.picture import Region
    from stream.line.config import LineConfig


def snapshot(
    config: Annotated[Path, typer.Argument(help="The line's YAML file, see configs/line.yaml.", show_default=False)],
    camera: Annotated[str, typer.Argument(help="Which of its cameras.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="Image to write: .png, .jpg, .bmp or .tif.")],
    raw: Annotated[bool, typer.Option("--raw", help="Do not draw the stations' regions.")] = False,
    wait_s: Annotated[float, typer.Option("--wait", min=0.1, max=3600, help="Seconds to wait for a frame.")] = 10.0,
) -> None:
    """Take one frame with the camera settings of the line and draw each station's region into it.

    Example: `patchline snapshot line.yaml top -o top.png`
    """
    from rich.text import Text

    from stream.cli.app import out
    from stream.cli.snapshot.picture import draw_regions, take_picture
    from stream.core.errors import ConfigError
    from stream.core.files import check_destination
    from stream.line.config import load
    from stream.line.permissions import line_rights

    line = load(config)
    if camera not in line.cameras:
        raise ConfigError(f"{config}: no camera '{camera}'; known: {', '.join(sorted(line.cameras))}")
    if output.suffix.lower() not in (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"):
        raise ConfigError(f"--output: {output}: expected a name that ends in .png, .jpg, .bmp or .tif")
    check_destination(output, stream=True)
    regions = _regions(line, camera)
    with line_rights(line), _alone(line, camera):
        image = take_picture(line.cameras[camera].open(), wait_s)
    _write(output, image if raw else draw_regions(image, regions))
    out.print(f"{image.shape[1]}×{image.shape[0]} px written to {output}", highlight=False, soft_wrap=True)
    for region in regions:
        if not region.within(image):
            out.print(
                Text.assemble(
                    ("warning: ", "yellow"),
                    f"stations.{region.station}.roi: {list(region.roi or ())} reaches outside of the picture: "
                    "each of its parts would be UNINSPECTED(wrong_geometry)",
                ),
                soft_wrap=True,
            )


@contextmanager
def _alone(line: LineConfig, camera: str) -> Iterator[None]:
    """Hold the camera's lock for the block; raises CameraError if the line holds it."""
    from stream.core.errors import CameraError, TransportError
    from stream.line.locks import lock_role

    if not line.state.is_dir():  # the line never ran
        yield
        return
    try:
        lock = lock_role(f"capture-{camera}", line.state)
    except TransportError as error:
        holder = str(error).partition(";")[0]
        raise CameraError(f"the running line holds camera '{camera}': {holder}; stop it first") from None
    with lock:
        yield


def _regions(line: LineConfig, camera: str) -> list[Region]:
    """Return each station's region; without `roi` and before its bundle is fitted that is the whole frame."""
    from stream.cli.app import err
    from stream.cli.snapshot.picture import Region
    from stream.core.errors import BundleError
    from stream.model.bundle import load_bundle

    regions = []
    for name, station in line.stations_of(camera).items():
        roi = station.roi
        if roi is None and station.bundle.exists():
            try:
                roi = load_bundle(station.bundle).info.roi
            except BundleError as error:
                err.print(f"warning: stations.{name}.bundle: {error}", soft_wrap=True)
        regions.append(Region(name, roi))
    return regions


def _write(path: Path, image: object) -> None:
    import cv2

    from stream.core.files import write_atomically

    _, data = cv2.imencode(path.suffix.lower(), image)  # type: ignore[call-overload]
    write_atomically(path, data.tobytes())
