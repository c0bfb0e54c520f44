"""Pictures of any pixel layout as 8-bit colour, as a viewer shows them; what viewers show differently is refused.

`docs/pictures.md` lists what is read how. Nothing is scaled by a picture's own content: good parts and the parts of
tomorrow must have one scale.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin

from stream.core.jpeg_stream import jpeg_refusal

#: TIFF tags.
_HEIGHT = 257
_SUBFILE, _BITS, _PHOTOMETRIC, _OFFSETS, _ROWS, _PLANES, _TILES, _FORMAT = 254, 258, 262, 273, 278, 284, 324, 339
#: Pages of a TIFF that are no pictures of their own: reduced copies, and masks.
_NO_PAGE = 1 | 4
_WHITE_IS_ZERO, _PLANAR, _UNSIGNED, _SIGNED, _FLOAT = 0, 2, (1, 4), 2, 3
#: Sixteen-bit pictures whose every value is below this have the bits of a camera with fewer.
_DARK_16 = 1 << 14
_MODES = ("1", "L", "P", "LA", "La", "PA", "RGB", "RGBX", "RGBA", "CMYK", "YCbCr")


class PictureRefused(Exception):  # noqa: N818 - becomes a DatasetError
    """A picture that is whole, but not read; the message says why and what to do."""


def check_layout(picture: Image.Image, data: bytes) -> None:
    """Raise PictureRefused for what viewers do not show alike; looks at the header, and a JPEG's stream."""
    if picture.format == "JPEG" and (reason := jpeg_refusal(data)):
        raise PictureRefused(reason)
    if (pages := _pages(picture)) > 1:
        raise PictureRefused(f"{pages} pictures in one file, of which a viewer shows the first; save each in its own")
    if picture.format == "TIFF":
        _check_tiff(picture)
    if picture.mode in ("I", "F"):
        raise PictureRefused("32 bits per pixel; save it with 8 or 16")
    if picture.mode not in _MODES and not picture.mode.startswith("I;16"):
        raise PictureRefused(f"pixels in {picture.mode}; save it in grey or RGB")


def bgr_of(picture: Image.Image, data: bytes) -> NDArray[np.uint8]:
    """Return a picture whose layout was checked as (H, W, 3) uint8 BGR, upright.

    Raises PictureRefused for its content, and what Pillow raises for damage.
    """
    bits = _bits(picture, data)
    pixels, decoded = np.asarray(picture), picture.im
    _check_rows(picture, pixels, data)
    ImageOps.exif_transpose(picture, in_place=True)
    if picture.im is not decoded:
        pixels = np.asarray(picture)
    if _transparent(picture, pixels, bits):
        raise PictureRefused("it has transparent parts, which every viewer fills differently; save it without alpha")
    if picture.mode.startswith("I;16"):
        _check_range(pixels, bits)
        gray = (pixels >> (bits - 8)).astype(np.uint8)
        if _tag(picture, _PHOTOMETRIC) == _WHITE_IS_ZERO:
            gray = 255 - gray
        return np.repeat(gray[:, :, np.newaxis], 3, axis=2)
    if picture.mode == "La":
        picture = picture.convert("LA")
    rgb = pixels if picture.mode == "RGB" else np.asarray(picture.convert("RGB"))
    if bits == 16:  # Pillow has dropped the lower 8
        _check_range(rgb.astype(np.uint16) << 8, bits)
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), dtype=np.uint8)


def unread_tiff(data: bytes) -> str | None:
    """Return what a TIFF is that Pillow knows no way to read, from its first directory; None for other files."""
    if data[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return None
    try:
        file = io.BytesIO(data)
        big = data[2:3] == b"+" or data[3:4] == b"+"
        directory = TiffImagePlugin.ImageFileDirectory_v2(file.read(16 if big else 8))
        file.seek(directory.next)
        directory.load(file)
        bits = "+".join(str(each) for each in _numbers(directory.get(_BITS, 1)))
    except Exception:  # noqa: BLE001 - Pillow's reader raises almost anything on damaged bytes
        return None
    if directory.get(_OFFSETS) is None and directory.get(_TILES) is None:
        return None
    kinds = {_SIGNED: " with a sign", _FLOAT: " in floating point"}
    kind = kinds.get(int(_numbers(directory.get(_FORMAT, 1))[0]), "")
    white = ", 0 being white," if directory.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else ""
    return (
        f"a TIFF of {bits} bits per pixel{kind}{white} is not read; save it as PNG, or as TIFF in grey or RGB of 8 bits"
    )


def _check_tiff(picture: Image.Image) -> None:
    formats = {int(value) for value in _numbers(_tag(picture, _FORMAT) or 1)}
    bits = max(_numbers(_tag(picture, _BITS) or 1))
    if not formats <= set(_UNSIGNED):
        kind = "values with a sign" if _SIGNED in formats else "values in floating point"
        raise PictureRefused(f"{kind}, {bits} bits per pixel, for which there is no white; save it with 8 or 16 bits")
    if bits > 8 and _tag(picture, _PLANES) == _PLANAR and picture.mode not in ("L", "I;16"):
        raise PictureRefused(f"colours of {bits} bits in separate planes; save it with interleaved colours")
    offsets, rows, height = _tag(picture, _OFFSETS), _tag(picture, _ROWS), _tag(picture, _HEIGHT)
    if offsets is not None and rows and len(_numbers(offsets)) < -(-height // rows):
        raise PictureRefused("strips are missing; copy it again")


def _check_range(pixels: NDArray[Any], bits: int) -> None:
    """Refuse 16-bit pictures that hold 10, 12 or 14 bits: a viewer shows them almost black, and few levels are left."""
    highest = int(pixels.max(initial=0))
    if bits == 16 and 0 < highest < _DARK_16:
        used = max(8, highest.bit_length() + highest.bit_length() % 2)
        raise PictureRefused(
            f"its 16-bit values end at {highest} of 65535, as those of a camera with {used} bits do, and a viewer "
            f"shows it almost black; save it with 8 bits, or multiply the values by {1 << (16 - used)}"
        )


def _check_rows(picture: Image.Image, pixels: NDArray[Any], data: bytes) -> None:
    """Refuse a PNG whose checksums are right but whose last rows are missing; Pillow leaves them 0."""
    if picture.format != "PNG" or pixels[-2:].any():
        return
    bits, colour, interlaced = data[24], data[25], data[28]
    passes: tuple[tuple[int, int, int, int], ...] = ((0, 1, 0, 1),)
    if interlaced:
        passes = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1))
    size = 0
    width, height = picture.size
    for top, down, left, across in passes:
        rows, columns = len(range(top, height, down)), len(range(left, width, across))
        if columns:
            size += rows * (1 + (columns * bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] + 7) // 8)
    stream = zlib.decompressobj()
    if sum(len(stream.decompress(chunk)) for chunk in _png_pixels(data)) + len(stream.flush()) < size:
        raise PictureRefused("the stream ends early: rows are missing; copy it again")


def _png_pixels(data: bytes) -> Iterable[bytes]:
    at = 8
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IDAT":
            yield data[at + 8 : at + 8 + length]
        at += 12 + length


def _bits(picture: Image.Image, data: bytes) -> int:
    """Return how many bits a sample has in the file."""
    if picture.format == "PNG":
        return data[24]
    if picture.format == "TIFF":
        return int(max(_numbers(_tag(picture, _BITS) or 1)))
    return 8


def _transparent(picture: Image.Image, pixels: NDArray[Any], bits: int) -> bool:
    if picture.format == "BMP":  # whose fourth byte viewers ignore
        return False
    if picture.mode in ("LA", "La", "PA", "RGBA"):
        return bool((pixels[..., -1] != 255).any())
    key = picture.info.get("transparency")
    if key is None:
        return False
    if picture.mode == "P":
        levels = np.full(256, 255, np.uint8)
        if isinstance(key, bytes):
            levels[: len(key)] = np.frombuffer(key, np.uint8)
        else:
            levels[key] = 0
        return bool((levels[pixels] != 255).any())
    if picture.mode == "RGB" and bits == 16:
        key = tuple(value >> 8 for value in key)
    if picture.mode == "1":
        pixels = pixels.astype(np.uint8) * 255
    same = pixels == np.asarray(key)
    return bool((same.all(axis=-1) if picture.mode == "RGB" else same).any())


def _pages(picture: Image.Image) -> int:
    frames = int(getattr(picture, "n_frames", 1))
    if frames < 2 or picture.format == "MPO":  # a camera's JPEG with previews behind it
        return 1
    if picture.format != "TIFF":
        return frames
    pages = 0
    for number in range(frames):
        picture.seek(number)
        pages += number == 0 or not int(_tag(picture, _SUBFILE) or 0) & _NO_PAGE
    picture.seek(0)
    return pages


def _tag(picture: Image.Image, number: int) -> Any:
    tags = getattr(picture, "tag_v2", None)
    return None if tags is None else tags.get(number)


def _numbers(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)
