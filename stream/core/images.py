"""Image files: one way to list and decode them, and one encoder each for network inputs and previews."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import psutil
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from stream.core.errors import DatasetError
from stream.core.halvings import Halvings
from stream.core.pixel_layouts import PictureRefused, bgr_of, check_layout, unread_tiff

#: File name endings of images, in any case.
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

# The formats of these. A closed list, since some of Pillow's other readers start programs.
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")

#: Memory that reading takes for each pixel, as decoded and in BGR; and what no picture is refused for.
_BYTES_PER_PX, _ALWAYS_READ_BYTES = 6, 1 << 28

# Pillow's own limits are for pictures from strangers: line-scan cameras deliver larger ones, and some software writes
# its settings into a PNG. The memory decides, see `_check_size`.
Image.MAX_IMAGE_PIXELS = None
PngImagePlugin.MAX_TEXT_CHUNK = 1 << 28
PngImagePlugin.MAX_TEXT_MEMORY = 1 << 30

_ROTATED_BY_90 = (5, 6, 7, 8)  # EXIF orientations that swap width and height


def list_images(folder: Path, *, subfolders: bool = False) -> list[Path]:
    """Return the image files in `folder` in the order of their paths; hidden files and folders are left out.

    With `subfolders` also those in folders below it. Raises DatasetError when the folder is missing, cannot be read or
    holds no image.
    """
    wanted = " ".join(suffix.removeprefix(".") for suffix in SUFFIXES)
    if not folder.exists():
        raise DatasetError(f"{folder}: no such folder; name one that holds pictures ({wanted})")
    if not folder.is_dir():
        raise DatasetError(f"{folder}: not a folder; name the folder that holds the pictures")
    try:
        entries = sorted(folder.rglob("*") if subfolders else folder.iterdir())
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be read: {error.strerror}; check its permissions") from None
    pictures = [
        path
        for path in entries
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]
    if not pictures:
        raise DatasetError(
            f"{folder}: no picture in it ({wanted}); "
            + ("nor in its subfolders" if subfolders else "subfolders are not searched, name the one that holds them")
        )
    for path in pictures:
        try:
            path.name.encode()  # the name travels as part_id, which is UTF-8
        except UnicodeEncodeError:
            raise DatasetError(f"{folder}: rename {path.name!r}: its name is not UTF-8") from None
    return pictures


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return an image as (H, W, 3) uint8 BGR, upright as its EXIF orientation says, as a viewer shows it.

    Gray becomes three equal channels, of 12 and 16 bits the upper 8 stay; `docs/pictures.md` lists every layout. Raises
    DatasetError, naming the file and the reason, when it is missing, empty, cut short or damaged, or of a kind that
    viewers do not show alike; damage inside a BMP or plain TIFF whose length is right cannot be seen, since these
    formats carry no checksum, and inside a JPEG only if its stream breaks.
    """
    data = _content(path)
    # OpenCV silently decodes truncated files into gray or garbage; Pillow refuses them.
    with _opened(path, data) as check:
        check_layout(check, data)
        check.verify()  # PNG: every checksum, and the end mark
    with _opened(path, data) as picture:
        return bgr_of(picture, data)


def image_size(path: Path) -> tuple[int, int]:
    """Return (width, height) in pixels of what `read_image` returns, from the header alone.

    Raises DatasetError when there is no readable header.
    """
    with _opened(path, _content(path)) as picture:
        width, height = picture.size
        # Pillow turns the size of TIFF itself; asking a PNG's own getexif would decode it all.
        orientation = 1 if picture.format == "TIFF" else Image.Image.getexif(picture).get(0x0112, 1)
    return (height, width) if orientation in _ROTATED_BY_90 else (width, height)


def encoded_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) in pixels of an encoded image from its header alone; None for what is no image."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            return picture.size
    except Exception:  # noqa: BLE001 - Pillow's readers raise almost anything on damaged bytes
        return None


def _content(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror}") from None
    if not data:
        raise DatasetError(f"{path}: the file is empty; remove it or copy it again")
    return data


@contextmanager
def _opened(path: Path, data: bytes) -> Iterator[Image.Image]:
    """Open an image; any error inside the block becomes a DatasetError."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            _check_size(picture)
            yield picture
    except PictureRefused as refusal:
        raise DatasetError(f"{path}: {refusal}") from None
    except UnidentifiedImageError:
        known = unread_tiff(data)
        raise DatasetError(f"{path}: {known or 'not a picture, or cut short; remove it or copy it again'}") from None
    except MemoryError:
        raise DatasetError(f"{path}: there is not enough memory for it; cut it into smaller pictures") from None
    except Exception as error:  # noqa: BLE001 - Pillow's readers raise almost anything on damaged bytes
        reason = str(error) or type(error).__name__
        raise DatasetError(f"{path}: damaged picture ({reason}); remove it or copy it again") from None


def _check_size(picture: Image.Image) -> None:
    """Refuse what cannot be held in memory, before it is decoded."""
    width, height = picture.size
    needed, free = width * height * _BYTES_PER_PX, int(psutil.virtual_memory().available)
    if needed > max(free, _ALWAYS_READ_BYTES):
        raise PictureRefused(
            f"{width}×{height} px take {needed / 1e9:.1f} GB of memory to read, of which {free / 1e9:.1f} are free; "
            "cut it into smaller pictures"
        )


def png_of(pixels: NDArray[np.uint8]) -> bytes:
    """Return a network input, (H, W, 3) uint8 RGB, as PNG; the same pixels always give the same bytes."""
    # Without options OpenCV tries one filter only: quicker than its lowest compression level, and about as small.
    _, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return data.tobytes()


def pixels_of(png: bytes) -> NDArray[np.uint8]:
    """Return the (H, W, 3) uint8 RGB that `png_of` was given; raises ValueError for what is no image."""
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR) if png else None
    if image is None:
        raise ValueError("not an image")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def bgr_copy(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (H, W, 3) BGR or (H, W) grey uint8 as (H, W, 3) BGR, a copy."""
    return image.copy() if image.ndim == 3 else np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), dtype=np.uint8)


def jpeg_within(picture: NDArray[np.uint8] | Halvings, max_px: int, quality: int) -> bytes:
    """Return (H, W, 3) BGR or (H, W) grey uint8 as JPEG, first shrunk to `max_px` if its longer side exceeds that."""
    halvings = picture if isinstance(picture, Halvings) else Halvings(picture)
    return jpeg_of(halvings.view(max_px), quality)


def jpeg_of(image: NDArray[np.uint8], quality: int) -> bytes:
    """Return (H, W, 3) BGR or (H, W) grey uint8 as JPEG; raises ValueError for what no JPEG can hold."""
    encoded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise ValueError(f"no JPEG holds {image.shape[1]}×{image.shape[0]} px")
    return data.tobytes()
