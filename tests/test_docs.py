"""The documentation names files, classes and commands that exist, and its drawing of the rooms is the code's."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from stream.cli.main import app

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "deploy/README.md",
]
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")
#: A link to a source file, then the names in it that the page speaks of.
SOURCE = re.compile(r"\]\(([^)#\s]+/stream/[\w/]+\.(?:py|js))\)((?:\s+`\w+`)*)")


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def defined_in(file: Path) -> set[str]:
    """What a module defines at its top, or a script exports."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".js":
        return set(re.findall(r"^export (?:async )?(?:function|class|const) (\w+)", text, re.MULTILINE))
    found: set[str] = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found.update(target.id for target in targets if isinstance(target, ast.Name))
    return found


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_link_leads_to_a_file(page: Path):
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_name_beside_a_source_file_is_defined_in_it(page: Path):
    for target, names in SOURCE.findall(page.read_text(encoding="utf-8")):
        missing = set(re.findall(r"\w+", names)) - defined_in(page.parent / target)
        assert missing == set(), f"{target} does not define them"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_path_in_a_code_span_exists(page: Path):
    spans = re.findall(
        r"`((?:stream|tests|docs|configs|deploy|benchmarks)/[\w./-]+)`", page.read_text(encoding="utf-8")
    )
    named = [span for span in spans if not re.search(r"[A-Z]{2}", span)]  # `tests/ROOM/test_FILE.py` stands for many
    assert [span for span in named if not (ROOT / span).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_command_that_a_page_shows_exists(page: Path):
    commands = set(re.findall(r"(?<![\w./-])patchline ([a-z]+)\b", "\n".join(code_of(page))))
    assert commands - get_command(app).commands.keys() == set()


def code_of(page: Path) -> list[str]:
    """The code spans and blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL) + re.findall(r"`[^`\n]+`", text)


def test_the_picture_of_the_rooms_is_drawn_from_the_imports_as_they_are():
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "rooms.py", "--check"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_first_page_lists_every_room():
    text = (ROOT / "docs" / "architecture" / "README.md").read_text(encoding="utf-8")
    rooms = {path.parent.name for path in (ROOT / "stream").glob("*/__init__.py")}
    table = text.partition("| Room |")[2]
    assert rooms - set(re.findall(r"`(\w+)`", table)) == set()
