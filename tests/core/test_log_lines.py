from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.core.log_lines import MAX_CHARS, RepeatedLines, bounded, printable

S = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("part 17 größer als 3 µm", "part 17 größer als 3 µm"),
        ("a\nALARM defect cap: forged", r"a\nALARM defect cap: forged"),
        ("a\r\x1b[2Jb", r"a\r\x1b[2Jb"),
        ("a\x9b31mb", r"a\x9b31mb"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\u2028b\u2066c\ufeff", r"a\u2028b\u2066c\ufeff"),
        ("a\u200bb\x7f\x00", r"a\u200bb\x7f\x00"),
        ("file-\udcff.png", r"file-\udcff.png"),
        ("12\u00a0345", "12\u00a0345"),
    ],
)
def test_what_could_forge_a_line_or_drive_a_terminal_is_escaped(text: str, shown: str):
    assert printable(text) == shown


@given(st.text())
def test_any_text_becomes_one_line_that_can_be_encoded(text: str):
    shown = printable(text)
    assert shown.splitlines() in ([], [shown])
    assert printable(shown) == shown
    shown.encode("utf-8")


def test_a_long_text_is_cut_and_the_line_says_by_how_much():
    assert bounded("x" * MAX_CHARS) == "x" * MAX_CHARS
    assert bounded("x" * 2_010) == "x" * MAX_CHARS + "… (10 more characters)"


def test_equal_lines_come_at_growing_intervals_with_the_number_left_out():
    lines = RepeatedLines()
    written = []
    for step in range(100 * 200):
        left_out = lines.admit("key", "text", step * S // 100)
        if left_out is not None:
            written.append((step // 100, left_out))
    assert [at_s for at_s, _ in written] == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    assert sum(left_out for _, left_out in written) + len(written) == 183 * 100 + 1
    assert lines.due(None) == [("text", 100 * 200 - 1 - 183 * 100)]


def test_different_lines_do_not_delay_each_other():
    lines = RepeatedLines()
    assert [lines.admit(key, key, 0) for key in "abab"] == [0, 0, None, None]


def test_a_line_that_comes_rarely_is_always_written():
    lines = RepeatedLines()
    assert [lines.admit("key", "text", at_s * S) for at_s in range(0, 50, 5)] == [0] * 10


def test_lines_left_out_are_summed_up_once_their_interval_is_over():
    lines = RepeatedLines()
    for at_ns in (0, 1, 2):
        lines.admit("key", f"text {at_ns}", at_ns)
    assert lines.due(3) == []
    assert lines.due(S) == [("text 2", 2)]
    assert lines.due(S) == []


def test_the_memory_for_lines_is_bounded():
    lines = RepeatedLines()
    for number in range(10_000):
        lines.admit(number, "", 0)
    assert lines.admit(0, "", 0) == 0, "forgotten long ago"
    assert lines.admit(9_999, "", 0) is None
