from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stream.model.patchcore.device_search import DeviceBank
from stream.model.patchcore.inspector import nearest_patches, score_patches
from stream.model.patchcore.scoring import Scoring
from stream.model.patchcore.search import MemoryBank

Features = NDArray[np.float32]
CPU = torch.device("cpu")


def features(seed: int, *shape: int, offset: float = 0.0) -> Features:
    return (offset + np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def copies() -> Features:
    return np.repeat(features(1, 30, 24), 12, axis=0)


def near_copies() -> Features:
    """Less apart than a search in float32 can tell."""
    return copies() + features(2, 360, 24) * np.float32(1e-4) + np.float32(500)


BANKS = {
    "ordinary": features(3, 700, 152),
    "far from the origin": features(4, 300, 40, offset=100.0),
    "copies": copies(),
    "near copies": near_copies(),
    "fewer than neighbours": features(5, 4, 16),
}


@pytest.mark.parametrize("neighbours", [1, 9])
@pytest.mark.parametrize("name", BANKS)
def test_a_device_says_of_a_picture_what_the_plain_search_says(name: str, neighbours: int):
    bank = BANKS[name]
    memory, device = MemoryBank(bank), DeviceBank(bank, CPU, reweight_neighbours=neighbours)
    for seed in range(10):
        random = np.random.default_rng(seed)
        picture = bank[random.integers(len(bank), size=49)].reshape(7, 7, -1) + features(seed, 7, 7, bank.shape[1])
        plain = score_patches(memory, picture, nearest_patches(memory, picture), Scoring(neighbours))
        found = device.inspect(torch.from_numpy(picture.reshape(49, -1))).numpy()
        assert found[0] == pytest.approx(plain.score, rel=1e-6)
        np.testing.assert_allclose(found[1:].reshape(7, 7), plain.distances, rtol=1e-5)


def test_a_bank_larger_than_a_block_is_searched_to_its_end(monkeypatch):
    monkeypatch.setattr("stream.model.patchcore.device_search._BLOCK", 49 * 64)
    bank = BANKS["ordinary"]
    queries = bank[-49:] + np.float32(0.01)
    found = DeviceBank(bank, CPU, reweight_neighbours=9).nearest(torch.from_numpy(queries)).numpy()
    np.testing.assert_allclose(found, MemoryBank(bank).nearest(queries).distance, rtol=1e-5)
    assert found.max() < 0.2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", BANKS)
def test_a_gpu_says_what_the_cpu_says(name: str):
    bank = BANKS[name]
    queries = torch.from_numpy(bank[:49] + features(6, len(bank[:49]), bank.shape[1]))
    here, there = (DeviceBank(bank, torch.device(place), reweight_neighbours=9) for place in ("cpu", "cuda"))
    np.testing.assert_allclose(there.inspect(queries.cuda()).cpu(), here.inspect(queries), rtol=1e-5)
