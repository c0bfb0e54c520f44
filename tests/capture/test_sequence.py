from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stream.capture.sequence import FrameSequence, run_has_begun
from stream.core.errors import CameraError


def taken(sequence: FrameSequence, count: int) -> list[int]:
    return [sequence.take() for _ in range(count)]


def test_a_new_camera_begins_at_zero(tmp_path: Path):
    sequence = FrameSequence(tmp_path / "state", "top", "monday", 77)
    assert (sequence.first_seq, sequence.next_seq, sequence.frames_done, sequence.origin_ns) == (0, 0, 0, 77)
    assert taken(sequence, 3) == [0, 1, 2]
    assert (sequence.next_seq, sequence.frames_done) == (3, 3)


def test_a_restart_within_a_run_continues_its_numbers(tmp_path: Path):
    taken(FrameSequence(tmp_path, "top", "monday", 77), 3)
    again = FrameSequence(tmp_path, "top", "monday", 9_999)
    assert (again.first_seq, again.next_seq, again.frames_done, again.origin_ns) == (0, 3, 3, 77)
    assert taken(again, 2) == [3, 4]


def test_a_new_run_counts_its_frames_from_zero_and_continues_the_numbers(tmp_path: Path):
    taken(FrameSequence(tmp_path, "top", "monday", 77), 3)
    tuesday = FrameSequence(tmp_path, "top", "tuesday", 200)
    assert (tuesday.first_seq, tuesday.next_seq, tuesday.frames_done, tuesday.origin_ns) == (3, 3, 0, 200)
    assert taken(tuesday, 2) == [3, 4]
    again = FrameSequence(tmp_path, "top", "tuesday", 300)
    assert (again.first_seq, again.next_seq, again.frames_done, again.origin_ns) == (3, 5, 2, 200)


def test_a_run_without_frames_keeps_its_origin(tmp_path: Path):
    FrameSequence(tmp_path, "top", "monday", 77)
    again = FrameSequence(tmp_path, "top", "monday", 88)
    assert (again.next_seq, again.frames_done, again.origin_ns) == (0, 0, 77)


def test_a_run_has_begun_once_its_camera_has_a_sequence(tmp_path: Path):
    assert not run_has_begun(tmp_path, "top", "monday")
    FrameSequence(tmp_path, "top", "monday", 77)
    assert run_has_begun(tmp_path, "top", "monday")
    assert not run_has_begun(tmp_path, "top", "tuesday")
    assert not run_has_begun(tmp_path, "side", "monday")
    (tmp_path / "top.run.json").write_text("{")
    assert not run_has_begun(tmp_path, "top", "monday")


def test_each_camera_has_its_own_sequence(tmp_path: Path):
    taken(FrameSequence(tmp_path, "top", "monday", 77), 3)
    side = FrameSequence(tmp_path, "side", "monday", 88)
    assert (side.next_seq, side.origin_ns) == (0, 88)


def test_the_first_run_of_a_camera_with_numbers_begins_at_the_next_one(tmp_path: Path):
    taken(FrameSequence(tmp_path, "top", "monday", 77), 3)
    (tmp_path / "top.run.json").unlink()
    sequence = FrameSequence(tmp_path, "top", "monday", 88)
    assert (sequence.first_seq, sequence.next_seq, sequence.frames_done) == (3, 3, 0)


def test_a_killed_process_has_used_the_number_it_took(tmp_path: Path):
    program = """
import os, sys
from pathlib import Path
from stream.capture.sequence import FrameSequence

sequence = FrameSequence(Path(sys.argv[1]), "top", "monday", 77)
for _ in range(5):
    sequence.take()
os._exit(9)
"""
    for seqs in (5, 10):
        killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=60)
        assert killed.returncode == 9
        sequence = FrameSequence(tmp_path, "top", "monday", 88)
        assert (sequence.next_seq, sequence.frames_done, sequence.origin_ns) == (seqs, seqs, 77)


def test_a_number_is_on_disk_before_it_is_used(tmp_path: Path):
    sequence = FrameSequence(tmp_path, "top", "monday", 77)
    for _ in range(3):
        seq = sequence.take()
        assert FrameSequence(tmp_path, "top", "monday", 88).next_seq == seq + 1


def test_numbers_outgrow_32_bits(tmp_path: Path):
    (tmp_path / "top.seq").write_text(f"{2**40} {2**40}")
    sequence = FrameSequence(tmp_path, "top", "monday", 77)
    assert taken(sequence, 2) == [2**40, 2**40 + 1]
    assert FrameSequence(tmp_path, "top", "monday", 77).next_seq == 2**40 + 2


def test_a_folder_that_cannot_be_written_is_refused_by_name(tmp_path: Path):
    in_the_way = tmp_path / "state"
    in_the_way.write_text("no folder")
    with pytest.raises(CameraError, match=r"state: cannot keep the numbers of camera top"):
        FrameSequence(in_the_way, "top", "monday", 77)


def test_a_sequence_that_cannot_be_written_is_refused(tmp_path: Path):
    (tmp_path / "top.seq").mkdir()
    with pytest.raises(CameraError, match=r"cannot keep the numbers of camera top"):
        FrameSequence(tmp_path, "top", "monday", 77)


@pytest.mark.parametrize("text", ["", "{", '{"run": "monday"}', "[]", '"monday"'])
def test_a_damaged_origin_of_the_run_is_refused_by_name(tmp_path: Path, text: str):
    taken(FrameSequence(tmp_path, "top", "monday", 77), 3)
    (tmp_path / "top.run.json").write_text(text)
    with pytest.raises(CameraError, match=r"camera top"):
        FrameSequence(tmp_path, "top", "monday", 88)


def test_a_number_cut_short_on_disk_is_refused_and_not_taken_for_zero(tmp_path: Path):
    taken(FrameSequence(tmp_path, "top", "monday", 77), 3)
    (tmp_path / "top.seq").write_bytes(b"\x03\x00")
    with pytest.raises(CameraError, match=r"camera top"):
        FrameSequence(tmp_path, "top", "monday", 88)


@pytest.mark.parametrize("gone", [False, True])
def test_a_file_emptied_or_removed_after_the_first_run_is_refused_and_not_taken_for_zero(tmp_path: Path, gone: bool):
    taken(FrameSequence(tmp_path, "top", "monday", 77), 3)
    (tmp_path / "top.seq").write_bytes(b"")
    if gone:
        (tmp_path / "top.seq").unlink()
    for run in ("monday", "tuesday"):
        with pytest.raises(CameraError, match=r"top.seq is damaged.*echo N N > "):
            FrameSequence(tmp_path, "top", run, 88)


DAMAGED = {
    "a number without its copy": (2**40).to_bytes(8, "little"),
    "the first number that the wire refuses": (2**53).to_bytes(8, "little"),
    "far beyond": (2**63 - 1).to_bytes(8, "little"),
    "negative": (-1).to_bytes(8, "little", signed=True),
    "very negative": (-(2**62)).to_bytes(8, "little", signed=True),
    "ones": b"\xff" * 34,
    "zeros": bytes(34),
    "copies that differ": b"0000000000000017 0000000000000018\n",
    "one copy": b"17\n",
    "no digits": b"-000000000000001 -000000000000001\n",
    "two copies beyond the wire": b"9007199254740992 9007199254740992\n",
    "text": b"seventeen\n",
    "too long": b"17 17\n" * 50,
    "a bit": b"\xb1" + b"000000000000017 0000000000000017\n",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_number_is_refused_in_one_line_with_the_file_and_the_fix(tmp_path: Path, content: bytes):
    (tmp_path / "top.seq").write_bytes(content)
    with pytest.raises(CameraError) as refused:
        FrameSequence(tmp_path, "top", "monday", 77)
    assert re.match(rf"{tmp_path}: cannot keep the numbers of camera top: top.seq is damaged", str(refused.value))
    assert f"echo N N > {tmp_path}/top.seq" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert (tmp_path / "top.seq").read_bytes() == content


def test_no_flipped_bit_of_the_file_changes_the_number(tmp_path: Path):
    taken(FrameSequence(tmp_path, "top", "monday", 77), 1234)
    content = (tmp_path / "top.seq").read_bytes()
    for place in range(8 * (len(content) - 1)):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        (tmp_path / "top.seq").write_bytes(damaged)
        with contextlib.suppress(CameraError):
            assert FrameSequence(tmp_path, "top", "monday", 77).next_seq == 1234, damaged


def test_a_number_written_by_hand_is_taken(tmp_path: Path):
    (tmp_path / "top.seq").write_text("1234 1234\n")
    assert taken(FrameSequence(tmp_path, "top", "monday", 77), 2) == [1234, 1235]
    assert (tmp_path / "top.seq").read_text() == "0000000000001236 0000000000001236\n"


def test_the_last_number_is_taken_and_none_beyond_it(tmp_path: Path):
    (tmp_path / "top.seq").write_text(f"{2**53 - 2} {2**53 - 2}")
    sequence = FrameSequence(tmp_path, "top", "monday", 77)
    assert sequence.take() == 2**53 - 2, "the number after it, which is sent at the end, is the last of the wire"
    with pytest.raises(CameraError, match="used up"):
        sequence.take()


def test_a_run_that_began_after_the_next_number_is_refused(tmp_path: Path):
    taken(FrameSequence(tmp_path, "top", "monday", 77), 5)
    (tmp_path / "top.seq").write_text("3 3")
    FrameSequence(tmp_path, "side", "monday", 77)
    (tmp_path / "top.run.json").write_text('{"run": "monday", "first_seq": 4, "origin_ns": 77}')
    with pytest.raises(CameraError, match=r"the run began with number 4, top.seq that the next one is 3"):
        FrameSequence(tmp_path, "top", "monday", 88)
