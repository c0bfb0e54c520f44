"""The JSON schema of a configuration, for editors: every option with its type, limits, default and description."""

from __future__ import annotations

import json
from typing import Any

from stream.line.config import LineConfig
from stream.line.example import descriptions, options_within, sections_of

#: Where the schema is kept for the example configurations, beside them.
FILE_NAME = "line.schema.json"


def schema_text() -> str:
    """Return the schema as it is printed and kept; ends with a newline."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def schema() -> dict[str, Any]:
    """Return the schema, draft 2020-12; descriptions are the comments of configs/line.yaml."""
    made = LineConfig.model_json_schema()
    texts = all_descriptions()
    classes = {"LineConfig": made} | made.get("$defs", {})
    for cls, section in classes.items():
        for name, option in section.get("properties", {}).items():
            if (cls, name) in texts:
                option["description"] = texts[cls, name]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "A PatchLine configuration"}


def all_descriptions() -> dict[tuple[str, str], str]:
    """Return what every option and section is, by the name of its class and its own.

    What several kinds share is described for one of them; a section has the words of its class.
    """
    shown = descriptions()
    by_name = {name: text for (_, name), text in shown.items() if name in _SHARED}
    found: dict[tuple[str, str], str] = {}
    for cls in options_within(LineConfig):
        for name, field in cls.model_fields.items():
            sections = list(sections_of(field.annotation))
            of_section = (sections[0].__doc__ or "").partition("\n\n")[0] if len(sections) == 1 else None
            text = shown.get((cls.__name__, name)) or of_section or by_name.get(name) or _SEVERAL_KINDS.get(name)
            if text is not None:
                found[cls.__name__, name] = text
    return found


#: Options that mean the same wherever they are.
_SHARED = ("wait_ms", "debounce_ms", "role")
#: Sections whose options depend on their kind.
_SEVERAL_KINDS = {
    "cameras": "sources of frames, one capture process each; every camera needs a station",
    "actuators": "outputs that act on parts, by name",
    "encoders": "counters of the belt's travel, by name",
    "trigger": "announces a part; the part is the first frame exposed at or after it",
    "heartbeat": "an output that toggles while the line is well",
}
