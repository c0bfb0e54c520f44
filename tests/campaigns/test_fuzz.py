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
from support.pictures import write_good_folder

from stream.core.errors import WireError
from stream.training.fit import fit
from stream.training.fit_options import FitOptions


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@pytest.fixture(scope="module")
def readers(folder: Path) -> dict[str, Target]:
    tiny = folder / "tiny.safetensors"
    fit(write_good_folder(folder / "good", 4), tiny, FitOptions(size_px=32, coreset=0.05))
    found = (targets.wire(), targets.configurations(folder), targets.bundles(tiny, folder), targets.pictures(folder))
    return {target.name: target for target in found}


@pytest.mark.parametrize("name", ["messages", "configurations", "bundles", "pictures"])
def test_what_a_reader_once_fell_over_is_read_or_refused_in_words(readers: dict[str, Target], name: str):
    found = campaign(readers[name], seed=0, count=0, seconds=60.0)
    assert found.violations == []
    assert found.inputs == len(readers[name].corpus)


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


@pytest.mark.parametrize("name", ["messages", "configurations", "bundles", "pictures"])
def test_damaged_input_is_the_same_for_a_seed_and_some_of_it_is_accepted(readers: dict[str, Target], name: str):
    target = readers[name]
    given_twice = [dict(drawn(target, 40, 3)) for _ in range(2)]
    assert given_twice[0] == given_twice[1]
    found = campaign(target, seed=1_000, count=60, seconds=60.0)
    assert found.violations == []
    assert found.accepted > 0, "damage that no reader accepts reaches nothing behind the first check"
    assert found.refusals.total() > 0


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


def test_a_reader_that_keeps_what_it_reads_fills_the_memory():
    kept = []

    def read(data: bytes) -> None:
        kept.append(b"x" * (64 << 20))

    found = campaign(_target(read, growth_mib=300), seed=0, count=40, seconds=10.0)
    assert [violation.rule for violation in found.violations] == ["memory"]


def test_a_reader_that_refuses_in_words_breaks_nothing():
    def read(data: bytes) -> None:
        raise WireError("no message")

    found = campaign(_target(read), seed=0, count=5, seconds=10.0)
    assert (found.inputs, found.accepted, found.refusals, found.violations) == (6, 0, {"WireError": 6}, [])
