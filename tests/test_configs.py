"""The configurations that ship with PatchLine are valid, and `configs/line.yaml` shows every option as it is."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from stream.core.options import Options
from stream.devices.actuators import ActuatorOptions
from stream.devices.cameras import CameraOptions
from stream.line.config import LineConfig, load, parse

CONFIGS = Path(__file__).parents[1] / "configs"
TEXT = (CONFIGS / "line.yaml").read_text(encoding="utf-8")
#: With the entries that are commented out: their # has no space behind it, or at least two.
WHOLE = re.sub(r"^#(?=\S|  )", "", TEXT, flags=re.MULTILINE)
REQUIRED = object()


def options_within(annotation: Any) -> Iterator[type[Options]]:
    """Every Options class that a type mentions, and those that their fields mention."""
    if isinstance(annotation, type) and issubclass(annotation, Options):
        yield annotation
        for field in annotation.model_fields.values():
            yield from options_within(field.annotation)
    for argument in typing.get_args(annotation):
        yield from options_within(argument)


def is_section(cls: type[Options], field: str) -> bool:
    return any(options_within(cls.model_fields[field].annotation))


def every_option() -> set[str]:
    """Class.field of everything that takes a value, not a section."""
    classes = set(options_within(LineConfig))
    return {f"{cls.__name__}.{field}" for cls in classes for field in cls.model_fields if not is_section(cls, field)}


def shown_options(section: CommentedMap, cls: type[Options], defaults: Any) -> Iterator[tuple[str, str, Any]]:
    """(class.field, the comment behind it, its default or REQUIRED) of a section and of the sections in it."""
    for name, value in section.items():
        field = cls.model_fields[name]
        default = field.get_default(call_default_factory=True) if defaults is None else getattr(defaults, name)
        classes = list(options_within(field.annotation))
        if not classes:
            line = WHOLE.splitlines()[section.lc.key(name)[0]]
            yield f"{cls.__name__}.{name}", line.partition(" # ")[2], REQUIRED if field.is_required() else default
            continue
        alone = typing.get_origin(field.annotation) not in (dict, list)
        for below in [value] if alone else value.values() if isinstance(value, dict) else value:
            chosen = next((each for each in classes if below.get("kind") in kinds(each)), classes[0])
            yield from shown_options(below, chosen, default if isinstance(default, chosen) else None)


def kinds(cls: type[Options]) -> tuple[str, ...]:
    """What selects a class of a union."""
    return typing.get_args(cls.model_fields["kind"].annotation) if "kind" in cls.model_fields else ()


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
    shown = {name for name, _, _ in shown_options(YAML().load(WHOLE), LineConfig, None)}
    assert every_option() - shown == set()


def test_the_example_line_shows_every_default_correctly():
    for name, comment, default in shown_options(YAML().load(WHOLE), LineConfig, None):
        default_shown = re.match(r"required|default ([^;]+)", comment)
        assert default_shown, f"{name}: its line says neither `required` nor `default …`, but: {comment}"
        if default_shown[1] is None:
            assert default is REQUIRED, f"{name} has the default {default}"
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
