from __future__ import annotations

import pytest

from stream.sink.policy.frame_match import FrameIdentity, FrameMatch

FRAME = FrameIdentity(1_000_000_000, "epoch", "ab" * 32)
OTHERS = [
    (FRAME._replace(captured_ns=1_002_500_000), "exposed 2.500 ms apart"),
    (FRAME._replace(epoch="another"), "of another capture process"),
    (FRAME._replace(epoch=""), "of another capture process"),
    (FRAME._replace(bundle_sha256="cd" * 32), "for bundle cdcdcdcdcdcd, not abababababab"),
    (FRAME._replace(bundle_sha256=""), "for bundle unnamed, not abababababab"),
]


def test_a_result_for_the_announced_frame_matches():
    match = FrameMatch()
    assert match.announced("cap", 7, FRAME) is None
    assert match.result("cap", 7, FRAME) is None


@pytest.mark.parametrize(("other", "difference"), OTHERS)
def test_a_result_for_another_frame_says_in_what_it_differs(other: FrameIdentity, difference: str):
    match = FrameMatch()
    match.announced("cap", 7, FRAME)
    assert match.result("cap", 7, other) == difference


@pytest.mark.parametrize("other", [other for other, _ in OTHERS if other.epoch and other.bundle_sha256])
def test_an_announcement_after_the_result_of_another_frame_says_so_once(other: FrameIdentity):
    match = FrameMatch()
    assert match.result("cap", 7, FRAME) is None
    assert match.announced("cap", 7, other) is not None
    assert match.announced("cap", 7, other) is None


def test_the_first_of_two_announcements_of_one_number_counts():
    match = FrameMatch()
    match.announced("cap", 7, FRAME)
    match.announced("cap", 7, FRAME._replace(captured_ns=5))
    assert match.result("cap", 7, FRAME) is None


def test_the_exposure_counts_where_an_announcement_names_neither_epoch_nor_bundle():
    match = FrameMatch()
    match.announced("cap", 7, FrameIdentity(5, "", ""))
    assert match.result("cap", 7, FRAME._replace(captured_ns=5)) is None
    assert match.result("cap", 7, FRAME) is not None


def test_stations_have_their_own_numbers():
    match = FrameMatch()
    match.announced("cap", 7, FRAME)
    assert match.result("neck", 7, FRAME._replace(captured_ns=5)) is None


def test_what_is_remembered_is_bounded():
    match = FrameMatch()
    for seq in range(5_000):
        match.announced("cap", seq, FRAME)
    assert match.result("cap", 0, FRAME._replace(captured_ns=5)) is None, "forgotten: the ledger has its verdict"
    assert match.result("cap", 4_999, FRAME._replace(captured_ns=5)) is not None
