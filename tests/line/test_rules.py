"""A station's rules are checked against its bundle before the line runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.core.errors import ConfigError
from stream.line.config import parse
from stream.line.rules import check_rules, rules_of
from stream.model.bundle import load_bundle

LINE = """
line: a
cameras: {{top: {{kind: folder, path: parts}}}}
stations:
  cap:
    camera: top
    bundle: {bundle}
    {options}
"""


def line_with(bundle: Path, options: str):
    return parse(LINE.format(bundle=bundle, options=options), name="line.yaml", folder=Path("/factory"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            "rules: [{name: short, within_spec: {length_mm: 1}}]",
            "stations.cap.rules: rule 'short': length_mm needs a ruler; give stations.cap.mm_per_px",
        ),
        (
            "rules: [{name: rim, zone: edge, more_than: 1}]",
            "stations.cap.rules: rule 'rim': the bundle has no zone 'edge'; zones: none",
        ),
    ],
)
def test_rules_that_the_bundle_cannot_serve_are_refused_in_one_line(small_bundle: Path, options: str, expected: str):
    with pytest.raises(ConfigError) as error:
        check_rules(line_with(small_bundle, options))
    assert str(error.value).startswith(expected)
    assert "\n" not in str(error.value)


def test_a_station_has_its_rules_with_its_ruler(small_bundle: Path):
    line = line_with(small_bundle, "mm_per_px: 0.1\n    rules: [{name: short, within_spec: {length_mm: 1}}]")
    check_rules(line)
    rules = rules_of("cap", line.stations["cap"], load_bundle(small_bundle).info)
    assert ([rule.name for rule in rules.rules], rules.mm_per_px) == (["short"], 0.1)


def test_a_station_without_rules_does_not_need_its_bundle_for_that(tmp_path: Path):
    check_rules(line_with(tmp_path / "missing.safetensors", "deadline_ms: 100"))
