"""A short run of each fuzzed reader, and what the campaign says of readers that crash, hang, grow or talk too much."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from campaigns import targets
from campaigns.fuzz import campaign, drawn, outcome_of
from campaigns.targets import Target
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.core.errors import WireError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@pytest.fixture(scope="module")
def readers(folder: Path, small_bundle: Path) -> dict[str, Target]:
    bundles = targets.bundles(small_bundle, folder)
    found = (targets.wire(), targets.configurations(folder), bundles, targets.pictures(folder))
    return {target.name: target for target in found}


@pytest.mark.parametrize("name", ["messages", "configurations", "bundles", "pictures"])
def test_what_a_reader_once_fell_over_is_read_or_refused_in_words(readers: dict[str, Target], name: str):
    target = readers[name]
    assert dict(drawn(target, 40, 3)) == dict(drawn(target, 40, 3)), "a seed draws the same again"
    found = campaign(target, seed=1_000, count=60, seconds=60.0)
    assert found.violations == []
    assert found.inputs == len(target.corpus) + 60
    assert found.accepted > 0, "damage that no reader accepts reaches nothing behind the first check"


@pytest.mark.parametrize(
    ("name", "examples"), [("messages", 500), ("configurations", 60), ("bundles", 100), ("pictures", 150)]
)
def test_damaged_input_is_read_or_refused_in_words(readers: dict[str, Target], name: str, examples: int):
    target = readers[name]

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=False))
    def check(dice: random.Random) -> None:
        assert outcome_of(target, target.draw(dice))[1] is None

    check()


def _target(read: object, **options: object) -> Target:
    return Target("reader", 10, lambda dice: dice.randbytes(4), read, {"odd": b"odd"}, **options)  # type: ignore[arg-type]


def test_a_reader_that_raises_anything_else_has_crashed():
    def read(data: bytes) -> None:
        raise KeyError("station")

    found = campaign(_target(read), seed=0, count=3, seconds=10.0)
    assert [violation.rule for violation in found.violations] == ["crash"] * 4
    assert found.violations[0].text == "reader: corpus: odd: KeyError: 'station'; b'odd'"
    assert found.violations[1].text.startswith("reader: seed 0: ")


def test_a_reader_that_recurses_without_end_has_crashed():
    def read(data: bytes) -> None:
        read(data)

    assert campaign(_target(read), seed=0, count=0, seconds=10.0).violations[0].rule == "crash"


def test_a_reader_that_never_returns_hangs():
    def read(data: bytes) -> None:
        while True:
            pass

    found = campaign(_target(read, longest_s=0.1), seed=0, count=0, seconds=10.0)
    assert [violation.rule for violation in found.violations] == ["hang"]


def test_a_refusal_that_repeats_all_of_its_input_is_too_long():
    def read(data: bytes) -> None:
        raise WireError("x" * 20_000)

    assert campaign(_target(read), seed=0, count=0, seconds=10.0).violations[0].rule == "refusal"


def test_a_reader_that_keeps_what_it_reads_is_stopped_before_it_fills_the_memory():
    kept = []

    def read(data: bytes) -> None:
        kept.append(b"x" * (8 << 20))

    found = campaign(_target(read, growth_mib=100), seed=0, count=1_000, seconds=10.0)
    assert [violation.rule for violation in found.violations] == ["memory"]
    assert found.inputs < 50


def test_a_reader_that_refuses_in_words_breaks_nothing():
    def read(data: bytes) -> None:
        raise WireError("no message")

    found = campaign(_target(read), seed=0, count=5, seconds=10.0)
    assert (found.inputs, found.accepted, found.refusals, found.violations) == (6, 0, {"WireError": 6}, [])
