from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import stream

PACKAGE = Path(stream.__file__).parent

SOCKETS_FILES_AND_PROCESSES = (
    "zmq",
    "sqlite3",
    "prometheus_client",
    "stream.cli.main",
    "stream.core.metrics",
    "stream.capture",
    "stream.store.event_store",
    "stream.transport",
)


def module_name(file: Path) -> str:
    """The dotted name of a file of the package."""
    parts = ("stream", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}
#: The roles of a line; what else stands beside them is what they share.
ROLES = [f"stream.capture.{role}" for role in ("capture", "infer", "sink", "dashboard", "supervisor")]


def imports(name: str, *, only_when_loaded: bool = False) -> set[str]:
    """Every module that a module imports, also within functions; or only those it needs to be loaded."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    statements = _when_loaded(tree.body) if only_when_loaded else ast.walk(tree)
    found: set[str] = set()
    for statement in statements:
        if isinstance(statement, ast.Import):
            found.update(alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, f"{name} imports by a relative name"
            source = str(statement.module)
            # `from stream.core import metrics` imports stream.metrics.
            found.update(full if (full := f"{source}.{alias.name}") in MODULES else source for alias in statement.names)
    return found


def _when_loaded(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        yield statement
        if isinstance(statement, ast.If) and "TYPE_CHECKING" not in ast.unparse(statement.test):
            yield from _when_loaded(statement.body + statement.orelse)
        elif isinstance(statement, ast.Try):
            yield from _when_loaded(statement.body + statement.orelse + statement.finalbody)


def below(package: str) -> list[str]:
    return [name for name in MODULES if name == package or name.startswith(f"{package}.")]


def forbidden(name: str, prefixes: tuple[str, ...]) -> set[str]:
    return {
        found
        for found in imports(name)
        if any(found == prefix or found.startswith(f"{prefix}.") for prefix in prefixes)
    }


@pytest.mark.parametrize("name", below("stream.model.patchcore"))
def test_the_algorithm_knows_nothing_of_sockets_stores_and_processes(name: str):
    others = (
        "stream.line",
        "stream.devices.cameras",
        "stream.devices.actuators",
        "stream.line.config",
        "stream.line.sections",
    )
    assert forbidden(name, SOCKETS_FILES_AND_PROCESSES + others) == set()


@pytest.mark.parametrize("name", below("stream.line"))
def test_the_policy_of_the_line_knows_nothing_of_sockets_stores_and_processes(name: str):
    assert (
        forbidden(
            name, (*SOCKETS_FILES_AND_PROCESSES, "stream.devices.cameras", "stream.devices.encoders", "torch", "faiss")
        )
        == set()
    )


@pytest.mark.parametrize("name", below("stream.line"))
def test_the_policy_of_the_line_is_told_the_time_and_never_asks(name: str):
    assert forbidden(name, ("time", "datetime", "stream.core.clock", "threading")) == set()


@pytest.mark.parametrize(
    "name",
    [
        name
        for package in ("sources", "actuators", "encoders", "triggers", "plc")
        for name in below(f"stream.{package}")
    ],
)
def test_cameras_outputs_and_triggers_know_nothing_of_the_line(name: str):
    assert forbidden(name, (*SOCKETS_FILES_AND_PROCESSES, "stream.line", "stream.model.patchcore", "torch")) == set()


@pytest.mark.parametrize(
    "name",
    [f"stream.{name}" for name in ("errors", "messages", "options", "clock", "config", "config_sections")],
)
def test_the_foundation_rests_on_nothing_above_it(name: str):
    above = (
        "stream.line",
        "stream.model.patchcore",
        "stream.model.bundle",
        "stream.training.fit",
        "stream.model.extractor",
    )
    assert forbidden(name, SOCKETS_FILES_AND_PROCESSES + above) == set()


@pytest.mark.parametrize("name", [name for name in ROLES if name in MODULES])
def test_no_process_imports_another(name: str):
    assert forbidden(name, tuple(role for role in ROLES if role != name)) == set()


def test_only_the_commands_import_processes():
    commands = ("stream.capture", "stream.cli", "stream.cli.main")
    outside = [name for name in MODULES if not name.startswith(commands)]
    assert {name: found for name in outside if (found := forbidden(name, ("stream.capture",)))} == {}


def test_only_transport_imports_zmq():
    sockets = [f"stream.transport.{name}" for name in ("line", "listeners", "sockets")]
    assert [name for name in MODULES if forbidden(name, ("zmq",))] == sockets


def test_only_the_store_and_the_reviews_import_sqlite():
    assert [name for name in MODULES if forbidden(name, ("sqlite3",))] == [
        "stream.store.review_store",
        "stream.store.event_store",
    ]


@pytest.mark.parametrize("name", below("stream.dashboard"))
def test_the_dashboard_acts_on_nothing_of_the_line(name: str):
    above = (
        "zmq",
        "torch",
        "stream.devices.actuators",
        "stream.devices.cameras",
        "stream.sink.actuator_thread",
        "stream.sink.recorder",
        "stream.sink.live_feed",
    )
    assert forbidden(name, (*above, "stream.capture")) == set()


def test_nothing_unpickles():
    assert [name for name in MODULES if forbidden(name, ("pickle", "dill", "joblib", "shelve"))] == []


def test_no_module_needs_itself_through_others():
    needs = {name: imports(name, only_when_loaded=True) & set(MODULES) for name in MODULES}
    free: set[str] = set()
    while ready := {name for name, found in needs.items() if name not in free and found <= free}:
        free |= ready
    assert {name: sorted(found - free) for name, found in needs.items() if name not in free} == {}


def test_a_line_loads_the_libraries_of_no_output_before_it_opens_one():
    program = (
        "import sys, stream.cli.main, stream.line.config, stream.sink.process; "
        "print(sorted({'pymodbus', 'asyncua', 'paho', 'gpiozero', 'httpx'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert answer.stdout.strip() == "[]"


LIGHT = [
    "stream.line.config",
    "stream.transport.messages",
    "stream.model.bundle",
    "stream.cli.main",
    "stream.capture.process",
    "stream.sink.process",
    "stream.dashboard.process",
    "stream.line.supervisor",
]


@pytest.mark.parametrize("name", [name for name in LIGHT if name in MODULES])
def test_heavy_libraries_are_loaded_where_they_are_used(name: str):
    program = (
        f"import sys, {name}; "
        "print(sorted({'torch', 'torchvision', 'timm', 'openvino', 'faiss', 'sklearn', 'av'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert answer.stdout.strip() == "[]"
