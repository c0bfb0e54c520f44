from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stream.core.errors import DiskError
from stream.training.memory_budget import MemoryBudget
from stream.training.patch_store import PatchStore
from stream.training.spooled_array import SpooledArray

VALUES = np.arange(60, dtype=np.int32).reshape(20, 3)


@pytest.fixture(params=["in memory", "on disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SpooledArray:
    """Twenty rows of three, appended in parts, with room for more."""
    folder = tmp_path / "spool" if request.param == "on disk" else None
    store = SpooledArray((3,), np.int32, capacity=25, folder=folder)
    for begin in range(0, 20, 7):
        store.append(VALUES[begin : begin + 7])
    return store


@pytest.mark.parametrize("rows", [slice(None), slice(3, 9), slice(15, 99), slice(7, 7), slice(30, 40)])
def test_a_slice_returns_the_rows_appended(store: SpooledArray, rows: slice):
    np.testing.assert_array_equal(store[rows], VALUES[rows])


@pytest.mark.parametrize("rows", [[], [0], [19, 0, 4, 4]])
def test_indices_return_their_rows_in_the_order_asked_for(store: SpooledArray, rows: list[int]):
    np.testing.assert_array_equal(store[np.array(rows, dtype=np.int64)], VALUES[rows])


def test_only_rows_appended_count(store: SpooledArray):
    assert (len(store), store.shape) == (20, (20, 3))


def test_no_file_can_be_seen_and_closing_twice_is_fine(store: SpooledArray, tmp_path: Path):
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    store.close()
    store.close()


def test_rows_are_kept_in_the_type_asked_for(tmp_path: Path):
    store = SpooledArray((2,), np.float32, capacity=1, folder=tmp_path)
    store.append(np.array([[1.5, 2.5]]))
    assert store[:].dtype == np.float32
    np.testing.assert_array_equal(store[:], [[1.5, 2.5]])


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match=r"file: cannot be written: .*--max-memory"):
        SpooledArray((2,), np.float32, capacity=1, folder=tmp_path / "file")


def test_a_disk_that_fills_up_is_named(full_device: Path):
    store = SpooledArray((1024,), np.float32, capacity=1, folder=None)
    store._folder, store._file = full_device, full_device.open("wb", buffering=0)
    with pytest.raises(DiskError, match=r"/dev/full: No space left on device; .*--max-memory"):
        store.append(np.zeros((1, 1024), np.float32))
    store.close()


@pytest.mark.parametrize("dims", [20, 152], ids=["as they are", "projected"])
def test_patches_on_disk_give_the_coreset_of_patches_in_memory(dims: int, tmp_path: Path):
    features = np.random.default_rng(0).normal(size=(4, 14, 14, dims)).astype(np.float32)
    found = []
    for limit_bytes in (0, 2**50):
        memory = MemoryBudget(limit_bytes, asked_for=False)
        with PatchStore(dims, capacity=800, wanted=50, seed=3, memory=memory, spool=tmp_path) as patches:
            for picture in features:
                patches.append(picture)
            picked = patches.coreset(50, cuda=False, progress=lambda _picked: None)
            found.append((picked.tolist(), patches.features[picked]))
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])
    np.testing.assert_array_equal(found[0][1], features.reshape(-1, dims)[found[0][0]])
