"""The configurations that ship with PatchLine are valid, and `configs/line.yaml` shows every option as it is."""

from __future__ import annotations

import re
import typing
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from ruamel.yaml import YAML

from stream.core.options import Options
from stream.devices.actuators import ActuatorOptions
from stream.devices.cameras import CameraOptions
from stream.line.config import LineConfig, load, parse
from stream.line.config_schema import FILE_NAME, all_descriptions, schema_text
from stream.line.example import REQUIRED, TEXT, WHOLE, kinds, options_within, shown_options

CONFIGS = Path(__file__).parents[1] / "configs"


def is_section(cls: type[Options], field: str) -> bool:
    return any(options_within(cls.model_fields[field].annotation))


def every_option() -> set[str]:
    """Class.field of everything that takes a value, not a section."""
    classes = set(options_within(LineConfig))
    return {f"{cls.__name__}.{field}" for cls in classes for field in cls.model_fields if not is_section(cls, field)}


def test_options_are_found_in_unions_mappings_lists_and_sections_that_may_be_absent():
    expected = {
        "V4l2CameraOptions.pixel_format",
        "LogActuatorOptions.path",
        "WorkerOptions.threads",
        "AlarmRule.of",
        "RejectOptions.tolerance_ms",
    }
    assert expected <= every_option()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_configuration_that_ships_loads(path: Path):
    assert load(path).stations


@pytest.mark.parametrize("field", sorted({field for cls in options_within(LineConfig) for field in cls.model_fields}))
def test_every_option_is_named_in_the_example_line(field: str):
    assert re.search(rf"^[#\s-]*{field}:", TEXT, flags=re.MULTILINE), f"configs/line.yaml does not show {field}"


def test_the_example_line_shows_every_option_in_its_own_section():
    shown = {f"{option.cls.__name__}.{option.name}" for option in shown_options()}
    assert every_option() - shown == set()


def test_the_example_line_shows_every_default_correctly():
    for cls, name, comment, default in shown_options():
        default_shown = re.match(r"required|default ([^;]+)", comment)
        assert default_shown, f"{cls}.{name}: its line says neither `required` nor `default …`, but: {comment}"
        if default_shown[1] is None:
            assert default is REQUIRED, f"{cls}.{name} has the default {default}"
        else:
            assert YAML(typ="safe").load(default_shown[1]) == TypeAdapter(Any).dump_python(default, mode="json"), name


def example_cameras() -> dict[str, dict[str, Any]]:
    return dict(YAML(typ="safe").load(WHOLE)["cameras"])


def test_every_kind_of_camera_is_in_the_example_line():
    union = typing.get_args(typing.get_args(CameraOptions)[0])
    assert {camera["kind"] for camera in example_cameras().values()} == {kind for cls in union for kind in kinds(cls)}


@pytest.mark.parametrize("name", example_cameras())
def test_every_camera_in_the_example_line_can_be_used(name: str):
    data = YAML(typ="safe").load(WHOLE)
    data["cameras"] = {"top": data["cameras"][name]}
    line = LineConfig.model_validate(data, context={"folder": CONFIGS})
    assert line.cameras["top"].kind == data["cameras"]["top"]["kind"]
    assert line.transport.keys == CONFIGS / "keys"


def test_the_example_line_shows_every_kind_of_actuator_once():
    shown = [actuator["kind"] for actuator in YAML(typ="safe").load(WHOLE)["actuators"].values()]
    assert sorted(shown) == sorted(kind for cls in options_within(ActuatorOptions) for kind in kinds(cls))


def test_the_example_line_as_it_stands_uses_no_sockets_of_the_network():
    line = parse(TEXT, name="line.yaml", folder=CONFIGS)
    assert line.announcements_address().startswith("ipc://")
    assert list(line.cameras) == ["top"]


def test_every_option_and_section_is_described():
    known = all_descriptions()
    named = {(cls.__name__, field) for cls in options_within(LineConfig) for field in cls.model_fields}
    assert sorted(named - known.keys()) == []


def test_the_schema_for_editors_is_up_to_date_and_named_by_every_example():
    assert (CONFIGS / FILE_NAME).read_text(encoding="utf-8") == schema_text(), (
        f"`patchline schema > configs/{FILE_NAME}` writes it"
    )
    for path in CONFIGS.glob("*.yaml"):
        assert path.read_text(encoding="utf-8").startswith(f"# yaml-language-server: $schema={FILE_NAME}\n"), path
