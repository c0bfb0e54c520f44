"""The path of the GPU, run on the CPU in float32: the same operations but for graphs and half precision."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.pictures import defective_picture, good_picture

from stream.model.bundle import Bundle, load_bundle
from stream.model.cuda import DeviceBackbone, inspect_on_device
from stream.model.extractor import build_module, load_extractor
from stream.model.patchcore.device_search import DeviceBank
from stream.model.patchcore.head import pooled, unit_pieces
from stream.model.patchcore.inspector import inspect
from stream.model.patchcore.masks import Mask, Masks
from stream.model.patchcore.preprocess import network_input
from stream.model.patchcore.scoring import Scoring
from stream.model.patchcore.search import MemoryBank
from stream.model.station_model import StationModel, inspect_batch

B = 9


@pytest.fixture(scope="module")
def bundle(small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle)


@pytest.fixture(scope="module")
def images(bundle: Bundle) -> NDArray[np.uint8]:
    pictures = [good_picture(700 + n) if n % 3 else defective_picture(700 + n) for n in range(7)]
    return np.stack([network_input(picture, bundle.info.spec.input_px) for picture in pictures])


def backbone(bundle: Bundle, device: str = "cpu", dtype: torch.dtype = torch.float32) -> DeviceBackbone:
    module = build_module(bundle.info.spec, dtype=dtype)
    return DeviceBackbone(module, bundle.info.spec.input_px, device=torch.device(device))


@pytest.mark.parametrize("count", [1, 2, 3, 7], ids=lambda count: f"{count} pictures")
def test_a_batch_of_any_size_has_the_features_of_its_pictures_one_by_one(bundle: Bundle, images, count: int):
    plain = load_extractor(bundle.info.spec, device="torch-cpu")
    compiled = backbone(bundle)
    compiled(images[::-1])  # what is left of other pictures in the padding must not matter
    np.testing.assert_allclose(compiled(images[:count]), plain(images[:count]), rtol=1e-4, atol=1e-4)


def test_a_batch_of_two_stations_is_judged_each_by_its_own_bank(bundle: Bundle, images):
    banks = [bundle.bank, bundle.bank[::3].copy()]
    there = [DeviceBank(bank, torch.device("cpu"), reweight_neighbours=B) for bank in banks]
    found = inspect_on_device(backbone(bundle), images, [there[n % 2] for n in range(len(images))])
    plain = load_extractor(bundle.info.spec, device="torch-cpu")
    for place, result in enumerate(found):
        (expected,) = inspect(plain, MemoryBank(banks[place % 2]), images[place][None], Scoring(B))
        assert result[0] == pytest.approx(expected.score, rel=1e-4)
        np.testing.assert_allclose(
            result[1 : 1 + expected.distances.size], expected.distances.ravel(), rtol=1e-3, atol=1e-3
        )


def test_a_part_with_masks_is_judged_by_them_beside_one_without_in_the_same_batch(bundle: Bundle, images):
    whole = Masks((160, 120), (Mask("all", "zone", rectangle=(0, 0, 160, 120), factor=2),))
    masked = bundle._replace(info=msgspec.structs.replace(bundle.info, masks=whole))
    there = backbone(bundle)
    models = [
        StationModel(bundle, there, DeviceBank(bundle.bank, torch.device("cpu"), reweight_neighbours=B), "", False),
        StationModel(masked, there, MemoryBank(bundle.bank), "", False),
    ]
    plain, weighed = inspect_batch(models, images[[0, 0]])
    assert plain.inspection.score == pytest.approx(2 * weighed.inspection.score, rel=1e-3)
    np.testing.assert_allclose(plain.inspection.distances, 2 * weighed.inspection.distances, rtol=1e-3, atol=1e-3)


def test_the_pooled_features_of_a_picture_are_those_of_the_cpu(bundle: Bundle, images):
    bank = DeviceBank(bundle.bank, torch.device("cpu"), reweight_neighbours=B)
    found = inspect_on_device(backbone(bundle), images, [bank] * len(images))
    levels, patches = bundle.info.spec.level_dims, bundle.info.grid[0] * bundle.info.grid[1]
    features = load_extractor(bundle.info.spec, device="torch-cpu")(images)
    for result, expected in zip(found, features, strict=True):
        mean, spread = np.split(result[1 + patches :], 2)
        np.testing.assert_allclose(unit_pieces(mean, spread, levels), pooled(expected, levels), rtol=1e-3, atol=1e-5)


def test_all_sizes_of_batches_can_be_compiled_beforehand(bundle: Bundle):
    compiled = backbone(bundle)
    compiled.prepare(6)
    assert sorted(compiled._compiled) == [1, 2, 4, 8]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_half_precision_on_a_gpu_scores_as_float32_on_the_cpu(bundle: Bundle, images):
    bank = DeviceBank(bundle.bank, torch.device("cuda"), reweight_neighbours=B)
    found = inspect_on_device(backbone(bundle, "cuda", torch.float16), images, [bank] * len(images))
    plain = load_extractor(bundle.info.spec, device="torch-cpu")
    expected = inspect(plain, MemoryBank(bundle.bank), images, Scoring(B))
    np.testing.assert_allclose([one[0] for one in found], [one.score for one in expected], rtol=2e-2)
