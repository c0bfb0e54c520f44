"""What configs/line.yaml says of every option: the one commented example, read together with the classes behind it."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from stream.core.options import Options
from stream.line.config import LineConfig

TEXT = (Path(__file__).parents[1] / "configs" / "line.yaml").read_text(encoding="utf-8")
#: With the entries that are commented out: their # has no space behind it, or at least two.
WHOLE = re.sub(r"^#(?=\S|  )", "", TEXT, flags=re.MULTILINE)
REQUIRED = object()


class ShownOption(NamedTuple):
    """An option of the example, with the comment behind it; `default` is REQUIRED where there is none."""

    cls: type[Options]
    name: str
    comment: str
    default: Any


def sections_of(annotation: Any) -> Iterator[type[Options]]:
    """Yield the Options classes that a field's type mentions."""
    if isinstance(annotation, type) and issubclass(annotation, Options):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from sections_of(argument)


def options_within(annotation: Any) -> Iterator[type[Options]]:
    """Yield every Options class that a type mentions, and those that their fields mention."""
    for cls in sections_of(annotation):
        yield cls
        for field in cls.model_fields.values():
            yield from options_within(field.annotation)


def kinds(cls: type[Options]) -> tuple[str, ...]:
    """Return what selects a class of a union."""
    return typing.get_args(cls.model_fields["kind"].annotation) if "kind" in cls.model_fields else ()


def shown_options() -> Iterator[ShownOption]:
    """Yield every option that takes a value, in the order of the example; one shown twice comes twice."""
    yield from _shown(YAML().load(WHOLE), LineConfig, None)


def _shown(section: CommentedMap, cls: type[Options], defaults: Any) -> Iterator[ShownOption]:
    for name, value in section.items():
        field = cls.model_fields[name]
        default = field.get_default(call_default_factory=True) if defaults is None else getattr(defaults, name)
        classes = list(sections_of(field.annotation))
        if not classes:
            line = WHOLE.splitlines()[section.lc.key(name)[0]]
            yield ShownOption(cls, name, line.partition(" # ")[2], REQUIRED if field.is_required() else default)
            continue
        alone = typing.get_origin(field.annotation) not in (dict, list)
        for below in [value] if alone else value.values() if isinstance(value, dict) else value:
            chosen = next((other for other in classes if below.get("kind") in kinds(other)), classes[0])
            yield from _shown(below, chosen, default if isinstance(default, chosen) else None)
