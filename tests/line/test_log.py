from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from stream.core.errors import ConfigError
from stream.core.log_lines import FROM_PEER
from stream.line.log import LineHandler, configure_logging


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(output: io.StringIO) -> Iterator[logging.Logger]:
    logger = logging.getLogger("stream.test_log")
    handler = LineHandler("sink", output)
    logger.addHandler(handler)
    logger.propagate = False
    yield logger
    logger.removeHandler(handler)
    handler.close()


def changed(how: str) -> float:
    return REGISTRY.get_sample_value("patchline_log_lines_changed_total", {"how": how}) or 0.0


def test_a_record_is_one_line_with_time_role_and_level(log: logging.Logger, output: io.StringIO):
    log.error("part %d was late", 17)
    (line,) = output.getvalue().splitlines()
    assert line[2:3] == line[5:6] == ":"
    assert line[13:] == "sink           ERROR   part 17 was late"


def test_a_text_from_outside_can_forge_neither_a_line_nor_an_escape_sequence(log: logging.Logger, output: io.StringIO):
    before = changed("escaped")
    log.error("camera %s", "top\n12:00:00.000 sink INFO ledger cap: closed\x1b[2K\u202e")
    (line,) = output.getvalue().splitlines()
    assert line.endswith(r"camera top\n12:00:00.000 sink INFO ledger cap: closed\x1b[2K\u202e")
    assert changed("escaped") == before + 1


def test_no_line_of_a_traceback_looks_like_a_line_of_the_log(log: logging.Logger, output: io.StringIO):
    try:
        raise ValueError("bad\n12:00:00.000 sink INFO all is well\x1b[31m")
    except ValueError:
        log.exception("message cannot be handled")
    first, *others = output.getvalue().splitlines()
    assert first.endswith("message cannot be handled")
    assert others
    assert all(line.startswith("    | ") for line in others)
    assert "\x1b" not in output.getvalue()


def test_a_long_line_is_cut(log: logging.Logger, output: io.StringIO):
    before = changed("cut")
    log.error("x" * 1_000_000)
    assert len(output.getvalue()) < 3_000
    assert changed("cut") == before + 1


def test_a_flood_of_equal_lines_is_one_line_and_a_number(log: logging.Logger, output: io.StringIO):
    before = changed("left_out")
    for _ in range(500):
        log.warning("the same")
    assert len(output.getvalue().splitlines()) <= 3
    assert changed("left_out") >= before + 497
    log.handlers[0].close()
    assert "more like this: the same" in output.getvalue().splitlines()[-1]


def test_lines_of_a_peer_count_as_equal_whatever_it_writes(log: logging.Logger, output: io.StringIO):
    for number in range(5_000):
        log.error("unreadable message: %s", "x" * 50 + str(number), extra=FROM_PEER)
    assert len(output.getvalue()) < 3_000


def test_one_place_in_the_code_cannot_flood_the_log_with_different_lines(log: logging.Logger, output: io.StringIO):
    for number in range(20_000):
        log.error("part %d", number)
    assert 300 <= len(output.getvalue().splitlines()) < 600


def test_lines_that_name_parts_are_all_written_at_the_rate_of_a_line(log: logging.Logger, output: io.StringIO):
    for number in range(200):
        log.warning("late reject: cap: part %d", number)
    assert len(output.getvalue().splitlines()) == 200


def test_an_unknown_level_is_an_error_that_names_the_known_ones():
    with pytest.raises(ConfigError, match="PATCHLINE_LOG: expected DEBUG, INFO, WARNING or ERROR, got 'LOUD'"):
        configure_logging("sink", "LOUD")
