"""The good pictures and synthetic defects on which the options of a fit are tried.

The pictures are divided into folds, as in a fit; each is scored by a bank that has not seen its fold, plain and with
synthetic defects drawn into it before it is resized. What is found above the conformal threshold of the plain ones
ranks the candidates (`suggestion`). It is evidence for a choice, not a measurement of accuracy.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.core.errors import DatasetError
from stream.core.images import read_image
from stream.core.statistics import auroc
from stream.model.extractor import input_multiple_px, load_extractor, spec_for
from stream.model.mask_files import masks_of
from stream.model.patchcore.calibrate import conformal_threshold
from stream.model.patchcore.geometry import Geometry
from stream.model.patchcore.inspector import Extractor, nearest_patches, score_patches
from stream.model.patchcore.masks import Masks
from stream.model.patchcore.preprocess import input_size
from stream.model.patchcore.scoring import Scoring
from stream.model.patchcore.search import MemoryBank
from stream.training.dataset import ImageSet, iter_inputs, read_network_inputs
from stream.training.fit_options import FitOptions
from stream.training.inspection_time import milliseconds
from stream.training.learned_bank import BankOptions, coreset_size, learn_bank
from stream.training.learning import patches_of
from stream.training.memory_budget import MemoryBudget
from stream.training.progress import Track
from stream.training.registration import registration_of
from stream.training.selection import chosen_images, plan_for, region_px
from stream.training.suggestion import Candidate, Trial, smallest_visible
from stream.training.synthetic_defects import Defect, defects_of, with_defect

#: An input (width, height) that was not tried, with its milliseconds.
TooSlow = tuple[tuple[int, int], float]

#: Sizes of the defects, as shares of the region's short side; how many of each size and kind are drawn.
_SIZES = (0.01, 0.016, 0.025, 0.04, 0.063, 0.1, 0.16)
REPEATS = 10
#: Pictures that are tried on, and folds that they are divided into.
_PICTURES, _FOLDS = 100, 2
#: Least number of pictures: three for each fold.
_LEAST_PICTURES = 3 * _FOLDS
#: Edge at which pictures are compared, to find copies and neighbours.
_SMALL_PX = 64
#: The network's input has at most this many px for one of the region: pixels that the picture does not have show
#: nothing more, and cost detection of large defects.
_LARGEST_ENLARGEMENT = 1.1


@dataclass(frozen=True)
class Network:
    """An extractor at one size and levels, and its time with the coreset given, on this machine."""

    input_px: tuple[int, int]
    levels: tuple[str, ...]
    extractor: Extractor
    grid: tuple[int, int]
    milliseconds: float


@contextmanager
def gathered(good: Path, options: FitOptions, repeats: int, track: Track) -> Iterator[Evidence]:
    """Choose readable, different pictures, evenly spread, and divide them into folds as a fit does."""
    paths = chosen_images(good, options)
    rows = np.unique(np.linspace(0, len(paths) - 1, min(_PICTURES, len(paths))).astype(int))
    spread = [paths[row] for row in rows]
    small = input_size(_SMALL_PX, region_px(paths, options.roi))
    memory = MemoryBudget.of(options.max_memory_bytes)
    with tempfile.TemporaryDirectory(prefix="patchline-suggest-") as folder:
        spool = Path(folder)
        masks = masks_of(options.masks, region_px(paths, options.roi), region_px(paths, None), options.roi)
        geometry = options.geometry(small)
        with read_network_inputs(spread, geometry, memory=memory, spool=spool, track=track) as images:
            names = [path.relative_to(good).as_posix() for path in images.paths]
            plan, _ = plan_for(good, images, names, replace(options, calibration="cross", folds=_FOLDS))
            different = [images.paths[row] for row in plan.bank]
            widths, heights = zip(*(images.sizes_px[row] for row in plan.bank), strict=True)
            if masks is not None and options.roi is None and images.picture_px is None:
                raise DatasetError(
                    f"{good}: its images differ in size, so masks lie elsewhere in each; give --roi, or images of one "
                    "size"
                )
        if len(different) < _LEAST_PICTURES or len(plan.folds) < 2:
            raise DatasetError(
                f"{good}: {len(different)} different readable images are too few to try options on; give at least "
                f"{_LEAST_PICTURES}, or choose --size and --levels yourself"
            )
        region = (int(np.median(widths)), int(np.median(heights))) if options.roi is None else options.roi[2:]
        defects = defects_of([share * min(region) for share in _SIZES], repeats, options.seed)
        yield Evidence(options, different, plan.folds, len(paths), region, masks, defects, memory, spool, track)


@dataclass(frozen=True)
class Evidence:
    """The pictures and defects on which all candidates are tried.

    Attributes:
        options: of the fit.
        paths: of the pictures; those of one fold are neighbours.
        folds: places in `paths` that are held out together.
        total: pictures that the fit will have.
        region: (width, height) that is inspected, px.
        masks: what of it is not judged; None: all is.
        defects: drawn in turn into the pictures, where they are judged.
        memory, spool: limit, and folder for what exceeds it.
        track: progress.
    """

    options: FitOptions
    paths: list[Path]
    folds: list[slice]
    total: int
    region: tuple[int, int]
    masks: Masks | None
    defects: list[Defect]
    memory: MemoryBudget
    spool: Path
    track: Track

    def networks(self, edges_px: Sequence[int], budget_ms: float | None) -> tuple[list[Network], list[TooSlow]]:
        """Return the networks of these sizes within the budget, smallest first, and the others with their time."""
        multiple_px = input_multiple_px(self.options.backbone)
        largest = _LARGEST_ENLARGEMENT * (self.region[0] * self.region[1]) ** 0.5
        sizes = dict.fromkeys(
            input_size(edge, self.region, multiple_px) for edge in edges_px if edge <= max(largest, edges_px[0])
        )
        networks, too_slow = [], []
        for input_px in sizes:
            network = self.network(input_px, self.options.levels)
            if budget_ms is not None and network.milliseconds > budget_ms:
                too_slow.append((input_px, network.milliseconds))
                break  # a larger one takes longer still
            networks.append(network)
        return networks, too_slow

    def geometry(self, input_px: tuple[int, int]) -> Geometry:
        """Return how the pictures become network inputs of (width, height)."""
        return self.options.geometry(input_px)._replace(masks=self.masks)

    def network(self, input_px: tuple[int, int], levels: Sequence[str]) -> Network:
        """Make the backbone ready at one size."""
        options, stage = self.options, f"load {_words(input_px)}"
        self.track(stage, 0, 1)
        spec = spec_for(
            options.backbone,
            levels=tuple(levels),
            input_px=input_px,
            neighbourhood=options.neighbourhood,
            stride=options.stride,
            weights=options.weights,
        )
        extractor = load_extractor(spec, device=options.device, weights=options.weights)
        height, width = extractor(np.zeros((1, input_px[1], input_px[0], 3), np.uint8)).shape[1:3]
        if self.masks is not None:
            self.masks.check(input_px, (height, width))
        took_ms = self._milliseconds(extractor, input_px, (height, width), options.coreset)
        self.track(stage, 1, 1)
        return Network(input_px, spec.levels, extractor, (height, width), took_ms)

    def tried(self, network: Network, coreset: float) -> Trial:
        """Measure what a network finds with a coreset."""
        input_px, took_ms = network.input_px, network.milliseconds
        if coreset != self.options.coreset:
            took_ms = self._milliseconds(network.extractor, input_px, network.grid, coreset)
        with read_network_inputs(self.paths, self.geometry(input_px), memory=self.memory, spool=self.spool) as images:
            if len(images) < len(self.paths):
                raise DatasetError(f"{images.unreadable[0].reason}; it could be read before, so try again")
            good, defective = self._scores(network, images, coreset)
        found = defective > conformal_threshold(good, self.options.false_reject_rate)
        spots = [row for row, defect in enumerate(self.defects) if defect.kind == "spot"]
        labels = np.repeat([False, True], [len(good), len(defective)])
        return Trial(
            Candidate(input_px, network.levels, coreset),
            took_ms,
            found,
            auroc(labels, np.concatenate([good, defective])) or 0.0,
            smallest_visible([self.defects[row].size_px for row in spots], found[spots].tolist()),
        )

    def _milliseconds(
        self, extractor: Extractor, input_px: tuple[int, int], grid: tuple[int, int], coreset: float
    ) -> float:
        """Measure one picture on this machine, with a bank as large as the fit's will be."""
        weights = self._weights(input_px, grid)
        judged = grid[0] * grid[1] if weights is None else int(np.count_nonzero(weights))
        rows = coreset_size(self.total * judged, coreset)
        geometry = self.geometry(input_px)
        regions = [geometry.region(read_image(path)) for path in self.paths[:4]]
        return milliseconds(extractor, regions, geometry, bank_rows=rows)

    def _weights(self, input_px: tuple[int, int], grid: tuple[int, int]) -> NDArray[np.float32] | None:
        return None if self.masks is None else self.masks.weights(input_px, grid)

    def _scores(
        self, network: Network, images: ImageSet, coreset: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the scores of the good pictures and of those with a defect, each by the bank without its fold."""
        options, extractor = self.options, network.extractor
        rows = np.arange(len(images))
        filled = None if self.masks is None else self.masks.filled(network.input_px)
        shift = registration_of(iter_inputs(images.inputs, rows), network.grid, filled)
        position = shift.in_place if options.score == "auto" else options.score == "position"
        bank_options = BankOptions(
            network.grid,
            coreset,
            options.seed,
            position=position,
            cuda=extractor.device == "cuda",
            weights=self._weights(network.input_px, network.grid),
        )
        done = _Steps(self.track, f"try {_words(network.input_px)}", 3 * len(images) + len(self.defects))
        good: list[float] = []
        defective = np.zeros(len(self.defects))
        patches = patches_of(
            extractor,
            images.inputs,
            rows,
            bank_options,
            folds=2,
            memory=self.memory,
            spool=self.spool,
            track=lambda _stage, count, _total: done.reach(count),
        )
        done.reach(len(images))
        with patches:
            size = bank_options.patches
            for fold in self.folds:
                bank = learn_bank(patches, bank_options, without=fold)
                search = bank.search(cuda=bank_options.cuda)
                done.step(fold.stop - fold.start)
                for place in range(fold.start, fold.stop):
                    features = patches.features[place * size : (place + 1) * size].reshape(*network.grid, -1)
                    good.append(_score(search, bank.scoring, features))
                    done.step()
                for numbers, pixels in self._defective(fold, network.input_px):
                    for number, features in zip(numbers, extractor(pixels), strict=True):
                        defective[number] = _score(search, bank.scoring, features)
                    done.step(len(numbers))
        return np.array(good), defective

    def _defective(self, fold: slice, input_px: tuple[int, int]) -> Iterator[tuple[list[int], NDArray[np.uint8]]]:
        """Yield (numbers of the defects of one picture of a fold, network inputs with one of them each)."""
        for place in range(fold.start, fold.stop):
            numbers = list(range(place, len(self.defects), len(self.paths)))
            if numbers:
                geometry = self.geometry(input_px)
                region = geometry.region(read_image(self.paths[place]))
                unjudged = None if self.masks is None else self.masks.filled(self.masks.region_px)
                drawn = (with_defect(region, self.defects[number], unjudged) for number in numbers)
                yield numbers, np.stack([geometry.network_input(picture) for picture in drawn])


class _Steps:
    """A stage's progress, counted."""

    def __init__(self, track: Track, stage: str, total: int) -> None:
        self._track, self._stage, self._total, self._done = track, stage, total, 0
        track(stage, 0, total)

    def reach(self, done: int) -> None:
        self.step(max(0, done - self._done))

    def step(self, count: int = 1) -> None:
        self._done += count
        self._track(self._stage, self._done, self._total)


def _score(search: MemoryBank, scoring: Scoring, features: NDArray[np.float32]) -> float:
    return score_patches(search, features, nearest_patches(search, features), scoring).score


def _words(input_px: tuple[int, int]) -> str:
    return "{}×{} px".format(*input_px)
