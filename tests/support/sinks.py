"""A sink without the rest of the line: its configuration, and the sink itself in a thread."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from stream.line.config import LineConfig
from stream.line.lifecycle import Role
from stream.model.bundle import FORMAT, BundleInfo, CalibrationScores, SelfTest, Thresholds, save_bundle
from stream.model.patchcore.health import Measures, reference_of
from stream.model.patchcore.preprocess import PREPROCESSING
from stream.model.patchcore.spec import FeatureSpec
from stream.sink.process import SinkProcess
from stream.transport.sockets import Sockets

GENEROUS_S = 20.0


@contextmanager
def running_sink(folder: Path) -> Iterator[tuple[SinkProcess, Sockets]]:
    """A sink in a thread, and the sockets of its peers; both are closed after the block."""
    addresses = Path(tempfile.mkdtemp(prefix="pl"))  # socket paths are limited to 107 bytes
    stop, peer = threading.Event(), Sockets(None)
    with (folder / "lock").open("w") as lock:
        sink = SinkProcess(line(folder, addresses), Role("sink", stop, lock))
        running = threading.Thread(target=sink.run, daemon=True)
        running.start()
        try:
            yield sink, peer
        finally:
            stop.set()
            running.join(GENEROUS_S)
            peer.close()
            shutil.rmtree(addresses)
    assert not running.is_alive()


def line(folder: Path, sockets: Path, **sections: Any) -> LineConfig:
    """A line with one station, whose bundle is calibrated but not usable otherwise."""
    return LineConfig.model_validate(sections_of_a_line(folder, sockets) | sections)


def sections_of_a_line(folder: Path, sockets: Path) -> dict[str, Any]:
    """The configuration file of such a line; writes its bundle."""
    info = BundleInfo(
        format=FORMAT,
        spec=FeatureSpec("efficientnet_lite0", "ab" * 32, ("stride8", "stride16"), (96, 96), 3, 1, PREPROCESSING),
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
