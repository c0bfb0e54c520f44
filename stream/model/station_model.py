"""What a worker holds: every station's memory bank, and one compiled backbone for all that share its features."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.core.errors import BundleError
from stream.model.bundle import Bundle
from stream.model.patchcore.health import Measures, check
from stream.model.patchcore.inspector import Extractor, Inspection, judge, nearest_patches
from stream.model.patchcore.search import MemoryBank, quickest_search

if TYPE_CHECKING:
    from stream.model.patchcore.device_search import DeviceBank

log = logging.getLogger(__name__)

#: How far a worker's score of the self-test may lie from the fit's: other rounding, but the same computation.
TOLERANCE, LOW_PRECISION_TOLERANCE = 1e-3, 2e-2


@dataclass(frozen=True)
class StationModel:
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


class InspectedPart(NamedTuple):
    """One inspected part, with what its stages took, and its patch features (h, w, D) where they are at hand."""

    inspection: Inspection
    backbone_ns: int
    search_ns: int
    score_ns: int
    patches: NDArray[np.float32] | None = None


def self_test(one: StationModel, path: Path) -> None:
    """Judge the bundle's own picture; raises BundleError when the score is not the fit's."""
    picture, expected = one.bundle.selftest
    (judged,) = inspect_batch([one], picture[None])
    score, device = judged.inspection.score, one.extractor.device
    # Half precision on a GPU, or int8, which processors sum up in ways of their own.
    low = device == "cuda" or one.bundle.graph is not None
    tolerance = LOW_PRECISION_TOLERANCE if low else TOLERANCE
    # Written so that a score that compares with nothing (NaN) could never pass.
    if not abs(score - expected) <= tolerance * abs(expected):
        raise BundleError(
            f"{path}: its self-test fails: the fit gave the picture {expected:.6g}, this worker gives it {score:.6g} "
            f"on {device} (allowed: {tolerance:g} of it); fit it anew with this release and these libraries"
        )


def inspect_batch(judges: list[StationModel], images: NDArray[np.uint8]) -> Iterator[InspectedPart]:
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
        scored_ns = time.monotonic_ns()
        yield InspectedPart(inspection, backbone_ns, searched_ns - begun_ns, scored_ns - searched_ns, patches)


def _on_gpu(judges: list[StationModel], images: NDArray[np.uint8]) -> Iterator[InspectedPart]:
    from stream.model.cuda import DeviceBackbone, inspect_on_device
    from stream.model.patchcore.device_search import DeviceBank

    backbone = judges[0].extractor
    assert isinstance(backbone, DeviceBackbone)
    begun_ns = time.monotonic_ns()
    banks = [one.memory for one in judges if isinstance(one.memory, DeviceBank)]
    found = inspect_on_device(backbone, images, banks)
    took_ns = time.monotonic_ns() - begun_ns
    for one, result in zip(judges, found, strict=True):
        distances = result[1:].astype(np.float32).reshape(one.bundle.info.grid)
        inspection = Inspection(float(result[0]), distances)
        yield InspectedPart(inspection, took_ns, 0, 0)


def prepare(extractor: Extractor, max_batch: int) -> None:
    """Compile an extractor of CUDA for all batch sizes."""
    from stream.model.cuda import DeviceBackbone

    assert isinstance(extractor, DeviceBackbone)
    extractor.prepare(max_batch)


def memory_of(bundle: Bundle, extractor: Extractor) -> MemoryBank | DeviceBank:
    """Return a bundle's memory bank where the extractor's features are, with the quickest search."""
    if extractor.device == "cuda":
        import torch

        from stream.model.patchcore.device_search import DeviceBank

        neighbours = bundle.info.reweight_neighbours
        return DeviceBank(bundle.bank, torch.device("cuda"), reweight_neighbours=neighbours)
    patches = bundle.info.grid[0] * bundle.info.grid[1]
    search = quickest_search(bundle.bank, patches, device=extractor.device, lanes=extractor.lanes)
    return MemoryBank(bundle.bank, search)
