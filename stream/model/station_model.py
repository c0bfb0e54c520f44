"""A station's model in a worker: the memory bank ready to search, beside a backbone that several stations may share."""

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
from stream.core.spots import Ruling
from stream.model.bundle import Bundle
from stream.model.extractor import TiledExtractor
from stream.model.patchcore.head import unit_pieces
from stream.model.patchcore.health import Measures, check
from stream.model.patchcore.inspector import Extractor, Inspection, nearest_patches, score_patches
from stream.model.patchcore.own_banks import search_own_banks
from stream.model.patchcore.rules import NO_RULES, Rules
from stream.model.patchcore.scoring import Scoring, position_score_of
from stream.model.patchcore.search import MemoryBank, quickest_search
from stream.model.ruling import ruling_on

if TYPE_CHECKING:
    from stream.model.patchcore.device_search import DeviceBank

log = logging.getLogger(__name__)

#: Relative difference between a worker's score of the self-test and the fit's: other rounding, the same computation.
TOLERANCE, LOW_PRECISION_TOLERANCE = 1e-3, 2e-2


@dataclass(frozen=True)
class StationModel:
    """One station's bundle, ready to inspect parts.

    Attributes:
        bundle: as loaded.
        extractor: shared by all stations of one `group`.
        memory: the bank, on the CPU or on the extractor's device.
        group: key of the features.
        frame_checks: refuse frames in which a defect might not show.
        rules: on the spots of a part.
    """

    bundle: Bundle
    extractor: Extractor
    memory: MemoryBank | DeviceBank
    group: str
    frame_checks: bool
    rules: Rules = NO_RULES

    @property
    def scoring(self) -> Scoring:
        """How the bundle scores."""
        return self.bundle.scoring

    def fault_of(self, measures: Measures) -> str | None:
        """Return why a network input cannot be inspected; None: it can, or the station does not check frames."""
        return check(measures, self.bundle.info.reference) if self.frame_checks else None

    def judge(self, inspection: Inspection, region_px: tuple[int, int]) -> Ruling:
        """Return the ruling on a part: by its score, and by the rules on its spots where there are any.

        The one path from score to verdict of worker, shadow, evaluation, replay and check. Spots are measured only
        where a rule may change the verdict.

        Args:
            inspection: of the part, by this model; the bundle is calibrated.
            region_px: (width, height) of the part's region.
        """
        return ruling_on(inspection.score, inspection.distances, self.bundle.info, self.rules, region_px)


class InspectedPart(NamedTuple):
    """The inspection of one part and the time of its stages; patch features (h, w, D) if they are on the host."""

    inspection: Inspection
    backbone_ns: int
    search_ns: int
    score_ns: int
    patches: NDArray[np.float32] | None = None


def run_self_test(model: StationModel, path: Path) -> None:
    """Score the bundle's self-test input; raises BundleError, naming `path`, unless that gives the score of the fit."""
    network_input, expected = model.bundle.selftest
    (part,) = inspect_batch([model], network_input[None])
    score, device = part.inspection.score, model.extractor.device
    # Half precision on a GPU, or int8, which processors sum up in different ways.
    low = device == "cuda" or model.bundle.graph is not None
    tolerance = model.scoring.tolerance(expected, LOW_PRECISION_TOLERANCE if low else TOLERANCE)
    # Written so that a score that compares with nothing (NaN) could never pass.
    if not abs(score - expected) <= tolerance:
        raise BundleError(
            f"{path}: its self-test fails: the fit gave the picture {expected:.6g}, this worker gives it {score:.6g} "
            f"on {device} (allowed: {tolerance:.3g} more or less); fit it again with this release and these libraries"
        )


def inspect_batch(models: list[StationModel], images: NDArray[np.uint8]) -> Iterator[InspectedPart]:
    """Inspect (N, H, W, 3) uint8 network inputs, one for each of N models of one group, in one backbone pass.

    On a CPU each part is searched when it is requested; a GPU computes the whole batch at once, and its
    time counts as that of the backbone.
    """
    extractor = models[0].extractor
    on_gpu = [not isinstance(model.memory, MemoryBank) for model in models]
    if all(on_gpu):
        yield from _on_gpu(models, images)
        return
    if any(on_gpu):  # beside a part with masks
        for model, image in zip(models, images, strict=True):
            yield from inspect_batch([model], image[None])
        return
    begun_ns = time.monotonic_ns()
    features = extractor(images)
    backbone_ns = time.monotonic_ns() - begun_ns
    for model, patches in zip(models, features, strict=True):
        assert isinstance(model.memory, MemoryBank)
        begun_ns = time.monotonic_ns()
        nearest = nearest_patches(model.memory, patches)
        searched_ns = time.monotonic_ns()
        inspection = score_patches(model.memory, patches, nearest, model.scoring)
        scored_ns = time.monotonic_ns()
        yield InspectedPart(inspection, backbone_ns, searched_ns - begun_ns, scored_ns - searched_ns, patches)


def _on_gpu(models: list[StationModel], images: NDArray[np.uint8]) -> Iterator[InspectedPart]:
    from stream.model.cuda import DeviceBackbone, inspect_on_device
    from stream.model.patchcore.device_search import DeviceBank

    backbone = models[0].extractor
    assert isinstance(backbone, DeviceBackbone)
    begun_ns = time.monotonic_ns()
    banks = [model.memory for model in models if isinstance(model.memory, DeviceBank)]
    results = inspect_on_device(backbone, images, banks)
    took_ns = time.monotonic_ns() - begun_ns
    for model, result in zip(models, results, strict=True):
        scoring, grid = model.scoring, model.bundle.info.grid
        end = 1 + grid[0] * grid[1]
        distances, moments = result[1:end].reshape(grid), result[end:]
        score = float(result[0]) if scoring.position is None else position_score_of(scoring.position, distances)
        if scoring.head is not None:
            mean, spread = np.split(moments, 2)
            score = scoring.head.fused(score, unit_pieces(mean, spread, scoring.head.level_dims))
        yield InspectedPart(Inspection(score, distances.astype(np.float32)), took_ns, 0, 0)


def prepare(extractor: Extractor, max_batch: int) -> None:
    """Compile a CUDA extractor for all batch sizes up to `max_batch`."""
    from stream.model.cuda import DeviceBackbone

    if isinstance(extractor, TiledExtractor):
        max_batch *= extractor.tiles.count
        extractor = extractor.extractor
    assert isinstance(extractor, DeviceBackbone)
    extractor.prepare(max_batch)


def build_memory_bank(bundle: Bundle, extractor: Extractor) -> MemoryBank | DeviceBank:
    """Return a bundle's memory bank on the device of the extractor, with the search that is quickest there."""
    # Features of tiles are joined on the host, and weights of patches are known to the score there alone.
    if extractor.device == "cuda" and bundle.info.spec.tiles is None and bundle.info.weights is None:
        import torch

        from stream.model.patchcore.device_search import DeviceBank

        neighbours = bundle.info.reweight_neighbours
        return DeviceBank(bundle.bank, torch.device("cuda"), reweight_neighbours=neighbours)
    patches = bundle.info.grid[0] * bundle.info.grid[1]
    if banks := bundle.info.spec.coordinates:
        search = search_own_banks(bundle.bank, banks, lanes=extractor.lanes, gpu=extractor.device == "cuda")
    else:
        search = quickest_search(bundle.bank, patches, device=extractor.device, lanes=extractor.lanes)
    return MemoryBank(bundle.bank, search)
