"""A sink without the rest of the line: its configuration, and the sink itself in a thread or as a process."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from stream.core.clock import local_clock, now_ns
from stream.core.errors import StoreError
from stream.core.parts import LedgerCounts
from stream.core.verdict import Verdict
from stream.line.config import LineConfig
from stream.line.lifecycle import Role
from stream.model.bundle import (
    CalibrationScores,
    SelfTest,
    save_bundle,
)
from stream.model.bundle_info import FORMAT, BundleInfo, Thresholds
from stream.model.patchcore.health import Measures, reference_of
from stream.model.patchcore.preprocess import PREPROCESSING
from stream.model.patchcore.spec import FeatureSpec
from stream.sink.process import SinkProcess
from stream.store.event_reader import FILE_NAME, EventReader
from stream.store.records import Event
from stream.transport.messages import Announcement, FrameHeader, FrameStamps, Result, ResultStamps
from stream.transport.pipeline import SinkOutbox
from stream.transport.sockets import Sockets

GENEROUS_S = 20.0
JPEG = cv2.imencode(".jpg", np.full((48, 64, 3), 120, np.uint8))[1].tobytes()
GRID = np.linspace(0, 20, 12, dtype=np.float16).reshape(3, 4)
INPUT = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


@contextmanager
def running_sink(folder: Path) -> Iterator[tuple[SinkProcess, Sockets]]:
    """A sink in a thread, and the sockets of its peers; both are closed after the block."""
    stop, peer = threading.Event(), Sockets(None)
    with socket_folder() as addresses, (folder / "lock").open("w") as lock:
        sink = SinkProcess(line(folder, addresses), Role("sink", stop, lock))
        running = threading.Thread(target=sink.run, daemon=True)
        running.start()
        try:
            yield sink, peer
        finally:
            stop.set()
            running.join(GENEROUS_S)
            peer.close()
    assert not running.is_alive()


def line(folder: Path, sockets: Path, **sections: Any) -> LineConfig:
    """A line with one station, whose bundle is calibrated but not usable otherwise."""
    return LineConfig.model_validate(sections_of_a_line(folder, sockets) | sections)


def sections_of_a_line(folder: Path, sockets: Path) -> dict[str, Any]:
    """The configuration file of such a line; writes its bundle."""
    info = BundleInfo(
        format=FORMAT,
        spec=FeatureSpec(
            "efficientnet_lite0", "ab" * 32, ("stride8", "stride16"), (96, 96), 3, 1, PREPROCESSING, (40, 112)
        ),
        roi=None,
        picture_px=None,
        grid=(12, 12),
        coreset=0.01,
        projection_dims=128,
        reweight_neighbours=9,
        position_aware=False,
        shift_patches=None,
        seed=7,
        bank_patches=5_000,
        coreset_patches=4,
        covering_radius=1.5,
        thresholds=Thresholds(3.25, 2.125, 0.01, 1 / 21, 1 / 21),
        reference=reference_of([Measures(120.0, 0.0, 0.0, -0.5, 3.0, 4.0)]),
        calibration_names=tuple("abcd"),
        folds=(),
        bank_pictures=(),
        versions={},
    )
    bundle = folder / "cap.safetensors"
    selftest = SelfTest(np.zeros((96, 96, 3), np.uint8), 1.0)
    pictures = np.zeros((4, 96, 96, 3), np.uint8)
    calibration = CalibrationScores(np.ones(4), np.ones(4, np.float32), np.ones((4, 12, 12), np.float16))
    save_bundle(bundle, info, np.ones((4, 8), np.float32), calibration, pictures, selftest)
    return {
        "line": "test",
        "cameras": {"top": {"kind": "folder", "path": str(folder)}},
        "stations": {"cap": {"camera": "top", "bundle": str(bundle)}},
        "store": {"path": str(folder / "store"), "overlays": 0},
        "metrics": {"listen": None},
        "transport": {name: f"ipc://{sockets}/{name[0]}" for name in ("announcements", "results", "feed")},
    }


@contextmanager
def socket_folder() -> Iterator[Path]:
    """A folder with a short name: socket paths are limited to 107 bytes."""
    addresses = Path(tempfile.mkdtemp(prefix="pl"))
    try:
        yield addresses
    finally:
        shutil.rmtree(addresses)


class SinkAlone:
    """`patchline sink` as a process, with the sockets of a camera and a worker."""

    def __init__(self, folder: Path, sockets: Path) -> None:
        self.sections = sections_of_a_line(folder, sockets)
        self.sections["store"]["record"] = "all"
        self.sections["stations"]["cap"]["deadline_ms"] = 600_000
        self.file = folder / "line.yaml"
        self.store = folder / "store" / FILE_NAME
        self.process: subprocess.Popen[bytes] | None = None
        self.peer: Sockets | None = None
        #: Exposure of each part: its announcement and its result name the same.
        self.exposed_ns: dict[int, int] = {}
        self.reconnect()

    def reconnect(self) -> None:
        """Connect as a new camera and a new worker."""
        if self.peer is not None:
            self.peer.close()
        self.peer = Sockets(None)
        self.camera = SinkOutbox(self.peer, self.sections["transport"]["announcements"], 1_000)
        self.worker = SinkOutbox(self.peer, self.sections["transport"]["results"], 1_000)

    def start(self, *, open_files: int | None = None, **sections: Any) -> None:
        """Start it, with this soft limit of open files."""
        self.file.write_text(yaml.safe_dump(self.sections | sections))
        command = [sys.executable, "-m", "stream", "sink", str(self.file)]
        if open_files is not None:
            command = ["prlimit", f"--nofile={open_files}:", *command]
        self.process = subprocess.Popen(command)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.process is not None:
            self.kill()
        if self.peer is not None:
            self.peer.close()

    def announce(self, *seqs: int) -> None:
        for seq in seqs:
            exposed_ns = self.exposed_ns.setdefault(seq, now_ns())
            assert self.camera.send(Announcement("cap", seq, exposed_ns, exposed_ns + 10**12, local_clock()))

    def result(self, seq: int, verdict: Verdict, score: float) -> None:
        exposed_ns = self.exposed_ns.setdefault(seq, now_ns())
        frame = FrameHeader(
            *("cap", seq, exposed_ns, exposed_ns + 10**12, "triggered", "ab", 32, 32, (32, 32), 1, "epoch"),
            *(FrameStamps(1, 2, 3), local_clock()),
        )
        stamps = ResultStamps(1, 2, 3, 4, 5, 6, 7)
        result = Result(frame, "worker0", verdict, stamps, local_clock(), score=score, grid=(3, 4))
        attached = INPUT.tobytes() if verdict is Verdict.DEFECT else b""
        assert self.worker.send(result, [GRID.tobytes(), JPEG, attached])

    def stored(self) -> tuple[LedgerCounts | None, dict[int, Event]]:
        with suppress(StoreError), EventReader.open(self.store) as store:
            return store.ledger().get("cap"), {event.part.seq: event for event in store.events()}
        return None, {}

    def wait_for(self, condition: Callable[[LedgerCounts], bool]) -> None:
        until_s = time.monotonic() + 3 * GENEROUS_S
        while (counts := self.stored()[0]) is None or not condition(counts):
            assert time.monotonic() < until_s, f"it never came: {counts}"
            time.sleep(0.01)
