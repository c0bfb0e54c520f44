"""What configs/line.yaml says of every option: the one place where options are described, read with their classes.

The schema for editors, the site's page of all options and messages about missing options take their words from here.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

import stream
from stream.core.errors import ConfigError
from stream.core.options import Options
from stream.line.config import LineConfig


def configs_folder() -> Path:
    """Return the folder of the example configurations, in a checkout or inside the installed package.

    Raises ConfigError where the installation lacks them.
    """
    package = Path(stream.__file__).parent
    for folder in (package.parent / "configs", package / "configs"):
        if (folder / "line.yaml").is_file():
            return folder
    raise ConfigError("configs/line.yaml is missing from this installation; install patchline again")


TEXT = (configs_folder() / "line.yaml").read_text(encoding="utf-8")
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
            comment = _comment(section.lc.key(name)[0])
            yield ShownOption(cls, name, comment, REQUIRED if field.is_required() else default)
            continue
        alone = typing.get_origin(field.annotation) not in (dict, list)
        for below in [value] if alone else value.values() if isinstance(value, dict) else value:
            chosen = next((other for other in classes if below.get("kind") in kinds(other)), classes[0])
            yield from _shown(below, chosen, default if isinstance(default, chosen) else None)


def _comment(number: int) -> str:
    """Return the comment behind an option on this line, with the lines of nothing but comment that continue it."""
    lines = WHOLE.splitlines()
    text = lines[number].partition(" # ")[2]
    for line in lines[number + 1 :]:
        continued = re.fullmatch(r"\s{20,}# (.*)", line)
        if continued is None:
            break
        text += f" {continued[1]}"
    return text


def descriptions() -> dict[tuple[str, str], str]:
    """Return what every option is, by the name of its class and its own: the comment without `default …;`."""
    found: dict[tuple[str, str], str] = {}
    for option in shown_options():
        head, _, rest = option.comment.partition("; ")
        is_default = re.match(r"required\b|default ", head) is not None
        text = rest if is_default else option.comment
        if text and not re.fullmatch(r"(as above|likewise)[.]?", text):
            found.setdefault((option.cls.__name__, option.name), text)
    return found
