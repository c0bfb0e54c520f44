"""Picture files as cameras and their software write them, made byte by byte where no library writes such."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np

#: Adam7: first row and column, steps.
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk with its checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_file(
    pixels: np.ndarray, *, colour: int, chunks: bytes = b"", rows: int | None = None, adam7: bool = False
) -> bytes:
    """Return a PNG of (H, W[, C]) uint8 or uint16; of `rows` only the first, in a stream that ends there."""
    height, width = pixels.shape[:2]
    parts = [pixels[top::down, left::across] for top, left, down, across in _PASSES] if adam7 else [pixels]
    lines = [line for part in parts if part.size for line in part[:rows]]
    stream = b"".join(b"\0" + line.astype(f">u{pixels.itemsize}").tobytes() for line in lines)
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, colour, 0, 0, adam7)
    ends = png_chunk(b"IDAT", zlib.compress(stream)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + chunks + ends


def tiff_file(
    pixels: np.ndarray,
    *,
    photometric: int,
    bits: int | None = None,
    samples: int = 1,
    format: int = 1,  # noqa: A002 - the tag's name
    planar: bool = False,
    extra: int | None = None,
    content: bytes | None = None,
) -> bytes:
    """Return a plain little-endian TIFF of one strip, or of one for each plane, (C, H, W), if `planar`."""
    height, width = pixels.shape[1:3] if planar else pixels.shape[:2]
    content = pixels.tobytes() if content is None else content
    planes = samples if planar else 1
    strip = len(content) // planes
    tags: dict[int, tuple[str, list[int]]] = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [bits or 8 * pixels.itemsize] * samples),
        259: ("H", [1]),
        262: ("H", [photometric]),
        273: ("I", [8 + strip * plane for plane in range(planes)]),
        277: ("H", [samples]),
        278: ("I", [height]),
        279: ("I", [strip] * planes),
        284: ("H", [2 if planar else 1]),
        339: ("H", [format] * samples),
    } | ({} if extra is None else {338: ("H", [extra])})
    content += bytes(len(content) % 2)
    directory = 8 + len(content)
    values_at, entries, values = directory + 2 + 12 * len(tags) + 4, b"", b""
    for tag, (kind, numbers) in sorted(tags.items()):
        packed = struct.pack(f"<{len(numbers)}{kind}", *numbers)
        entries += struct.pack("<HHI", tag, {"H": 3, "I": 4}[kind], len(numbers))
        if len(packed) <= 4:
            entries += packed.ljust(4, b"\0")
        else:
            entries += struct.pack("<I", values_at + len(values))
            values += packed + bytes(len(packed) % 2)
    ends = struct.pack("<H", len(tags)) + entries + bytes(4) + values
    return b"II" + struct.pack("<HI", 42, directory) + content + ends


def packed_12_bit(values: np.ndarray) -> bytes:
    """Return an even number of values below 4096 as TIFF packs them: two in three bytes."""
    first, second = values.reshape(-1, 2).T
    return np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1).astype(np.uint8).tobytes()


def bmp_file(rows: bytes, size: tuple[int, int], bits: int, *, compression: int = 0, behind: bytes = b"") -> bytes:
    """Return a BMP; the height is negative where the first row comes first. `behind` the header: masks or palette."""
    header = struct.pack("<IiiHHIIiiII", 40, *size, 1, bits, compression, len(rows), 0, 0, 0, 0)
    offset = 14 + len(header) + len(behind)
    return b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + header + behind + rows


def jpeg_cut(data: bytes, share: float) -> bytes:
    """Return a JPEG whose last scan ends after a share of it, with a proper end mark."""
    scan: Any = data.rfind(b"\xff\xda")
    return data[: scan + 14 + int((len(data) - scan - 14) * share)] + b"\xff\xd9"
