"""What the command does with standard streams that are closed, full, abandoned or without UTF-8."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text
from support.running import complaint, patchline

from stream.cli.streams import TerminalConsole
from stream.cli.terminal import tracking

SHOW = [sys.executable, "-m", "stream", "show"]


def shell(command: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which "$@" is `patchline show` and the arguments."""
    return subprocess.run(
        ["/bin/bash", "-c", command, "bash", *SHOW, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | environment,
    )


@pytest.mark.parametrize("name", ["cap [v2]", "cap [bold]x[", "[link=x]cap", "cap:smile:"])
def test_brackets_and_colons_in_a_name_are_printed_as_they_are(small_bundle: Path, tmp_path: Path, name: str):
    path = tmp_path / f"{name}.safetensors"
    path.symlink_to(small_bundle)
    assert path.name in patchline("show", path).stdout
    assert f"{name}.absent" in complaint(patchline("show", tmp_path / f"{name}.absent"))


@pytest.mark.parametrize(
    "name", ["\x1b[2J\x1b[31mred", "\x07bell", "back\x08\x08", "\x9b2J", "turned\u202e", "one\rtwo"]
)
def test_no_name_drives_the_terminal_whatever_prints_it(name: str, capsys: pytest.CaptureFixture[str]):
    console = TerminalConsole()
    table = Table(name, title=name, caption=name)
    table.add_row(name)
    with Progress(TextColumn("{task.description}", markup=False), console=console) as progress:
        progress.add_task(name, total=1)
    for printed in (name, Text(name), Text.assemble(("warning: ", "yellow"), name), table):
        console.print(printed, soft_wrap=True)
    shown = capsys.readouterr().out
    assert all(line.isprintable() for line in shown.split("\n"))
    assert len(shown.split("\n")) > 5


def test_each_stage_of_long_work_is_a_line_as_it_begins_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]):
    with tracking(TerminalConsole(stderr=True)) as track:
        track("read images", 0, 2)
        track("read images", 1, 2)
        assert capsys.readouterr().err == "read images …\n"
        track("try 224×224", 0, 9)
        assert capsys.readouterr().err == "try 224×224 …\n"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_a_terminal_without_utf_8_gets_other_signs(small_bundle: Path, encoding: str):
    done = subprocess.run(
        [*SHOW, small_bundle], capture_output=True, check=True, timeout=120,
        env=os.environ | {"PYTHONIOENCODING": encoding},
    )  # fmt: skip
    printed = done.stdout.decode(encoding)
    assert "96x96 px" in printed or "96×96 px" in printed
    assert "?" not in printed


def test_a_name_that_is_no_text_is_printed_with_its_bytes(tmp_path: Path):
    done = patchline("show", os.fsdecode(os.fsencode(tmp_path) + b"/a\xffb"))
    assert "Traceback" not in done.stderr
    assert "no such bundle" in done.stderr
    assert done.returncode == 2


def test_a_reader_who_has_seen_enough_ends_the_command_silently(small_bundle: Path):
    done = shell('"$@" | true; echo ${PIPESTATUS[0]}', small_bundle)
    assert done.stdout == "141\n"
    assert done.stderr == ""


def test_closed_streams_are_no_fault_and_no_file_takes_their_numbers(small_bundle: Path):
    done = shell('"$@" >&- 2>&- <&-; echo $?', small_bundle)
    assert done.stdout == "0\n"
    done = shell('"$@" >&- <&-; echo $?', small_bundle)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_an_output_that_is_full_is_one_line(small_bundle: Path, full_device: Path):
    done = shell(f'"$@" >{full_device}; echo $?', small_bundle)
    assert done.stdout == "2\n"
    assert done.stderr.startswith("error: No space left on device")
    assert "Traceback" not in done.stderr
