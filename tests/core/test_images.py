from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from stream.core.errors import DatasetError
from stream.core.images import encoded_size, image_size, jpeg_within, list_images, pixels_of, png_of, read_image


def scene(height: int = 60, width: int = 80) -> np.ndarray:
    noise = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def write(path: Path, pixels: np.ndarray, *parameters: int) -> Path:
    assert cv2.imwrite(str(path), pixels, list(parameters))
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".webp"])
def test_a_lossless_picture_keeps_every_pixel_in_bgr(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", scene(), cv2.IMWRITE_WEBP_QUALITY, 101)
    pixels = read_image(path)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, scene())


def test_a_jpeg_is_decoded_to_about_what_was_written(tmp_path: Path) -> None:
    pixels = read_image(write(tmp_path / "a.jpg", scene(), cv2.IMWRITE_JPEG_QUALITY, 100))
    assert np.abs(pixels.astype(int) - scene().astype(int)).mean() < 3


def test_a_gray_picture_has_three_equal_channels(tmp_path: Path) -> None:
    gray = scene()[:, :, 0]
    pixels = read_image(write(tmp_path / "a.png", gray))
    np.testing.assert_array_equal(pixels, np.dstack([gray, gray, gray]))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_of_sixteen_bits_the_upper_eight_stay(tmp_path: Path, suffix: str, channels: int) -> None:
    deep = np.random.default_rng(4).integers(0, 65536, (20, 30, channels), dtype=np.uint16)
    pixels = read_image(write(tmp_path / f"a{suffix}", deep))
    np.testing.assert_array_equal(pixels, np.broadcast_to(deep >> 8, (20, 30, 3)))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_a_picture_stands_upright_as_its_exif_orientation_says(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    sky_and_ground = np.zeros((40, 80, 3), np.uint8)
    sky_and_ground[:20] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90° clockwise
    Image.fromarray(sky_and_ground).save(path, exif=exif)
    pixels = read_image(path)
    assert pixels.shape == (80, 40, 3)
    assert pixels[:, 30:].min() > 200
    assert pixels[:, :10].max() < 50
    assert image_size(path) == (40, 80)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_picture_is_refused_by_name(tmp_path: Path, suffix: str, kept: float) -> None:
    path = write(tmp_path / f"part-17{suffix}", scene())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(DatasetError, match="part-17") as refusal:
        read_image(path)
    assert "\n" not in str(refusal.value)


def test_a_png_without_its_end_mark_is_refused_although_all_pixels_are_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", scene())
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DatasetError, match=r"a\.png: damaged picture \(truncated PNG file\)"):
        read_image(path)


@pytest.mark.parametrize("progressive", [0, 1])
def test_a_jpeg_whose_end_was_never_written_is_refused(tmp_path: Path, progressive: int) -> None:
    # A power cut leaves the right length and zeros.
    path = write(tmp_path / "a.jpg", scene(), cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    content = path.read_bytes()
    path.write_bytes(content[:-500] + bytes(500))
    with pytest.raises(DatasetError, match=r"a\.jpg"):
        read_image(path)


@pytest.mark.parametrize("compression", [0, 9])
def test_one_flipped_bit_in_a_png_is_refused(tmp_path: Path, compression: int) -> None:
    path = write(tmp_path / "a.png", scene(), cv2.IMWRITE_PNG_COMPRESSION, compression)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"a\.png"):
        read_image(path)


@pytest.mark.parametrize(
    ("content", "says"), [(b"", "empty"), (b"not a picture at all", "not a picture"), (None, "No such file")]
)
def test_what_is_no_picture_is_refused_with_the_reason(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    for read in (read_image, image_size):
        with pytest.raises(DatasetError, match=rf"a\.png: .*{says}"):
            read(path)


def test_float_pixels_are_refused_rather_than_scaled_by_guess(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", scene()[:, :, 0].astype(np.float32))
    with pytest.raises(DatasetError, match="32 bits"):
        read_image(path)


def test_the_size_comes_from_the_header_even_when_the_pixels_are_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", scene(60, 80))
    assert image_size(path) == (80, 60)
    path.write_bytes(path.read_bytes()[:200])
    assert image_size(path) == (80, 60)


def test_pictures_are_listed_by_name_without_hidden_files_and_subfolders(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "c.webp", ".hidden.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "d.png").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.jpg", "b.PNG", "c.webp"]


@pytest.mark.parametrize(
    ("name", "says"), [("missing", "no such folder"), ("file", "not a folder"), ("empty", "no picture")]
)
def test_a_folder_without_pictures_is_named_with_the_fix(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=rf"{name}: {says}.*; .*") as refusal:
        list_images(tmp_path / name)
    assert "\n" not in str(refusal.value)


def test_a_name_that_is_not_utf8_is_refused_before_it_reaches_the_wire(tmp_path: Path) -> None:
    (tmp_path / "tür.png".encode("latin-1").decode("utf-8", "surrogateescape")).write_bytes(b"x")
    with pytest.raises(DatasetError, match="rename") as refusal:
        list_images(tmp_path)
    assert str(refusal.value).encode()


def test_a_network_input_survives_its_png_in_rgb() -> None:
    pixels = scene(32, 32)
    png = png_of(pixels)
    np.testing.assert_array_equal(pixels_of(png), pixels)
    assert png_of(pixels) == png
    assert Image.open(io.BytesIO(png)).getpixel((3, 5)) == tuple(pixels[5, 3].tolist())


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_bytes_that_are_no_image_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not an image"):
        pixels_of(content)


@pytest.mark.parametrize(
    ("size_px", "max_px", "expected_px"),
    [((80, 60), 40, (40, 30)), ((60, 80), 40, (30, 40)), ((80, 60), 80, (80, 60)), ((300, 1), 100, (100, 1))],
)
def test_a_preview_is_shrunk_to_its_limit_and_never_enlarged(
    size_px: tuple[int, int], max_px: int, expected_px: tuple[int, int]
) -> None:
    jpeg = jpeg_within(scene(size_px[1], size_px[0]), max_px, 90)
    assert Image.open(io.BytesIO(jpeg)).size == expected_px


def test_a_preview_of_higher_quality_takes_more_bytes() -> None:
    assert len(jpeg_within(scene(), 80, 95)) > len(jpeg_within(scene(), 80, 50))


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff\xe0"])
def test_the_size_of_what_is_no_image_is_unknown(data):
    assert encoded_size(data) is None


def test_the_size_of_an_encoded_image_is_width_and_height():
    pixels = np.zeros((30, 50, 3), np.uint8)
    assert encoded_size(jpeg_within(pixels, 100, 90)) == (50, 30)
    assert encoded_size(jpeg_within(pixels, 25, 90)) == (25, 15)
    assert encoded_size(png_of(pixels)) == (50, 30)
