"""What once made a reader fail, or may: checked before any damage is drawn."""

from __future__ import annotations

import io
import struct

import msgspec
import numpy as np
from PIL import Image

from stream.transport.messages import WIRE_VERSION

_VERSION = bytes((WIRE_VERSION,))


def _map(**fields: object) -> bytes:
    return _VERSION + msgspec.msgpack.encode(fields)


_ANNOUNCED = {"type": "announcement", "station": "cap", "captured_ns": 1, "deadline_ns": 2, "clock": ["boot", 0]}

#: Messages, by what is odd about them.
MESSAGES: dict[str, bytes] = {
    "nothing": b"",
    "only a version": _VERSION,
    "another version": bytes((WIRE_VERSION + 1,)) + msgspec.msgpack.encode({"type": "end"}),
    "50,000 nested maps": _VERSION + b"\x81\xa1a" * 50_000 + b"\xc0",
    "50,000 nested maps in a known message": _VERSION + b"\x82\xa4type\xa3end\xa1x" + b"\x81\xa1a" * 50_000 + b"\xc0",
    "50,000 nested lists": _VERSION + b"\x91" * 50_000 + b"\xc0",
    "a map of 2^32 entries": _VERSION + b"\xdf\xff\xff\xff\xff",
    "a list of 2^32 entries": _VERSION + b"\xdd\xff\xff\xff\xff",
    "a text of 2^32 bytes": _VERSION + b"\xdb\xff\xff\xff\xff",
    "bytes after the message": _map(type="end", camera="top", next_seq=1) + b"\x00" * 100,
    "number 2^53": _map(**_ANNOUNCED, seq=2**53),
    "number 2^63": _map(**_ANNOUNCED, seq=2**63),
    "number 2^64 - 1": _map(**_ANNOUNCED, seq=2**64 - 1),
    "number -1": _map(**_ANNOUNCED, seq=-1),
    "number 1.0": _map(**_ANNOUNCED, seq=1.0),
    "a clock of 2^63": _map(**(_ANNOUNCED | {"clock": ["boot", 2**63 - 1]}), seq=1),
    "a station that is not UTF-8": _map(**(_ANNOUNCED | {"station": "cap"}), seq=1).replace(
        b"\xa3cap", b"\xa3\xed\xa0\x80"
    ),
    "an unknown kind": _map(type="unheard-of"),
    "a kind of 20,000 letters": _map(type="ä" * 20_000),
    "no kind": _map(station="cap"),
    "a kind twice": _VERSION + b"\x82\xa4type\xa3end\xa4type\xa6worker",
    "an extension type": _VERSION + b"\xc7\x08\x01" + b"\x00" * 8,
    "a time stamp": _VERSION + b"\xd6\xff\x00\x00\x00\x00",
}

#: Configurations, likewise.
CONFIGURATIONS: dict[str, str] = {
    "nothing": "",
    "a list": "- 1",
    "a date": "line: 2026-11-28\ncameras: 2026-11-28T10:00:00Z",
    "dates as keys": "2026-11-28: 1\nline: test",
    "an impossible date": "line: 2026-99-99\ncameras: 2026-13-41T99:99:99Z",
    "3,000 brackets": "line: " + "[" * 3_000 + "]" * 3_000,
    "3,000 braces": "line: " + "{a: " * 3_000 + "1" + "}" * 3_000,
    "3,000 open brackets": "line: " + "[" * 3_000,
    "3,000 indented maps": "\n".join(" " * depth + "a:" for depth in range(3_000)),
    "a number of 5,000 digits": "line: " + "9" * 5_000,
    "a number of 5,000 digits for a port": "line: test\nmetrics: {listen: " + "9" * 5_000 + "}",
    "a number of 5,000 hexadecimal digits": "line: 0x" + "f" * 5_000,
    "a number in base 60": "line: " + ":".join(["59"] * 2_000),
    "an exponent": "line: 1e999999999",
    "not a number": "line: .nan\nstations: .inf",
    "anchors that double": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "an anchor in itself": "line: &a [*a]",
    "a merge of itself": "a: &a\n  <<: *a\nline: test",
    "a merge of a text": "<<: text\nline: test",
    "a tag": "line: !!python/object/apply:os.system ['true']",
    "a set": "line: !!set {a, b}",
    "bytes": "line: !!binary gA==",
    "bytes that are none": "line: !!binary ===",
    "a number that is none": "line: !!int abc",
    "a time that is none": "line: !!timestamp abc",
    "a map as a key": "? {a: 1}\n: 2",
    "a list as a key": "? [a, 1]\n: 2",
    "null as a key": "? \n: 2\nline: test",
    "a lone surrogate": 'line: "\\ud800"',
    "a lone surrogate as a key": '"\\udfff": 1\nline: test',
    "a control character": "line: \x07",
    "a NUL": 'line: "\\0"\ncameras: {"\\0": {kind: folder, path: "a\\0b"}}',
    "a directive": "%YAML 9.9\n---\nline: test",
    "two documents": "line: a\n---\nline: b",
    "tabs": "line:\n\t- a",
    "a byte order mark": "\ufeffline: test",
    "a path that is too long": "line: test\ncameras: {top: {kind: folder, path: " + "a/" * 10_000 + "}}",
    "a home that nobody has": "line: test\ncameras: {top: {kind: folder, path: ~nobody-has-this-name/x}}",
}


def pictures() -> dict[str, bytes]:
    """Return pictures that are cut short, odd, or larger than they look."""
    gray = Image.fromarray(np.arange(64 * 48, dtype=np.uint8).reshape(48, 64))

    def saved(kind: str, picture: Image.Image = gray, **options: object) -> bytes:
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        return buffer.getvalue()

    png = saved("PNG")
    header = png.index(b"IHDR") + 4
    huge = png[:header] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + png[header + 8 :]
    wide = png[:header] + struct.pack(">II", 178_000_000, 1) + png[header + 8 :]
    bmp = saved("BMP")
    return {
        "nothing": b"",
        "one byte": b"\x89",
        "a PNG of 2^31 pixels square": huge,
        "a PNG of 178 million pixels": wide,
        "half a PNG": png[: len(png) // 2],
        "a PNG with something behind it": png + b"\0" * 1_000,
        "a PNG without data": png[: png.index(b"IDAT") - 4] + png[png.index(b"IEND") - 4 :],
        "half a JPEG": (jpeg := saved("JPEG"))[: len(jpeg) // 2],
        "a JPEG of its head": jpeg[:20],
        "a JPEG in CMYK": saved("JPEG", gray.convert("CMYK")),
        "a BMP of negative width": bmp[:18] + struct.pack("<i", -64) + bmp[22:],
        "a BMP of 2^31 rows": bmp[:22] + struct.pack("<i", 2**31 - 1) + bmp[26:],
        "a picture of one bit": saved("PNG", gray.convert("1")),
        "a palette with transparency": saved("PNG", gray.convert("P"), transparency=3),
        "16 bits": saved("PNG", Image.fromarray(np.arange(64 * 48, dtype=np.uint16).reshape(48, 64))),
        "floats": saved("TIFF", Image.fromarray(np.full((48, 64), np.nan, np.float32))),
        "a TIFF whose directory is its own next one": b"II*\0\x08\0\0\0" + b"\0\0" + b"\x08\0\0\0",
        "animation": saved("WEBP", gray.convert("RGB"), save_all=True, append_images=[gray.convert("RGB")] * 3),
        "a GIF": saved("GIF"),
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        "an SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    }
