"""What `make docs` adds to MkDocs: links out of docs/ become plain text, and the page of all options is written."""

from __future__ import annotations

import json
import posixpath
import re
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from stream.core.options import Options
from stream.line.config import LineConfig
from stream.line.example import ShownOption, kinds, sections_of, shown_options

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?://)([^)\s#]+)(#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Prepare a page: MkDocs calls it with the page's source."""
    folder = posixpath.dirname(page.file.src_uri)

    def inside(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[2]))
        return link[1] if target.startswith("..") else link[0]

    return _LINK.sub(inside, markdown).replace("<!-- configuration -->", configuration())


def configuration() -> str:
    """Return a section with a table of options for every class of the configuration, in Markdown."""
    shown: dict[type[Options], dict[str, ShownOption]] = {}
    for option in shown_options():
        shown.setdefault(option.cls, {}).setdefault(option.name, option)
    sections: dict[type[Options], str] = {}
    for path, cls in _sections("", LineConfig):
        sections.setdefault(cls, path)
    return "\n\n".join(_table(path, cls, shown.get(cls, {})) for cls, path in sections.items())


def _sections(path: str, cls: type[Options]) -> Iterator[tuple[str, type[Options]]]:
    """Yield every section with the path that leads to it: `stations.NAME.reject`."""
    yield path, cls
    for name, field in cls.model_fields.items():
        shape = typing.get_origin(field.annotation)
        below = f"{path}.{name}".lstrip(".") + (".NAME" if shape is dict else "[]" if shape is list else "")
        for section in sections_of(field.annotation):
            yield from _sections(below, section)


def _table(path: str, cls: type[Options], shown: dict[str, ShownOption]) -> str:
    kind = "".join(f", kind: {kind}" for kind in kinds(cls))
    lines = [f"## {path or 'The line'}{kind}", "", (cls.__doc__ or "").strip(), ""]
    lines += ["| Option | Type | Default | Meaning |", "|---|---|---|---|"]
    schema = cls.model_json_schema()
    for name, field in cls.model_fields.items():
        option = shown.get(name)
        if option is None:
            cells = [f"`{name}`", "section", "required" if field.is_required() else "", "see below"]
        else:
            default = "required" if field.is_required() else f"`{_text(field.get_default(call_default_factory=True))}`"
            meaning = re.sub(r"^(required|default [^;]+)(; )?", "", option.comment)
            cells = [f"`{name}`", _type(schema["properties"][name]), default, meaning]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _text(value: Any) -> str:
    return json.dumps(TypeAdapter(Any).dump_python(value, mode="json"), ensure_ascii=False)


def _type(schema: dict[str, Any]) -> str:
    """Return a type and its limits as one cell: `integer, 1 to 100`."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(part) for part in schema["anyOf"]))
    if "$ref" in schema or "discriminator" in schema:
        return "section"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    limits = [
        f"{sign} {schema[key]:g}"
        for key, sign in (
            *(("minimum", "≥"), ("exclusiveMinimum", ">")),
            *(("maximum", "≤"), ("exclusiveMaximum", "<")),
        )
        if key in schema
    ]
    return ", ".join([schema.get("type", "value"), *limits])
