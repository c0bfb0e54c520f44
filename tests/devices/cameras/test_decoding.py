"""A damaged picture, and all that are drawn on it, must never be judged."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from stream.core.errors import FrameFault
from stream.core.verdict import Cause
from stream.devices.cameras.decoding import Decoder, bgr, video_stream

FRAMES, KEY_EVERY = 50, 25


def written(path: Path, codec: str, options: dict[str, str]) -> Path:
    random = np.random.default_rng(0)
    pattern = np.repeat(np.repeat(random.integers(0, 255, (15, 20, 3), np.uint8), 8, 0), 8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"threads": "1"} | options)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for number in range(FRAMES):
            picture = np.roll(pattern, 2 * number, axis=1) // 2 + random.integers(0, 60, pattern.shape, np.uint8)
            container.mux(stream.encode(VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """H.264 of a moving pattern with a key frame at 0 and 25."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return written(path, "libx264", {"tune": "zerolatency", "g": str(KEY_EVERY)})


def decoded(film: Path, damaged: int, harm: str) -> list[VideoFrame | FrameFault]:
    """Decode the film with one packet whose second half is lost or wrong, or that is none at all."""
    found: list[VideoFrame | FrameFault] = []
    with av.open(str(film)) as container:
        stream = video_stream(container)
        decoder = Decoder(stream)
        for number, packet in enumerate(container.demux(stream)):
            if number == damaged:
                content, half = bytes(packet), packet.buffer_size // 2
                rest = {
                    "lost": bytes(packet.buffer_size - half),
                    "wrong": bytes(byte ^ 0x5A for byte in content[half:]),
                    "no picture": content[half:],
                }[harm]
                packet.update((b"\xff" * half if harm == "no picture" else content[:half]) + rest)
            found += decoder.decode(packet)
    return found


#: Films with B-frames, which are shown before pictures that they build on: file, codec, its options.
REORDERED = {
    "H.264": ("film.mp4", "libx264", {"g": "12", "bf": "3"}),
    "H.264, groups open": ("film.mp4", "libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1"}),
    "H.264, pyramids, without time stamps of its own": (
        "film.avi",
        "libx264",
        {"g": "12", "bf": "3", "b-pyramid": "2"},
    ),
    "MPEG-4": ("film.mp4", "mpeg4", {"g": "12", "bf": "2"}),
    "MPEG-2": ("film.ts", "mpeg2video", {"g": "12", "bf": "2"}),
}


@pytest.fixture(scope="module", params=REORDERED)
def reordered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A moving pattern with B-frames and a key frame at least every 12."""
    name, codec, options = REORDERED[request.param]
    return written(tmp_path_factory.mktemp("reordered") / name, codec, options)


def sound_pixels(found: list[VideoFrame | FrameFault]) -> dict[int, np.ndarray]:
    """The pictures of a film that may be judged, by their place."""
    return {number: bgr(picture) for number, picture in enumerate(found) if isinstance(picture, VideoFrame)}


@pytest.mark.parametrize("harm", ["lost", "no picture"])  # wrong bits sometimes decode as if they were right
@pytest.mark.parametrize("damaged", [0, 1, 2, 3, 4, 6, 11, 12, 13, 14, 20, 29])
def test_of_a_film_with_b_frames_nothing_is_judged_that_the_damage_has_touched(
    reordered: Path, damaged: int, harm: str
):
    whole = sound_pixels(decoded(reordered, -1, ""))
    assert len(whole) == FRAMES
    pictures = decoded(reordered, damaged, harm)
    assert len(pictures) == FRAMES, "every picture is a part"
    sound = sound_pixels(pictures)
    assert 1 <= FRAMES - len(sound) <= 2 * 12 + 4
    if reordered.suffix != ".avi":
        for number, pixels in sound.items():
            np.testing.assert_array_equal(pixels, whole[number])
    else:  # without time stamps the place of what is lost is a guess
        left = iter(whole.values())
        assert all(any(np.array_equal(pixels, other) for other in left) for pixels in sound.values())


@pytest.mark.parametrize("harm", ["lost", "wrong", "no picture"])
def test_a_damaged_picture_and_those_drawn_on_it_are_bad_frames_until_the_next_key_frame(film: Path, harm: str):
    pictures = decoded(film, 10, harm)
    assert len(pictures) == FRAMES
    faults = [number for number, picture in enumerate(pictures) if isinstance(picture, FrameFault)]
    assert faults == list(range(10, KEY_EVERY))
    assert all(picture.cause is Cause.BAD_FRAME for picture in pictures if isinstance(picture, FrameFault))


def test_a_damaged_key_frame_costs_the_pictures_up_to_the_next(film: Path):
    pictures = decoded(film, KEY_EVERY, "lost")
    assert [isinstance(picture, FrameFault) for picture in pictures] == [False] * KEY_EVERY + [True] * KEY_EVERY


def test_a_sound_stream_has_no_faults(film: Path):
    pictures = decoded(film, -1, "")
    assert len(pictures) == FRAMES
    assert not any(isinstance(picture, FrameFault) for picture in pictures)


def test_pictures_are_bgr_arrays_of_their_own(film: Path):
    first, second = (bgr(picture) for picture in decoded(film, -1, "")[:2])
    assert (first.shape, first.dtype) == ((120, 160, 3), np.uint8)
    assert first.flags.c_contiguous
    assert first.flags.owndata or first.base is not second.base
    assert not np.array_equal(first, second)


def test_a_file_without_pictures_has_no_stream(tmp_path: Path):
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 80), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with av.open(str(tmp_path / "sound.wav")) as container:
        assert video_stream(container) is None


@pytest.mark.parametrize("lossy", [True, False])
def test_where_pictures_may_be_lost_those_after_a_gap_are_not_judged_until_the_next_key_frame(film: Path, lossy: bool):
    found: list[bool] = []
    with av.open(str(film)) as container:
        stream = video_stream(container)
        decoder = Decoder(stream, lossy=lossy)
        for number, packet in enumerate(container.demux(stream)):
            if number != 10:
                found += [isinstance(picture, FrameFault) for picture in decoder.decode(packet)]
    assert found == [False] * 10 + [lossy] * (KEY_EVERY - 11) + [False] * (FRAMES - KEY_EVERY)
