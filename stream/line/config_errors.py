"""The mistakes of a configuration in words, together: file and line, field, what is expected, and the fix."""

from __future__ import annotations

import datetime
import difflib
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from ruamel.yaml.nodes import Node

from stream.core.addresses import url_problem
from stream.core.log_lines import bounded, printable
from stream.core.options import Options
from stream.core.redaction import is_secret, shown, without_password
from stream.line.config_lines import Lines, Path

#: What is wrong; called only if it is shown, since looking for similar names takes time.
Message = str | Callable[[], str]
#: Most mistakes that are named, and most characters of a name in them.
_MOST, _NAME_CHARS = 20, 80

#: Units in which a value may be given by mistake, and how many of the option's own unit each is.
_UNITS = {
    "_ms": {"ms": 1.0, "s": 1e3, "sec": 1e3, "min": 6e4, "us": 1e-3, "µs": 1e-3, "ns": 1e-6},
    "_us": {"us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6},
    "_s": {"s": 1.0, "sec": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0},
    "_per_px": {"mm": 1.0, "µm": 1e-3, "um": 1e-3},
    "_px": {"px": 1.0, "pixels": 1.0},
    "_mm2": {"mm2": 1.0, "mm²": 1.0, "cm2": 100.0},
    "_mm": {"mm": 1.0, "cm": 10.0, "µm": 1e-3, "um": 1e-3},
    "_hz": {"hz": 1.0, "khz": 1e3, "fps": 1.0},
    "_gib": {"gib": 1.0, "mib": 2**-10, "tib": 2.0**10, "gb": 1e9 / 2**30},
    "_days": {"d": 1.0, "days": 1.0, "h": 1 / 24, "weeks": 7.0},
    "_db": {"db": 1.0},
}
_UNIT_NAMES = {"gib": "GiB", "hz": "Hz", "db": "dB", "mm2": "mm²", "per_px": "mm"}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
#: Errors that mean: here should be a section. What is there instead may be a password.
_NO_SECTION = ("model_type", "dict_type", "model_attributes_type", "union_tag_not_found")
_HIDDEN = "a value that may be secret"
_NAME = "a name of 1 to 64 letters, digits, _ . or -, not beginning with a dot"


def problems_of(name: str, document: Node | None, data: Any, error: ValidationError, root: type[Options]) -> str:
    """Return a line for every mistake, in the order of the file; of many for the first ones, and how many follow.

    Args:
        name: of the file.
        document: its content as nodes.
        data: as values.
        error: what pydantic found in it.
        root: class of the whole configuration.
    """
    lines = Lines(document)
    found: dict[tuple[Path, Path], list[Message]] = {}
    for item in error.errors(include_url=False):
        for place, field, message in _messages(dict(item), data, root):
            found.setdefault((place, field), []).append(message)
    numbered = sorted(((lines.of(place), field, messages) for (place, field), messages in found.items()), key=_by_line)
    shown = [
        f"{printable(name)}: {'.'.join(map(_step, field))}{': ' if field else ''}{printable(message)} (line {line})"
        for line, field, messages in numbered[:_MOST]
        for message in _joined(list(dict.fromkeys(_text(message) for message in messages)))
    ]
    left = len(numbered) - _MOST
    return "\n".join(shown if left <= 0 else [*shown, f"… and {left:,} more"])


def _by_line(problem: tuple[int, Path, list[Message]]) -> int:
    return problem[0]


def _text(message: Message) -> str:
    return message if isinstance(message, str) else message()


def _step(step: str | int) -> str:
    """Return a name of a section, option or entry as a message may show it."""
    return bounded(printable(without_password(str(step))), _NAME_CHARS)


def _messages(item: dict[str, Any], data: Any, root: type[Options]) -> Iterator[tuple[Path, Path, Message]]:
    """Yield place, field and message of one of pydantic's errors."""
    kind, given, context = item["type"], item["input"], item.get("ctx") or {}
    path, value = _path(item["loc"], data, missing=kind in ("missing", "extra_forbidden"))
    option = str(path[-1]) if path else ""
    if kind == "several":
        for field, message in context["problems"]:
            yield tuple(field), tuple(field), message
    elif kind == "value_error":
        message = item["msg"].removeprefix("Value error, ")
        # Messages about a section begin with the option that they concern.
        head = message.partition(": ")[0]
        yield (*path, head) if isinstance(value, Mapping) else path, path, message
    elif kind == "extra_forbidden":
        yield path, path[:-1], lambda: _unknown(option, given, path, data, root)
    elif kind == "missing" and isinstance(path[-1], int):
        yield path[:-1], path[:-1], f"expected more than {path[-1]} entries"
    elif kind == "missing":
        yield path, path, lambda: _required(option, path, data, root)
    elif kind == "union_tag_not_found":
        kinds = ", ".join(_tags(path, data, root))
        yield path, (*path, "kind"), f"is required; kinds: {kinds}" if isinstance(given, Mapping) else _section()
    elif kind == "union_tag_invalid":
        tag = _step(str(context["tag"]))
        yield (*path, "kind"), (*path, "kind"), lambda: _other_than(tag, _tags(path, data, root), "kinds")
    elif kind == "literal_error":
        choices = re.findall(r"'([^']*)'|(\d+)", str(context["expected"]))
        yield path, path, _other_than(_shown(given), [text or number for text, number in choices], "expected")
    elif item["loc"][-1:] == ("[key]",):
        yield path, path, f"expected {_NAME}, got {_shown(given)}{_fix(option, 'string', given)}"
    elif kind == "invalid_key":
        yield path, path, f"expected names as keys, got {_shown(given)}; put it into quotes"
    else:
        yield path, path, _unfit(kind, context, path, given)


def _unfit(kind: str, context: dict[str, Any], path: Path, given: Any) -> str:
    """Return what is wrong with the value of an option, and what is expected."""
    option = str(path[-1]) if path else ""
    if option == "url" and kind == "string_pattern_mismatch" and (problem := _of_url(given, context["pattern"])):
        return f"{problem}, in an address such as {_example_of(context['pattern'])}"
    hidden = (any(is_secret(str(step)) for step in path[-2:]) or kind in _NO_SECTION) and given is not None
    got = _HIDDEN if hidden else f"{_shown(given)}{_fix(option, kind, given)}"
    return f"expected {_expected(kind, context, option, given)}, got {got}"


def _of_url(given: str, pattern: str) -> str | None:
    """Return what is wrong with a URL that has not the form of its option; None: it is none at all."""
    if "://" not in given:
        return None
    problem = url_problem(given)
    if problem is None and any(sign.isspace() for sign in given):
        return "expected no spaces: write each as %20"
    if problem is None and "@" in given and "@" in pattern:
        return "expected neither user nor password"
    return problem


def _expected(kind: str, context: dict[str, Any], option: str, given: Any) -> str:  # noqa: PLR0911, PLR0912 - one for each
    """Return what kind of value an option takes."""
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"{words} {context[key]:,.12g}{_unit(option)}"
    if kind == "string_pattern_mismatch":
        if context["pattern"].startswith("^[A-Za-z0-9_-]"):
            return _NAME
        if option == "listen":
            return "HOST:PORT such as 127.0.0.1:8080"
        if option in ("password", "sha256"):
            return f"the hash that `patchline password{' --token' if option == 'sha256' else ''}` prints"
        if option == "url":
            return f"an address such as {_example_of(context['pattern'])}"
        return f"text of the form {context['pattern']}"
    if kind.startswith(("string", "path")):
        return "text"
    if kind.startswith(("float", "decimal")) or kind == "finite_number":
        return f"a number{_unit(option, ' of ')}"
    if kind.startswith("int"):
        return f"a whole number{_unit(option, ' of ')}"
    if kind.startswith("bool"):
        return "true or false"
    if kind.startswith(("dict", "model", "mapping")):
        return "a section, names with their values below it"
    if kind in ("too_short", "too_long", "missing_argument") and isinstance(given, (list, tuple)):
        return f"{context.get('min_length', context.get('max_length'))} entries"
    if kind == "too_short":
        return "at least one entry"
    if kind.startswith(("list", "tuple", "set")):
        return "a list such as [0, 0, 640, 480]" if option == "roi" else "a list such as [a, b]"
    if kind == "recursion_loop":
        return "a value that does not contain itself"
    return {"none_required": "null"}.get(kind, "another value")


def _fix(option: str, kind: str, given: Any) -> str:
    """Return, where it can be guessed, what to write instead."""
    if kind.startswith("string") and isinstance(given, (int, float, bool, datetime.date)):
        return "; put it into quotes"
    if isinstance(given, str) and (kind.startswith(("float", "int"))):
        units = next((units for suffix, units in _UNITS.items() if option.endswith(suffix)), {})
        number = re.fullmatch(r"\s*([-+]?\d+(?:[.,]\d+)?)\s*([a-zA-Zµ]+)\s*", given)
        if number is not None and number[2].lower() in units:
            amount = float(number[1].replace(",", ".")) * units[number[2].lower()]
            return f"; the unit is in the option's name: give {amount:g}"
        if re.fullmatch(r"\s*[-+]?\d+,\d+\s*", given):
            return f"; write the decimal point as a dot: {given.strip().replace(',', '.')}"
    return ""


def _unit(option: str, before: str = " ") -> str:
    unit = next((suffix[1:] for suffix in _UNITS if option.endswith(suffix)), None)
    return "" if unit is None else f"{before}{_UNIT_NAMES.get(unit, unit)}"


def _unknown(option: str, given: Any, path: Path, data: Any, root: type[Options]) -> str:
    """Return what an unknown key may have been meant for."""
    instead = _instead(option, path, data, root)
    # A comma in a text without quotes makes a key of what follows it, which may be half a password.
    if given is None and "did you mean" not in instead:
        return f"a key without a value, which is unknown; put texts in quotes; {instead}"
    return f"unknown key '{_step(option)}'; {instead}"


def _instead(option: str, path: Path, data: Any, root: type[Options]) -> str:
    """Return what an unknown key may have been meant for."""
    known = _fields(_class_at(path[:-1], data, root))
    close = difflib.get_close_matches(option, known, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    elsewhere = list(dict.fromkeys(place for place, cls in _places(root) if option in cls.model_fields))
    if elsewhere:
        return f"it belongs below {' or '.join(elsewhere[:3])}"
    return f"known keys: {', '.join(known)}"


def _required(option: str, path: Path, data: Any, root: type[Options]) -> str:
    from stream.line.config_schema import all_descriptions

    cls = _class_at(path[:-1], data, root)
    text = None if cls is None else all_descriptions().get((cls.__name__, option))
    return "is required" if text is None else f"is required: {text}"


def _other_than(given: str, choices: list[str], word: str) -> str:
    close = difflib.get_close_matches(given.strip("'"), choices, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    quoted = given if given.startswith("'") else f"'{given}'"
    if word == "kinds":
        return f"unknown kind {quoted}; kinds: {', '.join(choices)}{hint}"
    listed = _alternatives([f"'{choice}'" for choice in choices])
    return f"expected {listed}, got {given}{hint}"


def _section() -> str:
    return "expected a section, names with their values below it"


def _joined(messages: list[str]) -> Iterable[str]:
    """Return the messages of one field; of several types that it may have, one with all of them."""
    pattern = re.compile(r"expected (.+?), got (.+)", re.DOTALL)
    found = [pattern.fullmatch(message) for message in messages]
    if len(messages) > 1 and all(found):
        wanted = [match[1] for match in found if match is not None]
        first = found[0]
        assert first is not None
        return [f"expected {_alternatives(wanted)}, got {first[2]}"]
    return messages


def _alternatives(choices: list[str]) -> str:
    return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"


def _shown(value: Any) -> str:  # noqa: PLR0911 - one for each type
    """Return a value as it looks in the file, without passwords and not longer than a line."""
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)} entries"
    if isinstance(value, datetime.datetime):
        return f"the time {value.isoformat()}"
    if isinstance(value, datetime.date):
        return f"the date {value.isoformat()}"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a number of more than 20 digits"
    text = shown(value) or _HIDDEN
    return text if len(text) <= 80 else f"{text[:77]}…"


def _example_of(pattern: str) -> str:
    schemes = {"rtsp": "rtsp://HOST/stream", "opc": "opc.tcp://HOST:4840", "http": "http://HOST/path"}
    return next((example for scheme, example in schemes.items() if scheme in pattern), pattern)


def _path(location: tuple[str | int, ...], data: Any, *, missing: bool) -> tuple[Path, Any]:
    """Return the field that a location of pydantic's means, and its value; a location also names types of unions."""
    path: list[str | int] = []
    for number, step in enumerate(location):
        if _holds(data, step):
            path.append(step)
            data = data[step]
        elif missing and number == len(location) - 1:
            path.append(step)
    return tuple(path), data


def _holds(data: Any, step: str | int) -> bool:
    if isinstance(data, Mapping):
        return step in data
    return isinstance(data, (list, tuple)) and isinstance(step, int) and step < len(data)


def _class_at(path: Path, data: Any, root: type[Options]) -> type[Options] | None:
    """Return the class of the section at a path; None where there is none."""
    annotation: Any = root
    for step in path:
        cls = _chosen(annotation, data)
        if cls is not None:
            field = cls.model_fields.get(str(step))
            annotation = None if field is None else field.annotation
        else:
            annotation = _below(annotation)
        data = data[step] if _holds(data, step) else None
        if annotation is None:
            return None
    return _chosen(annotation, data)


def _chosen(annotation: Any, data: Any) -> type[Options] | None:
    """Return the class that a value of this type has, by its kind if there are several; None for dicts and lists."""
    classes = list(_alternatives_of(annotation))
    if len(classes) > 1 and isinstance(data, Mapping):
        classes = [cls for cls in classes if data.get("kind") in _kinds(cls)]
    return classes[0] if len(classes) == 1 else None


def _alternatives_of(annotation: Any) -> Iterator[type[Options]]:
    """Yield the classes of options that a value of this type may be itself, not those within dicts and lists."""
    if isinstance(annotation, type) and issubclass(annotation, Options):
        yield annotation
    elif typing.get_origin(annotation) not in (dict, list, tuple):
        for argument in typing.get_args(annotation):
            yield from _alternatives_of(argument)


def _below(annotation: Any) -> Any:
    """Return the type of the values of a dict or list, also of one that may be absent."""
    if typing.get_origin(annotation) in (dict, list):
        return typing.get_args(annotation)[-1]
    return next((inner for argument in typing.get_args(annotation) if (inner := _below(argument)) is not None), None)


def _tags(path: Path, data: Any, root: type[Options]) -> list[str]:
    """Return the kinds that the section at a path may have."""
    parent = _class_at(path[:-1], data, root) if path else None
    if parent is not None:
        annotation: Any = parent.model_fields[str(path[-1])].annotation
    else:
        outer = _class_at(path[:-2], data, root)
        annotation = None if outer is None else _below(outer.model_fields[str(path[-2])].annotation)
    return [kind for cls in _alternatives_of(annotation) for kind in _kinds(cls)]


def _kinds(cls: type[Options]) -> tuple[str, ...]:
    return typing.get_args(cls.model_fields["kind"].annotation) if "kind" in cls.model_fields else ()


def _fields(cls: type[Options] | None) -> list[str]:
    return [] if cls is None else list(cls.model_fields)


def _places(root: type[Options], place: str = "") -> Iterator[tuple[str, type[Options]]]:
    """Yield every section below a class with the path that leads to it: `stations.NAME.reject`."""
    for name, field in root.model_fields.items():
        inner = _below(field.annotation)
        here = f"{place}.{name}".lstrip(".") + (".NAME" if typing.get_origin(field.annotation) is dict else "")
        for cls in _alternatives_of(field.annotation if inner is None else inner):
            yield here, cls
            yield from _places(cls, here)
