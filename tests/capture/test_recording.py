from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stream.capture import recording
from stream.capture.recording import Recorded, Recording, RecordingThread
from stream.core import metrics
from stream.core.errors import CameraError, FrameFault
from stream.core.verdict import Cause
from stream.devices.cameras.camera import Frame, RecordOptions


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)


def recorded(folder: Path, frames: dict[int, Frame], *, keep: int | str = "all") -> None:
    """Record frames and wait until all are written."""
    thread = RecordingThread(RecordOptions.model_validate({"path": folder, "keep": keep}))
    for seq, frame in frames.items():
        thread.add(seq, frame)
    thread.start()
    thread.end(timeout_s=10)
    assert not thread.is_alive()


def some(*seqs: int) -> dict[int, Frame]:
    return {seq: Frame(picture(seq), 1000 + seq, f"part-{seq}") for seq in seqs}


def read(folder: Path) -> list[Recorded]:
    return [frame for frame in Recording(folder).frames() if frame is not None]


def dropped() -> float:
    return metrics.DROPPED.labels("recording")._value.get()


def test_what_is_read_is_what_was_recorded_bit_for_bit(tmp_path: Path):
    now_ns = time.monotonic_ns()
    frames = some(3, 4) | {5: Frame(None, now_ns, "lost", FrameFault(Cause.BAD_FRAME, "damaged"))}
    recorded(tmp_path / "new" / "folder", frames)
    first, second, lost = read(tmp_path / "new" / "folder")
    assert (first.seq, second.seq, lost.seq) == (3, 4, 5)
    for item in (first, second):
        assert item.frame.image is not None
        np.testing.assert_array_equal(item.frame.image, picture(item.seq))
        assert item.frame._replace(image=None) == frames[item.seq]._replace(image=None)
    fault = lost.frame.fault
    assert (lost.frame.image, lost.frame.part_id) == (None, "lost")
    assert fault is not None
    assert (fault.cause, fault.detail) == (Cause.BAD_FRAME, "damaged")
    assert abs(lost.realtime_ns - (time.time_ns() - time.monotonic_ns() + now_ns)) < 1_000_000_000


def test_the_metadata_of_each_frame_is_one_readable_line(tmp_path: Path):
    recorded(tmp_path, some(7))
    (path,) = tmp_path.glob("*.json")
    assert path.name == "000000000007.json"
    line = json.loads(path.read_text())
    assert {"seq": 7, "captured_ns": 1007, "part_id": "part-7", "fault": None}.items() <= line.items()


def test_a_view_into_a_larger_image_is_recorded_without_the_rest(tmp_path: Path):
    view = picture(1)[5:20, 3:9, ::-1]
    recorded(tmp_path, {0: Frame(view, 0)})
    np.testing.assert_array_equal(read(tmp_path)[0].frame.image, view)


def test_of_a_ring_the_newest_frames_stay_also_across_restarts(tmp_path: Path):
    recorded(tmp_path, some(*range(8)), keep=5)
    assert [item.seq for item in read(tmp_path)] == [3, 4, 5, 6, 7]
    recorded(tmp_path, some(8, 9), keep=3)
    assert [item.seq for item in read(tmp_path)] == [7, 8, 9]
    assert len(list(tmp_path.iterdir())) == 6


def test_frames_with_numbers_used_before_replace_the_old_ones(tmp_path: Path):
    recorded(tmp_path, some(0, 1, 2), keep=3)
    recorded(tmp_path, {0: Frame(picture(50), 0), 1: Frame(picture(51), 0)}, keep=3)
    first, second, third = (item.frame.image for item in read(tmp_path))
    np.testing.assert_array_equal(first, picture(50))
    np.testing.assert_array_equal(second, picture(51))
    np.testing.assert_array_equal(third, picture(2))


def cut_pixels(folder: Path) -> None:
    path = folder / "000000000001.npy"
    path.write_bytes(path.read_bytes()[:-10])


def flip_a_pixel(folder: Path) -> None:
    path = folder / "000000000001.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")


def cut_metadata(folder: Path) -> None:
    path = folder / "000000000001.json"
    path.write_bytes(path.read_bytes()[:20])


def empty_metadata(folder: Path) -> None:
    (folder / "000000000001.json").write_bytes(b"")


def lose_pixels(folder: Path) -> None:
    (folder / "000000000001.npy").unlink()


@pytest.mark.parametrize("damage", [cut_pixels, flip_a_pixel, cut_metadata, empty_metadata, lose_pixels])
def test_a_frame_that_a_crash_cut_short_is_skipped_and_named(tmp_path: Path, damage: Callable[[Path], None]):
    recorded(tmp_path, {seq: Frame(picture(seq) | 1, 0) for seq in range(3)})
    damage(tmp_path)
    damaged = Recording(tmp_path)
    assert [item and item.seq for item in damaged.frames()] == [0, None, 2]
    assert len(damaged.damaged) == 1
    assert damaged.damaged[0].startswith("000000000001.json")


def test_pixels_without_metadata_are_removed_when_the_recording_goes_on(tmp_path: Path):
    recorded(tmp_path, some(0, 1))
    (tmp_path / "000000000001.json").unlink()
    recorded(tmp_path, some(2))
    assert sorted(path.stem for path in tmp_path.glob("*.npy")) == ["000000000000", "000000000002"]


def test_frames_that_do_not_fit_are_dropped_and_counted_and_capture_does_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(recording, "WAITING_BYTES", 3 * picture(0).nbytes)
    before = dropped()
    thread = RecordingThread(RecordOptions(path=tmp_path, keep="all"))  # not started, as if the disk hung
    for seq, frame in some(*range(5)).items():
        thread.add(seq, frame)
    assert dropped() - before == 2
    thread.start()
    thread.end(timeout_s=10)
    assert [item.seq for item in read(tmp_path)] == [0, 1, 2]


def test_an_image_larger_than_the_limit_is_still_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recording, "WAITING_BYTES", 1)
    recorded(tmp_path, some(0))
    assert [item.seq for item in read(tmp_path)] == [0]


def test_a_disk_that_cannot_be_written_costs_frames_that_are_counted_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    folder = tmp_path / "disk"
    before = dropped()
    thread = RecordingThread(RecordOptions(path=folder))
    folder.rmdir()  # every write fails from now on
    thread.start()
    for seq, frame in some(0, 1).items():
        thread.add(seq, frame)
    by_s = time.monotonic() + 10
    while dropped() - before < 2:
        assert time.monotonic() < by_s
        time.sleep(0.005)
    folder.mkdir()
    thread.add(2, some(2)[2])
    thread.end(timeout_s=10)
    assert [item.seq for item in read(folder)] == [2]
    assert sum("frames are lost" in record.message for record in caplog.records) == 1


def test_a_full_disk_leaves_no_incomplete_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real, calls = np.save, []

    def full(path: Path, image: np.ndarray, allow_pickle: bool) -> None:
        calls.append(path)
        real(path, image, allow_pickle=allow_pickle)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    before = dropped()
    recorded(tmp_path, some(0, 1, 2))
    assert sorted(path.stem for path in tmp_path.glob("*.npy")) == ["000000000000", "000000000002"]
    assert dropped() - before == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(CameraError, match=r"record.path: .*file/frames: cannot be written"):
        RecordingThread(RecordOptions(path=tmp_path / "file" / "frames"))


@pytest.mark.parametrize("name", ["absent", "."])
def test_a_folder_without_a_recording_is_named(tmp_path: Path, name: str):
    with pytest.raises(CameraError, match="no recording in it"):
        Recording(tmp_path / name)
