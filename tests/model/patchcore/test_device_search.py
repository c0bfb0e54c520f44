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
    pictures = [
        bank[np.random.default_rng(seed).integers(len(bank), size=49)] + features(seed, 49, bank.shape[1])
        for seed in range(10)
    ]
    together = device.inspect(torch.from_numpy(np.stack(pictures))).numpy()
    for picture, found in zip(pictures, together, strict=True):
        patches = picture.reshape(7, 7, -1)
        plain = score_patches(memory, patches, nearest_patches(memory, patches), Scoring(neighbours))
        assert found[0] == pytest.approx(plain.score, rel=1e-6)
        np.testing.assert_allclose(found[1:].reshape(7, 7), plain.distances, rtol=1e-5)


@pytest.mark.parametrize("name", BANKS)
def test_a_picture_has_the_same_score_alone_and_in_a_batch(name: str):
    bank = BANKS[name]
    device = DeviceBank(bank, CPU, reweight_neighbours=9)
    near = bank[np.arange(36) % len(bank)].reshape(4, 9, -1)
    pictures = torch.from_numpy(near + features(6, 4, 9, bank.shape[1]))
    together = device.inspect(pictures)
    for place in range(4):
        np.testing.assert_allclose(together[place], device.inspect(pictures[place : place + 1])[0], rtol=1e-6)


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
    queries = torch.from_numpy(bank[:49] + features(6, len(bank[:49]), bank.shape[1]))[None]
    here, there = (DeviceBank(bank, torch.device(place), reweight_neighbours=9) for place in ("cpu", "cuda"))
    np.testing.assert_allclose(there.inspect(queries.cuda()).cpu(), here.inspect(queries), rtol=1e-5)
