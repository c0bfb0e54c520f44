"""Text files that a user writes, and the YAML in them: whatever is wrong is one line with the file, its line and a fix.

No message shows a value: it may be a password with unusual characters.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import ruamel.yaml
from ruamel.yaml.constructor import ConstructorError, DuplicateKeyError, SafeConstructor
from ruamel.yaml.error import ReusedAnchorWarning, YAMLError
from ruamel.yaml.nodes import Node, ScalarNode
from ruamel.yaml.reader import ReaderError

from stream.core.errors import ConfigError
from stream.core.log_lines import bounded, printable
from stream.core.redaction import without_password

#: What UTF-16 text begins with.
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_SAVE = "save the file as UTF-8 text"
#: Longest key that a message shows, characters.
_KEY_CHARS = 80
_UNREADABLE = {
    "tag:yaml.org,2002:timestamp": "a date or time that does not exist; put texts in quotes",
    "tag:yaml.org,2002:int": "a whole number that is too long or none; put texts in quotes",
}


def read_text(path: Path, *, absent: str = "no such file", most_bytes: int | None = None) -> str:
    """Return the content of a UTF-8 file, of at most so many bytes.

    Raises:
        ConfigError: it is not there, cannot be read, is longer, or is no UTF-8 text.
    """
    name = printable(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(-1 if most_bytes is None else most_bytes + 1)
    except FileNotFoundError:
        raise ConfigError(f"{name}: {absent}") from None
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}; name a file that this user may read") from None
    if most_bytes is not None and len(content) > most_bytes:
        raise ConfigError(f"{name}: longer than the {most_bytes:,} bytes that are read; is it the right file?")
    if content.startswith(_UTF_16):
        raise ConfigError(f"{name}: line 1: UTF-16 text; {_SAVE}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name}: line {line}: byte 0x{content[error.start]:02x} is not UTF-8; {_SAVE}") from None


def read_yaml(text: str, name: str) -> tuple[Node | None, Any]:
    """Return a YAML document as nodes, which know their lines, and as values; (None, None) for none.

    Raises:
        ConfigError: it is not YAML, has a key twice, or a value that cannot be read; begins with `name`.
    """
    name = printable(name)
    yaml = ruamel.yaml.YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    try:
        with warnings.catch_warnings():
            # Of an anchor used again: it would print the values.
            warnings.simplefilter("ignore", ReusedAnchorWarning)
            document = yaml.compose(text)
            return document, None if document is None else yaml.constructor.construct_document(document)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        problem = str(error.problem).replace("found duplicate key", "duplicate key").split(" with value")[0]
        problem = bounded(printable(without_password(problem)), _KEY_CHARS)
        raise ConfigError(f"{name}:{line}: {problem}: give each key once") from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        sign = f"U+{error.character:04X}" if isinstance(error.character, int) else "a sign"
        raise ConfigError(f"{name}: not YAML: line {line}: the control character {sign}; {_SAVE}") from None
    except YAMLError as error:
        raise ConfigError(f"{name}: not YAML: {_problem(error)}") from None
    except RecursionError:
        raise ConfigError(f"{name}: nested too deeply; is it the right file?") from None
    except (ValueError, TypeError, KeyError, OverflowError):
        raise ConfigError(f"{name}: not YAML: a value cannot be read; put texts in quotes") from None


class _Constructor(SafeConstructor):
    """Makes values of nodes; one that Python cannot make has its line in the error."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, KeyError, OverflowError):
            tag = str(node.tag) if isinstance(node, ScalarNode) else ""
            problem = _UNREADABLE.get(tag, "a value cannot be read; put texts in quotes")
            raise _UnreadableValueError(None, None, problem, node.start_mark) from None


class _UnreadableValueError(ConstructorError):
    """A value such as !!int "x", or a date that does not exist."""


def _problem(error: YAMLError) -> str:
    """Return what is wrong and where, without the text of the file."""
    mark = getattr(error, "problem_mark", None)
    line = "" if mark is None else f"line {mark.line + 1}: "
    problem = " ".join(str(getattr(error, "problem", None) or "cannot be read").split())
    if isinstance(error, _UnreadableValueError):
        return f"{line}{problem}"
    if r"'\t'" in problem:
        return f"{line}a tab, where YAML takes spaces only"
    # A single sign in quotes stays, as in: expected ':'. Whatever else is quoted is of the file, as is what follows.
    signs = re.sub(r"'([^\w'])'", r"`\1`", problem)
    problem = re.split("['\"]", signs)[0].replace("`", "'").strip()
    return f"{line}{problem}; put texts with special characters in quotes"
