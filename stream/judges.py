"""What a worker holds: every station's memory bank, and one compiled backbone for all that share its features."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.bundle import Bundle, live_bundle
from stream.config import LineConfig
from stream.extractor import load_extractor
from stream.messages import Verdict
from stream.patchcore.health import Measures, check
from stream.patchcore.inspector import Extractor, Inspection, judge, nearest_patches
from stream.patchcore.lanes import Lanes
from stream.patchcore.search import MemoryBank, quickest_search

if TYPE_CHECKING:
    from stream.patchcore.device_search import DeviceBank

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judge:
    """One station's bundle, ready.

    Attributes:
        bundle: as loaded.
        extractor: shared by all stations of one `group`.
        memory: the bank, on the CPU or on the extractor's device.
        group: key of the features.
        frame_checks: refuse pictures in which a defect might not show.
    """

    bundle: Bundle
    extractor: Extractor
    memory: MemoryBank | DeviceBank
    group: str
    frame_checks: bool

    def fault_of(self, seen: Measures) -> str | None:
        """Return why a picture cannot be judged; None: it can, or the station does not want to know."""
        return check(seen, self.bundle.info.reference) if self.frame_checks else None


class Judged(NamedTuple):
    """One inspected part, with what its stages took."""

    inspection: Inspection
    backbone_ns: int
    search_ns: int
    score_ns: int


def verdict_of(score: float, threshold: float) -> Verdict:
    """Return GOOD or DEFECT; written so that a score that compares with nothing (NaN) could never be GOOD."""
    return Verdict.GOOD if score <= threshold else Verdict.DEFECT


def load_judges(config: LineConfig, index: int) -> dict[str, Judge]:
    """Load every station's bundle for worker `index`, and warm all up; raises PatchLineError."""
    options = config.workers[index]
    extractors: dict[str, Extractor] = {}
    lanes = Lanes(options.threads)
    judges: dict[str, Judge] = {}
    for name, station in config.stations.items():
        bundle = live_bundle(station.bundle)
        spec = bundle.info.spec
        if spec.key not in extractors:
            extractors[spec.key] = load_extractor(
                spec, device=options.device, threads=options.threads, lanes=lanes, graph=bundle.graph
            )
            if extractors[spec.key].device == "cuda":
                _prepare(extractors[spec.key], options.max_batch)
        extractor = extractors[spec.key]
        judges[name] = Judge(bundle, extractor, _memory(bundle, extractor), spec.key, station.frame_checks)
        _warm_up(judges[name])
        log.info("station %s: %s, %d patches, %s", name, station.bundle, len(bundle.bank), extractor.device)
    return judges


def judge_batch(judges: list[Judge], images: NDArray[np.uint8]) -> Iterator[Judged]:
    """Judge (N, S, S, 3) uint8 network inputs, each by its station's judge, in one backbone pass.

    On a CPU each part is searched when it is asked for; a GPU does the whole batch at once, and its
    time counts as that of the backbone.
    """
    extractor = judges[0].extractor
    if extractor.device == "cuda":
        yield from _on_gpu(judges, images)
        return
    begun_ns = time.monotonic_ns()
    features = extractor(images)
    backbone_ns = time.monotonic_ns() - begun_ns
    for one, patches in zip(judges, features, strict=True):
        assert isinstance(one.memory, MemoryBank)
        begun_ns = time.monotonic_ns()
        nearest = nearest_patches(one.memory, patches)
        searched_ns = time.monotonic_ns()
        inspection = judge(one.memory, patches, nearest, reweight_neighbours=one.bundle.info.reweight_neighbours)
        yield Judged(inspection, backbone_ns, searched_ns - begun_ns, time.monotonic_ns() - searched_ns)


def _on_gpu(judges: list[Judge], images: NDArray[np.uint8]) -> Iterator[Judged]:
    from stream.cuda import DeviceBackbone, inspect_on_device
    from stream.patchcore.device_search import DeviceBank

    backbone = judges[0].extractor
    assert isinstance(backbone, DeviceBackbone)
    begun_ns = time.monotonic_ns()
    banks = [one.memory for one in judges if isinstance(one.memory, DeviceBank)]
    found = inspect_on_device(backbone, images, banks)
    took_ns = time.monotonic_ns() - begun_ns
    for one, result in zip(judges, found, strict=True):
        distances = result[1:].astype(np.float32).reshape(one.bundle.info.grid)
        inspection = Inspection(float(result[0]), distances)
        yield Judged(inspection, took_ns, 0, 0)


def _prepare(extractor: Extractor, max_batch: int) -> None:
    from stream.cuda import DeviceBackbone

    assert isinstance(extractor, DeviceBackbone)
    extractor.prepare(max_batch)


def _warm_up(one: Judge) -> None:
    """The first pass is the slow one, on all cores and in each lane."""
    size_px = one.bundle.info.spec.size_px
    blank = np.zeros((1, size_px, size_px, 3), np.uint8)
    list(judge_batch([one], blank))
    if one.extractor.lanes is not None:
        one.extractor.lanes.everywhere(lambda: list(judge_batch([one], blank)))


def _memory(bundle: Bundle, extractor: Extractor) -> MemoryBank | DeviceBank:
    if extractor.device == "cuda":
        import torch

        from stream.patchcore.device_search import DeviceBank

        neighbours = bundle.info.reweight_neighbours
        return DeviceBank(bundle.bank, torch.device("cuda"), reweight_neighbours=neighbours)
    patches = bundle.info.grid[0] * bundle.info.grid[1]
    search = quickest_search(bundle.bank, patches, device=extractor.device, lanes=extractor.lanes)
    return MemoryBank(bundle.bank, search)
