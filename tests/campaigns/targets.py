"""The readers that are given damaged input, each with genuine input to damage and what it may raise."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import msgspec
import numpy as np
from campaigns import corpus
from campaigns.genuine import messages
from campaigns.mutations import damaged_bytes, damaged_tree, nested
from numpy.typing import NDArray
from PIL import Image
from support.pictures import good_picture
from support.running import GATE

from stream.core.errors import WireError
from stream.core.images import encoded_size, image_size, read_image
from stream.line.config import LineConfig, parse
from stream.model.bundle import (
    calibration_distances,
    calibration_inputs,
    live_bundle,
    load_bundle,
)
from stream.model.bundle_file import read_file, write_file
from stream.transport.messages import (
    WIRE_VERSION,
    decode_to_capture,
    decode_to_dashboard,
    decode_to_listener,
    decode_to_sink,
    decode_to_worker,
    encode,
)


class Target(NamedTuple):
    """One reader.

    Attributes:
        name: of the reader.
        full: inputs of a full run.
        draw: returns a damaged input.
        read: reads an input; raises PatchLineError for one that it refuses.
        corpus: inputs that come first, by what is odd about them.
        longest_s: CPU time that one input may take.
        growth_mib: by how much the process's largest memory may grow over all inputs.
    """

    name: str
    full: int
    draw: Callable[[random.Random], bytes]
    read: Callable[[bytes], object]
    corpus: Mapping[str, bytes]
    longest_s: float = 5.0
    growth_mib: int = 200


def wire() -> Target:
    """Every decoder reads every damaged message; what one accepts can be sent again."""
    genuine = [encode(message) for message in messages()]
    trees = [msgspec.msgpack.decode(data[1:]) for data in genuine]
    decoders = (decode_to_sink, decode_to_worker, decode_to_capture, decode_to_listener, decode_to_dashboard)

    def draw(dice: random.Random) -> bytes:
        if dice.random() < 0.4:
            return damaged_bytes(dice, dice.choice(genuine), genuine)
        return message_of(damaged_tree(dice, dice.choice(trees), texts=("GOOD", "UNINSPECTED", "announcement", "cap")))

    def read(data: bytes) -> object:
        accepted, refused = [], None
        for decoder in decoders:
            try:
                accepted.append(encode(decoder(data)))
            except WireError as error:
                refused = error
        if refused is not None and not accepted:
            raise refused
        return accepted

    return Target("messages", 1_000_000, draw, read, corpus.MESSAGES)


def message_of(tree: Any) -> bytes:
    """Return a version byte and the tree in msgpack; what msgpack cannot hold is left out."""
    try:
        body = msgspec.msgpack.encode(tree)
    except (OverflowError, RecursionError, UnicodeEncodeError, ValueError):
        body = msgspec.msgpack.encode(None)
    return bytes((WIRE_VERSION,)) + body


def configurations(folder: Path) -> Target:
    """The reader of configurations, with all that is derived from one that it accepts."""
    path = str(folder)
    belt = {"kind": "conveyor", "path": path, "belt_px": [200, 160], "rate_hz": 20, "fps": 30.0}
    station = {
        "camera": "top",
        "bundle": f"{path}/cap.safetensors",
        "roi": [20, 20, 160, 120],
        "deadline_ms": 100,
        "drift": {"window": 100},
        "reject": {"actuator": "gate", "transport_delay_ms": 250.5, "tolerance_ms": 10, "pulse_ms": 30},
    }
    modbus = {"kind": "modbus", "host": "127.0.0.1", "port": 502, "coil": 3}
    whole = {
        "line": "test",
        "cameras": {"top": belt, "side": {"kind": "folder", "path": path, "rate_hz": 5}},
        "stations": {"cap": station, "label": station | {"camera": "side", "mode": "freerun", "reject": None}},
        "actuators": GATE,
        "workers": [{"device": "auto", "max_batch": 4, "threads": 1}],
        "store": {"path": "store", "record": "all"},
        "metrics": {"listen": "127.0.0.1:9100"},
        "dashboard": {"enabled": False},
        "restarts": {"limit": 5, "within_s": 60, "drain_s": 10},
        "transport": {"announcements": "tcp://127.0.0.1:9500", "frames": {"top": "ipc:///tmp/frames"}},
        "alarms": {"camera_down_ms": 500},
    }
    small = {"line": "test", "cameras": {"top": belt}, "stations": {"cap": station}, "actuators": {"gate": modbus}}
    small = json.loads(json.dumps(small))
    genuine = [json.dumps(tree, indent=1).encode() for tree in (whole, small)]

    def draw(dice: random.Random) -> bytes:
        if dice.random() < 0.4:
            return damaged_bytes(dice, dice.choice(genuine), genuine)
        tree = damaged_tree(
            dice, dice.choice((whole, small)), texts=("top", "cap", "gate", "modbus", "opcua", "tcp://*:1")
        )
        return json.dumps(tree).encode()

    def read(data: bytes) -> object:
        text = data.decode("utf-8", "surrogateescape")
        config = parse(text, name="line.yaml", folder=folder)
        return _derived(config)

    given = {name: text.encode("utf-8", "surrogatepass") for name, text in corpus.CONFIGURATIONS.items()}
    return Target("configurations", 10_000, draw, read, given)


def _derived(config: LineConfig) -> object:
    addresses = [config.metrics_address(role) for role in config.roles]
    sockets = [config.announcements_address(), config.results_address(), config.feed_address()]
    for camera in config.cameras:
        sockets += [config.frames_address(camera), config.tap_address(camera)]
    return addresses, sockets, config.drain_s, config.worker_names, config.state


def bundles(source: Path, folder: Path) -> Target:
    """The reader of bundles: damage of the bytes, and of fields and tensors below a checksum that is right."""
    stored = read_file(source, leave="nothing is left")
    genuine, text, tensors = source.read_bytes(), stored.text, stored.tensors
    tree = json.loads(text)
    path = folder / "damaged.safetensors"
    head = 8 + int.from_bytes(genuine[:8], "little")

    def written(metadata: str, arrays: Mapping[str, NDArray[Any]]) -> bytes:
        write_file(path, metadata, arrays)
        return path.read_bytes()

    def draw(dice: random.Random) -> bytes:
        kind = dice.randrange(5)
        if kind == 0:
            return damaged_bytes(dice, genuine, [genuine])
        if kind == 1:  # its head says where everything lies
            return damaged_bytes(dice, genuine[:head], [genuine[:head]]) + genuine[head:]
        if kind == 2:
            damaged = json.dumps(
                damaged_tree(dice, json.loads(genuine[8:head]), texts=("F32", "BF16", "F8_E5M2", "I4"))
            ).encode()
            return len(damaged).to_bytes(8, "little") + damaged + genuine[head:]
        if kind == 3:
            return written(json.dumps(damaged_tree(dice, tree)), tensors)
        return written(text, _damaged_tensors(dice, tensors))

    def read(data: bytes) -> object:
        path.write_bytes(data)
        load_bundle(path)
        bundle = live_bundle(path)
        return bundle.scoring, calibration_inputs(path), calibration_distances(path)

    odd = {"nothing": b"", "a length of 2^64 - 1": b"\xff" * 8, "a head that is cut": genuine[: head // 2]}
    for depth in (500, 100_000):
        deep = f'{{"format": {tree["format"]}, "x": {"[" * depth}{"]" * depth}}}'
        odd[f"{depth} brackets in the metadata"] = written(deep, tensors)
    for stored_as, dtype in (
        *(("F32", "I4"), ("F32", "nothing"), ("F32", ""), ("F16", "BF16")),
        *(("U8", "F8_E5M2"), ("U8", "F8_E4M3"), ("U8", "F8_E8M0"), ("U8", "BOOL")),
    ):
        changed = genuine[8:head].replace(f'"dtype":"{stored_as}"'.encode(), f'"dtype":"{dtype}"'.encode())
        odd[f"{stored_as} called '{dtype}'"] = len(changed).to_bytes(8, "little") + changed + genuine[head:]
    nan = {name: np.full_like(array, np.nan) for name, array in tensors.items() if array.dtype.kind == "f"}
    odd["not a number everywhere"] = written(text, tensors | nan)
    odd["thresholds of NaN"] = written(json.dumps(tree | {"thresholds": nested(3)}), tensors)
    return Target("bundles", 100_000, draw, read, odd)


def _damaged_tensors(dice: random.Random, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    changed = dict(tensors)
    name = dice.choice(list(changed))
    array = changed[name]
    deed = dice.randrange(7)
    if deed == 0:
        del changed[name]
    elif deed == 1:
        changed[name] = array[: dice.randint(0, len(array))]
    elif deed == 2:
        changed[name] = array.astype(dice.choice((np.float16, np.float32, np.float64, np.uint8, np.int64, np.bool_)))
    elif deed == 3:
        changed[name] = np.ascontiguousarray(array.reshape(dice.choice(((-1,), (1, -1), (-1, 1), (1, 1, -1)))))
    elif deed == 4 and array.dtype.kind == "f":
        changed[name] = array.copy()
        with np.errstate(over="ignore"):  # 3e38 is infinite in 16 bits
            place = dice.randrange(max(1, array.size))
            changed[name].flat[place] = dice.choice((np.nan, np.inf, -np.inf, 3e38, -1.0, 0.0))
    elif deed == 5:
        changed[dice.choice(("bank", "heads", "graph_model", "kept_picture_000000", "unknown"))] = array
    else:
        changed[name] = np.zeros(dice.choice(((), (0,), (0, 3), (1,), (2, 2))), array.dtype)
    return {key: np.ascontiguousarray(value) for key, value in changed.items()}


def pictures(folder: Path) -> Target:
    """The reader of image files of every format."""
    good = cv2.cvtColor(good_picture(1), cv2.COLOR_BGR2RGB)
    genuine = []
    for kind, options in (
        ("PNG", {}),
        ("JPEG", {"exif": _turned()}),
        ("JPEG", {"progressive": True}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {}),
    ):
        buffer = io.BytesIO()
        Image.fromarray(good).resize((40, 30)).save(buffer, kind, **options)
        genuine.append(buffer.getvalue())
    path = folder / "damaged.png"

    def draw(dice: random.Random) -> bytes:
        data = dice.choice(genuine)
        if dice.random() < 0.5:  # heads and directories, which say how large everything is
            return damaged_bytes(dice, data[:80], genuine) + data[80:]
        return damaged_bytes(dice, data, genuine)

    def read(data: bytes) -> object:
        path.write_bytes(data)
        encoded_size(data)
        size = image_size(path)
        picture = read_image(path)
        assert picture.dtype == np.uint8
        assert picture.shape == (size[1], size[0], 3), f"the head says {size}, the picture has {picture.shape}"
        return picture

    return Target("pictures", 100_000, draw, read, corpus.pictures(), longest_s=20.0, growth_mib=2_500)


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()
