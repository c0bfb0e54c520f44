"""Whether a JPEG's stream holds all of its picture.

libjpeg, by which Pillow decodes, fills what is missing with grey and only warns, which Pillow does not pass on.
FFmpeg's decoder can be made to stop there, so it reads the stream too, in about the time of the decoding itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
#: Frames that FFmpeg decodes: baseline, extended, progressive; all with Huffman codes.
_FRAMES = (0xC0, 0xC1, 0xC2)
_OTHER_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
#: Segments that do not matter to the pixels, such as EXIF with its thumbnail: APP0 to APP13, APP15, comments.
_WITHOUT_PIXELS = (*range(0xE0, 0xEE), 0xEF, 0xFE)
#: In a scan, a marker other than a stuffed 0, a restart and a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


class _Segment(NamedTuple):
    marker: int
    begin: int
    end: int


def jpeg_refusal(data: bytes) -> str | None:
    """Return why a JPEG must not be shown as it would decode; None if nothing is known against it.

    Damage that leaves a valid stream cannot be seen, since the format has no checksum.
    """
    segments = list(_segments(data))
    frames = [segment for segment in segments if segment.marker in (*_FRAMES, *_OTHER_FRAMES)]
    if frames and (bits := data[frames[0].begin + 4]) != 8:
        return f"a JPEG of {bits} bits per sample; save it with 8, or as PNG or TIFF with 16"
    if not segments or segments[-1].marker != _END:
        return "the stream ends early; copy it again"
    if [frame.marker in _FRAMES for frame in frames] != [True]:
        return None
    pixels = b"".join(
        data[segment.begin : segment.end] for segment in segments if segment.marker not in _WITHOUT_PIXELS
    )
    return None if _decodes(b"\xff\xd8" + pixels) else "the stream ends early or is damaged; copy it again"


def _segments(data: bytes) -> Iterator[_Segment]:
    """Yield the segments of the first picture in a file, the scans with their codes, until its end or what is none."""
    at = 2
    while at + 2 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == _END:
            yield _Segment(marker, at, at + 2)
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _SCAN:
            following = _MARKER.search(data, end)
            end = following.start() if following else len(data)
        if end > len(data) or end < at + 4:
            return
        yield _Segment(marker, at, end)
        at = end


def _decodes(stream: bytes) -> bool:
    import av

    codec = av.CodecContext.create("mjpeg", "r")
    codec.thread_count = 1
    codec.options = {"err_detect": "explode"}
    try:
        codec.decode(av.Packet(stream))
    except av.InvalidDataError:
        return False
    except av.FFmpegError:  # a layout that FFmpeg does not know
        return True
    return True
