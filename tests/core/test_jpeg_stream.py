"""A JPEG that ends early is refused, whatever its end mark says; one that is whole never is."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from support.picture_files import jpeg_cut

from stream.core.errors import DatasetError
from stream.core.images import read_image
from stream.core.jpeg_stream import jpeg_refusal


def scene(width: int = 200, height: int = 150) -> np.ndarray:
    noise = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1)


def jpeg(pixels: np.ndarray, *, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_stream_that_ends_early_with_a_proper_end_mark_is_refused(
    tmp_path: Path, share: float, mode: str, progressive: bool
):
    path = tmp_path / "part.jpg"
    path.write_bytes(jpeg_cut(jpeg(scene(), mode=mode, progressive=progressive, quality=90), share))
    with pytest.raises(DatasetError, match=r"part\.jpg: the stream ends early"):
        read_image(path)


def test_a_stream_without_its_end_is_refused():
    assert jpeg_refusal(jpeg(scene())[:-2]) == "the stream ends early; copy it again"
    assert jpeg_refusal(jpeg(scene())[:300]) == "the stream ends early; copy it again"


@pytest.mark.parametrize("quality", [1, 30, 75, 100])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (7, 190), (64, 64), (200, 150)])
def test_a_stream_that_is_whole_is_never_refused(size: tuple[int, int], progressive: bool, quality: int):
    for subsampling in (0, 1, 2):
        for restarts in (0, 3):
            options = {"progressive": progressive, "quality": quality, "subsampling": subsampling}
            assert jpeg_refusal(jpeg(scene(*size), restart_marker_blocks=restarts, **options)) is None
    assert jpeg_refusal(jpeg(scene(*size), mode="L", progressive=progressive, quality=quality)) is None
    assert jpeg_refusal(jpeg(scene(*size), mode="CMYK", progressive=progressive, quality=quality)) is None


def test_what_a_camera_writes_around_the_picture_does_not_matter():
    exif = Image.Exif()
    exif[0x010E] = "thumbnail" + "\xff\xd9" * 20
    data = jpeg(scene(), exif=exif, comment=b"\xff\xd9\xff\xda" * 50)
    assert jpeg_refusal(data) is None
    assert jpeg_refusal(data + b"a film behind it" * 100) is None
    assert jpeg_refusal(data + jpeg(scene(16, 16))) is None


def test_a_jpeg_of_12_bits_is_named():
    data = bytearray(jpeg(scene()))
    data[data.index(b"\xff\xc0") + 4] = 12
    assert jpeg_refusal(bytes(data)) == "a JPEG of 12 bits per sample; save it with 8, or as PNG or TIFF with 16"
