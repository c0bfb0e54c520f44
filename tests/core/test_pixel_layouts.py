"""Every layout of pixels is read as a viewer shows it, or refused by name and reason."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from support.picture_files import bmp_file, packed_12_bit, png_chunk, png_file, tiff_file

from stream.core.errors import DatasetError
from stream.core.images import image_size, read_image

GRAY = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
RGB = np.dstack([GRAY, GRAY[::-1], 255 - GRAY])
DEEP, DEEP_RGB = GRAY.astype(np.uint16) * 257, RGB.astype(np.uint16) * 257
OPAQUE, HALF = np.full_like(GRAY, 255), np.full_like(GRAY, 128)


def saved(pixels: np.ndarray, kind: str, *, mode: str | None = None, **options: Any) -> bytes:
    image, file = Image.fromarray(pixels), io.BytesIO()
    (image.convert(mode) if mode else image).save(file, kind, **options)
    return file.getvalue()


def with_a_thumbnail(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "TIFF")
    Image.new("L", (8, 8)).save(file, "TIFF", append=True, tiffinfo={254: 1})
    return file.getvalue()


def read(folder: Path, content: bytes) -> np.ndarray:
    """Read a file and return its pixels in RGB."""
    (folder / "part.tif").write_bytes(content)
    pixels = read_image(folder / "part.tif")
    assert pixels.dtype == np.uint8
    return pixels[..., ::-1]


def gray3(gray: np.ndarray) -> np.ndarray:
    return np.repeat(gray[..., np.newaxis], 3, axis=2)


SHOWN: dict[str, tuple[bytes, np.ndarray]] = {
    "tiff 16 bits": (tiff_file(DEEP, photometric=1), gray3(GRAY)),
    "tiff 16 bits, 0 is white": (tiff_file(DEEP, photometric=0), gray3(255 - GRAY)),
    "tiff 16 bits, 0 is white, LZW": (
        saved(DEEP, "TIFF", compression="tiff_lzw", tiffinfo={262: 0}),
        gray3(255 - GRAY),
    ),
    "tiff 8 bits, 0 is white": (tiff_file(GRAY, photometric=0), gray3(255 - GRAY)),
    "tiff 12 bits packed": (
        tiff_file(GRAY, photometric=1, bits=12, content=packed_12_bit(GRAY.astype(np.uint16) << 4)),
        gray3(GRAY),
    ),
    "tiff RGB of 16 bits": (tiff_file(DEEP_RGB, photometric=2, samples=3), RGB),
    "tiff RGB in planes": (
        tiff_file(np.ascontiguousarray(RGB.transpose(2, 0, 1)), photometric=2, samples=3, planar=True),
        RGB,
    ),
    "tiff RGB and a channel of no meaning": (
        tiff_file(np.dstack([RGB, HALF]), photometric=2, samples=4, extra=0),
        RGB,
    ),
    "tiff RGBA, opaque": (tiff_file(np.dstack([RGB, OPAQUE]), photometric=2, samples=4, extra=2), RGB),
    "tiff RGBA premultiplied, opaque": (tiff_file(np.dstack([RGB, OPAQUE]), photometric=2, samples=4, extra=1), RGB),
    "tiff grey and alpha premultiplied, opaque": (
        tiff_file(np.dstack([GRAY, OPAQUE]), photometric=1, samples=2, extra=1),
        gray3(GRAY),
    ),
    "tiff deflate": (saved(RGB, "TIFF", compression="tiff_adobe_deflate"), RGB),
    "tiff BigTIFF": (saved(RGB, "TIFF", big_tiff=True), RGB),
    "tiff G4": (saved(GRAY > 100, "TIFF", compression="group4"), gray3((GRAY > 100) * np.uint8(255))),
    "tiff palette": (saved(GRAY, "TIFF", mode="P"), gray3(GRAY)),
    "tiff with a reduced copy behind": (with_a_thumbnail(RGB), RGB),
    "png 16 bits": (png_file(DEEP, colour=0), gray3(GRAY)),
    "png RGB of 16 bits": (png_file(DEEP_RGB, colour=2), RGB),
    "png interlaced": (png_file(RGB, colour=2, adam7=True), RGB),
    "png interlaced, black at the end": (
        png_file(np.where(np.arange(48)[:, None, None] > 40, np.uint8(0), RGB), colour=2, adam7=True),
        np.where(np.arange(48)[:, None, None] > 40, np.uint8(0), RGB),
    ),
    "png palette": (
        png_file(GRAY, colour=3, chunks=png_chunk(b"PLTE", bytes(range(256)) * 3)),
        np.frombuffer(bytes(range(256)) * 3, np.uint8).reshape(256, 3)[GRAY],
    ),
    "png 1 bit": (saved(GRAY > 100, "PNG"), gray3((GRAY > 100) * np.uint8(255))),
    "png all black": (png_file(DEEP * 0, colour=0), gray3(GRAY * 0)),
    "png RGBA, opaque": (png_file(np.dstack([RGB, OPAQUE]), colour=6), RGB),
    "png with a key colour that it does not hold": (
        png_file(RGB, colour=2, chunks=png_chunk(b"tRNS", b"\0\1\0\1\0\1")),
        RGB,
    ),
    "png with 70 MB of text": (
        png_file(RGB, colour=2, chunks=png_chunk(b"tEXt", b"Comment\0" + b"x" * 70_000_000)),
        RGB,
    ),
    "png with text that is compressed": (
        png_file(RGB, colour=2, chunks=png_chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 5_000_000))),
        RGB,
    ),
    "bmp from the top": (bmp_file(RGB[..., ::-1].tobytes(), (64, -48), 24), RGB),
    "bmp 32 bits whose fourth byte is 0": (
        bmp_file(np.dstack([RGB[::-1, :, ::-1], GRAY * 0]).tobytes(), (64, 48), 32),
        RGB,
    ),
    "bmp run lengths": (
        bmp_file(
            b"".join(b"".join(bytes((1, value)) for value in row) + b"\0\0" for row in GRAY[::-1].tolist()) + b"\0\1",
            (64, 48),
            8,
            compression=1,
            behind=b"".join(bytes((level, level, level, 0)) for level in range(256)),
        ),
        gray3(GRAY),
    ),
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_layout_is_read_as_a_viewer_shows_it(tmp_path: Path, name: str):
    content, expected = SHOWN[name]
    np.testing.assert_array_equal(read(tmp_path, content), expected)
    assert image_size(tmp_path / "part.tif") == (64, 48)


@pytest.mark.parametrize(
    ("bits", "masks"), [(16, (0xF800, 0x7E0, 0x1F)), (15, (0x7C00, 0x3E0, 0x1F))], ids=["565", "555"]
)
def test_a_bmp_of_16_bits_keeps_the_upper_bits_of_each_colour(tmp_path: Path, bits: int, masks: tuple[int, ...]):
    shifts = (11, 5, 0) if bits == 16 else (10, 5, 0)
    kept = (3, 2, 3) if bits == 16 else (3, 3, 3)
    words = sum((RGB[::-1, :, i].astype(np.uint16) >> kept[i]) << shifts[i] for i in range(3))
    behind = np.array(masks, np.uint32).tobytes()
    found = read(tmp_path, bmp_file(np.asarray(words, np.uint16).tobytes(), (64, 48), 16, compression=3, behind=behind))
    assert np.abs(found.astype(int) - RGB).max() < 8


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
def test_colours_for_print_are_converted(tmp_path: Path, mode: str):
    found = read(tmp_path, saved(RGB, "JPEG", mode=mode, quality=100))
    assert np.abs(found.astype(int) - RGB).mean() < 3
    found = read(tmp_path, saved(RGB, "TIFF", compression="jpeg", quality=100))
    assert np.abs(found.astype(int) - RGB).mean() < 3


REFUSED: dict[str, tuple[bytes, str]] = {
    "png 12 bits in 16": (png_file(DEEP >> 4, colour=0), r"end at 4047 of 65535.* 12 bits .*multiply .* by 16"),
    "png 10 bits in 16": (png_file(DEEP >> 6, colour=0), r"end at 1011 of 65535.* 10 bits .*multiply .* by 64"),
    "png 14 bits in 16": (png_file(DEEP >> 2, colour=0), r"end at 16191 of 65535.* 14 bits .*multiply .* by 4"),
    "png RGB of 12 bits in 16": (png_file(DEEP_RGB >> 4, colour=2), r"a camera with 12 bits"),
    "tiff 12 bits in 16": (tiff_file(DEEP >> 4, photometric=1), r"a camera with 12 bits"),
    "tiff RGB of 12 bits in 16": (tiff_file(DEEP_RGB >> 4, photometric=2, samples=3), r"a camera with 12 bits"),
    "tiff 10 bits packed": (
        tiff_file(GRAY, photometric=1, bits=10, content=bytes(48 * 80)),
        r"a TIFF of 10 bits per pixel is not read; save it",
    ),
    "tiff 16 bits with a sign": (tiff_file(DEEP.view(np.int16), photometric=1, format=2), r"values with a sign, 16"),
    "tiff 8 bits with a sign": (tiff_file(GRAY.view(np.int8), photometric=1, format=2), r"values with a sign, 8"),
    "tiff float": (tiff_file(GRAY.astype(np.float32), photometric=1, format=3), r"floating point, 32 bits"),
    "tiff half float": (tiff_file(GRAY.astype(np.float16), photometric=1, format=3), r"16 bits .* in floating point"),
    "tiff 32 bits": (tiff_file(GRAY.astype(np.uint32), photometric=1), r"32 bits per pixel"),
    "tiff RGB of 16 bits in planes": (
        tiff_file(np.ascontiguousarray(DEEP_RGB.transpose(2, 0, 1)), photometric=2, samples=3, planar=True),
        r"colours of 16 bits in separate planes",
    ),
    "tiff Lab": (tiff_file(RGB, photometric=8, samples=3), r"pixels in LAB; save it in grey or RGB"),
    "tiff of two pages": (
        saved(RGB, "TIFF", save_all=True, append_images=[Image.fromarray(RGB)]),
        r"2 pictures in one file",
    ),
    "webp of two pictures": (
        saved(RGB, "WEBP", save_all=True, append_images=[Image.fromarray(255 - RGB)]),
        r"2 pictures in one file",
    ),
    "png half transparent": (png_file(np.dstack([RGB, HALF]), colour=6), r"transparent parts.* without alpha"),
    "png all transparent": (png_file(np.dstack([RGB, GRAY * 0]), colour=6), r"transparent parts"),
    "png with a key colour": (png_file(GRAY, colour=0, chunks=png_chunk(b"tRNS", b"\0\4")), r"transparent parts"),
    "png with a palette that is transparent": (
        png_file(GRAY, colour=3, chunks=png_chunk(b"PLTE", bytes(768)) + png_chunk(b"tRNS", b"\0")),
        r"transparent parts",
    ),
    "tiff premultiplied": (tiff_file(np.dstack([RGB, HALF]), photometric=2, samples=4, extra=1), r"transparent parts"),
    "tiff grey and alpha premultiplied": (
        tiff_file(np.dstack([GRAY, HALF]), photometric=1, samples=2, extra=1),
        r"transparent parts",
    ),
    "png whose rows end early": (png_file(RGB, colour=2, rows=20), r"the stream ends early: rows are missing"),
    "png interlaced, whose last pass is missing": (
        png_file(RGB, colour=2, adam7=True, rows=12),
        r"the stream ends early|damaged picture",
    ),
    "bmp run lengths that end early": (
        bmp_file(b"\x05\x07\0\1", (64, 48), 8, compression=1, behind=bytes(1024)),
        r"damaged picture",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_viewers_do_not_show_alike_is_refused_by_name_and_reason(tmp_path: Path, name: str):
    content, reason = REFUSED[name]
    with pytest.raises(DatasetError, match=rf"part\.tif: .*{reason}") as refusal:
        read(tmp_path, content)
    assert "\n" not in str(refusal.value)


def test_the_scale_of_a_picture_does_not_depend_on_its_own_content(tmp_path: Path):
    dim, bright = DEEP // 2 + 200, DEEP
    first, second = (read(tmp_path, png_file(pixels, colour=0)) for pixels in (dim, bright))
    np.testing.assert_array_equal(first[..., 0], dim >> 8)
    np.testing.assert_array_equal(second[..., 0], bright >> 8)


def test_a_picture_of_a_line_scan_camera_is_read_at_its_whole_length(tmp_path: Path):
    path = tmp_path / "line.png"
    pixels = np.zeros((200_000, 1024), np.uint8)
    pixels[-1] = 200
    assert cv2.imwrite(str(path), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    found = read_image(path)
    assert found.shape == (200_000, 1024, 3)
    assert found[-1].min() == 200


def test_a_picture_that_does_not_fit_the_memory_is_refused_before_it_is_decoded(tmp_path: Path):
    path = tmp_path / "line.png"
    content = bytearray(png_file(GRAY, colour=0))
    header = (2**31 - 1).to_bytes(4, "big") * 2 + bytes(content[24:29])
    path.write_bytes(bytes(content[:8]) + png_chunk(b"IHDR", header) + bytes(content[33:]))
    with pytest.raises(DatasetError, match=r"line\.png: 2147483647×2147483647 px take .* GB of memory .*; cut it"):
        read_image(path)
