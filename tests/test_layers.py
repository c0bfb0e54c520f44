"""The rooms of the package and what may be imported where; `docs/architecture/README.md` draws it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import stream

PACKAGE = Path(stream.__file__).parent

#: What each room may import, from the ground up.
MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    "devices": {"core"},
    "model": {"core"},
    "transport": {"core"},
    "line": {"core", "devices", "model"},
    "store": {"core", "devices", "model"},
    "capture": {"core", "devices", "line", "model", "transport"},
    "inference": {"core", "line", "model", "transport"},
    "sink": {"core", "devices", "line", "model", "store", "transport"},
    "training": {"core", "devices", "line", "model", "store", "transport"},
    "dashboard": {"core", "line", "model", "store", "training", "transport"},
    "cli": {
        *("core", "devices", "model", "transport", "line", "store"),
        *("capture", "inference", "sink", "training", "dashboard"),
    },
}

#: Rooms that run as processes of a line. What two of them share lies below them.
PROCESS_ROOMS = ("capture", "inference", "sink", "dashboard")

SOCKETS_STORES_AND_METRICS = ("zmq", "sqlite3", "prometheus_client", "stream.core.metrics")

#: What a policy must not import: it is a function of values and of a clock's value.
NO_POLICY = (
    *("asyncio", "concurrent", "multiprocessing", "queue", "signal", "subprocess", "sys", "threading"),
    *("datetime", "time", "stream.core.clock.boot_id", "stream.core.clock.local_clock", "stream.core.clock.now_ns"),
    *("cv2", "io", "logging", "os", "pathlib", "select", "shutil", "socket", "tempfile", "zmq"),
    *("stream.core.files", "stream.core.images", "stream.core.metrics"),
    *("stream.transport.broadcast", "stream.transport.pipeline", "stream.transport.sockets"),
    *("faiss", "torch"),
)


def module_name(file: Path) -> str:
    """The dotted name of a file of the package."""
    parts = ("stream", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}


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
            # `from stream.core import metrics` imports stream.core.metrics.
            found.update(full if (full := f"{source}.{alias.name}") in MODULES else source for alias in statement.names)
    return found


def imported_names(name: str) -> set[str]:
    """Every name that a module imports, with the module it comes from: `stream.core.clock.now_ns`."""
    found: set[str] = set()
    for statement in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(statement, ast.Import):
            found.update(alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            found.update(f"{statement.module}.{alias.name}" for alias in statement.names)
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


def among(names: set[str], prefixes: tuple[str, ...]) -> set[str]:
    return {name for name in names if any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)}


def forbidden(name: str, prefixes: tuple[str, ...]) -> set[str]:
    return among(imports(name), prefixes)


def test_the_package_holds_its_rooms_and_nothing_else():
    assert {path.name for path in PACKAGE.iterdir()} - {"__pycache__"} == {"__init__.py", "__main__.py", *MAY_IMPORT}


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_a_room_imports_only_the_rooms_below_it(name: str):
    others = tuple(f"stream.{other}" for other in MAY_IMPORT if other != name and other not in MAY_IMPORT[name])
    assert {module: found for module in below(f"stream.{name}") if (found := forbidden(module, others))} == {}


def test_the_rooms_stand_on_each_other_without_a_circle():
    floors = list(MAY_IMPORT)
    assert all(floors.index(lower) < floors.index(name) for name, rooms in MAY_IMPORT.items() for lower in rooms)


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_no_room_is_allowed_more_than_it_uses(name: str):
    used = {
        other for other in MAY_IMPORT for module in below(f"stream.{name}") if forbidden(module, (f"stream.{other}",))
    }
    assert used - {name} == MAY_IMPORT[name]


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_a_room_says_what_it_is_for_what_it_may_import_and_who_imports_it(name: str):
    text = ast.get_docstring(ast.parse(MODULES[f"stream.{name}"].read_text(encoding="utf-8"))) or ""
    lines = [line for line in text.splitlines() if line.strip()]
    assert 3 <= len(lines) <= 6
    (allowed,) = [line for line in lines if line.startswith("Imports: ")]
    (users,) = [line for line in lines if line.startswith("Imported by: ")]
    above = {other for other, rooms in MAY_IMPORT.items() if name in rooms}
    assert set(re.findall(r"\w+", allowed.removeprefix("Imports: "))) - {"none"} == MAY_IMPORT[name]
    assert set(re.findall(r"\w+", users.removeprefix("Imported by: "))) - {"none"} == above


@pytest.mark.parametrize("name", PROCESS_ROOMS)
def test_a_process_room_opens_with_its_process_and_imports_no_other_process_room(name: str):
    assert f"stream.{name}.process" in MODULES
    assert MAY_IMPORT[name] & set(PROCESS_ROOMS) == set()


def test_only_the_commands_import_processes():
    processes = tuple(f"stream.{name}.process" for name in PROCESS_ROOMS)
    outside = [name for name in MODULES if not name.startswith("stream.cli")]
    assert {name: found for name in outside if (found := forbidden(name, processes))} == {}


@pytest.mark.parametrize("name", [name for name in MODULES if "policy" in name.split(".")])
def test_policy_is_given_the_time_and_does_no_input_or_output(name: str):
    assert among(imported_names(name) | imports(name), NO_POLICY) == set()


@pytest.mark.parametrize("name", below("stream.model.patchcore"))
def test_the_algorithm_knows_nothing_of_sockets_stores_and_bundles(name: str):
    # `cpu_lanes` are the threads that it may use.
    allowed = ("stream.model", "stream.model.cpu_lanes", *below("stream.model.patchcore"))
    around = tuple(other for other in below("stream.model") if other not in allowed)
    assert forbidden(name, (*SOCKETS_STORES_AND_METRICS, *around)) == set()


@pytest.mark.parametrize("name", below("stream.devices"))
def test_devices_know_nothing_of_the_line(name: str):
    assert forbidden(name, (*SOCKETS_STORES_AND_METRICS, "torch")) == set()


@pytest.mark.parametrize(
    "name",
    [
        *(f"stream.core.{name}" for name in ("clock", "errors", "options", "parts", "verdict")),
        *("stream.transport.messages", "stream.line.config", "stream.line.sections"),
    ],
)
def test_values_and_options_rest_on_no_sockets_stores_and_metrics(name: str):
    assert forbidden(name, SOCKETS_STORES_AND_METRICS) == set()


def test_only_transport_imports_zmq():
    sockets = [f"stream.transport.{name}" for name in ("broadcast", "pipeline", "sockets")]
    assert [name for name in MODULES if forbidden(name, ("zmq",))] == sockets


def test_only_the_store_imports_sqlite():
    stores = [f"stream.store.{name}" for name in ("database", "event_reader", "review_store")]
    assert [name for name in MODULES if forbidden(name, ("sqlite3",))] == stores


@pytest.mark.parametrize("name", below("stream.dashboard"))
def test_the_dashboard_acts_on_nothing_of_the_line(name: str):
    assert forbidden(name, ("zmq", "torch", "stream.devices", "stream.capture", "stream.sink")) == set()


def test_nothing_unpickles():
    assert [name for name in MODULES if forbidden(name, ("pickle", "dill", "joblib", "shelve"))] == []


def test_no_module_needs_itself_through_others():
    needs = {name: imports(name, only_when_loaded=True) & set(MODULES) for name in MODULES}
    free: set[str] = set()
    while ready := {name for name, found in needs.items() if name not in free and found <= free}:
        free |= ready
    assert {name: sorted(found - free) for name, found in needs.items() if name not in free} == {}


def loaded_of(libraries: set[str], program: str) -> str:
    """Which of the libraries a new interpreter has loaded after a program."""
    answer = subprocess.run(
        [sys.executable, "-c", f"import sys; {program}; print(sorted({libraries!r} & sys.modules.keys()))"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return answer.stdout.strip()


def test_a_line_loads_the_libraries_of_no_output_before_it_opens_one():
    outputs = {"pymodbus", "asyncua", "paho", "gpiozero", "httpx"}
    assert loaded_of(outputs, "import stream.cli.main, stream.line.config, stream.sink.process") == "[]"


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


@pytest.mark.parametrize("name", LIGHT)
def test_heavy_libraries_are_loaded_where_they_are_used(name: str):
    heavy = {"torch", "torchvision", "timm", "openvino", "faiss", "sklearn", "av"}
    assert loaded_of(heavy, f"import {name}") == "[]"
