"""The configuration of a line, typed: YAML in, one immutable `LineConfig` out.

`load` reads a file, refuses unknown and duplicate keys, and names file, field and fix in its errors. The sections
of a `LineConfig` are in `sections.py`, the options of devices in `stream/devices`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import ruamel.yaml
from pydantic import Field, ValidationError, model_validator
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError

from stream.core.errors import ConfigError
from stream.core.files import SOCKET_FOLDER_BYTES, private_folder
from stream.core.options import Name, Options
from stream.core.redaction import is_secret, shown, without_password
from stream.devices.actuators import ActuatorOptions
from stream.devices.cameras import CameraOptions
from stream.devices.encoders import EncoderOptions
from stream.line.sections import (
    LOOPBACK,
    AlarmOptions,
    DashboardOptions,
    MetricsOptions,
    RestartOptions,
    StationOptions,
    StoreOptions,
    TransportOptions,
    WorkerOptions,
)


class LineConfig(Options):
    """A whole line: its devices, stations, workers and settings."""

    line: Name
    cameras: Annotated[dict[Name, CameraOptions], Field(min_length=1)]
    stations: Annotated[dict[Name, StationOptions], Field(min_length=1)]
    actuators: dict[Name, ActuatorOptions] = Field(default_factory=dict)
    encoders: dict[Name, EncoderOptions] = Field(default_factory=dict)
    on_actuator_fault: Literal["continue", "stop_line"] = "continue"
    workers: Annotated[list[WorkerOptions], Field(min_length=1)] = Field(default_factory=lambda: [WorkerOptions()])
    store: StoreOptions = Field(default_factory=dict, validate_default=True)
    alarms: AlarmOptions = AlarmOptions()
    metrics: MetricsOptions = MetricsOptions()
    dashboard: DashboardOptions = DashboardOptions()
    restarts: RestartOptions = RestartOptions()
    transport: TransportOptions = TransportOptions()

    @model_validator(mode="after")
    def _references_exist(self) -> Self:
        for name, station in self.stations.items():
            if station.camera not in self.cameras:
                raise ValueError(f"stations.{name}.camera: no camera '{station.camera}'; {_known(self.cameras)}")
            if station.reject and station.reject.actuator not in self.actuators:
                raise ValueError(
                    f"stations.{name}.reject.actuator: no actuator '{station.reject.actuator}'; "
                    f"{_known(self.actuators)}"
                )
            encoder = station.reject.encoder if station.reject else None
            if encoder is not None and encoder not in self.encoders:
                raise ValueError(f"stations.{name}.reject.encoder: no encoder '{encoder}'; {_known(self.encoders)}")
            if station.reject and station.reject.gate == "open_on_good" and self._shares_output(name):
                raise ValueError(
                    f"stations.{name}.reject.gate: open_on_good would open for parts that another station has not "
                    "passed; give this station its own actuator"
                )
        return self

    @model_validator(mode="after")
    def _cameras_are_used(self) -> Self:
        for camera in self.cameras:
            if not self.stations_of(camera):
                raise ValueError(f"cameras.{camera}: no station uses it; add one or remove the camera")
        folders = [camera.record.path for camera in self.cameras.values() if camera.record is not None]
        for folder in folders:
            if folders.count(folder) > 1:
                raise ValueError(f"cameras: several have record.path {folder}; give each its own folder")
        return self

    @model_validator(mode="after")
    def _addresses_are_safe(self) -> Self:
        for field, addresses in (("frames", self.transport.frames), ("taps", self.transport.taps)):
            for camera in addresses:
                if camera not in self.cameras:
                    raise ValueError(f"transport.{field}.{camera}: no such camera; {_known(self.cameras)}")
        for field, address in self._addresses():
            _check_address(field, address, encrypted=self.transport.keys is not None)
        return self

    def _shares_output(self, station: str) -> bool:
        used = [other.reject.actuator for other in self.stations.values() if other.reject is not None]
        reject = self.stations[station].reject
        return reject is not None and used.count(reject.actuator) > 1

    def _addresses(self) -> Iterable[tuple[str, str]]:
        transport = self.transport
        yield from (
            (f"transport.{field}", address)
            for field, address in (
                ("announcements", transport.announcements),
                ("results", transport.results),
                ("feed", transport.feed),
            )
            if address is not None
        )
        yield from ((f"transport.frames.{camera}", address) for camera, address in transport.frames.items())
        yield from ((f"transport.taps.{camera}", address) for camera, address in transport.taps.items())

    def stations_of(self, camera: str) -> dict[str, StationOptions]:
        """Return the stations that use `camera`, by name."""
        return {name: station for name, station in self.stations.items() if station.camera == camera}

    @property
    def drain_s(self) -> float:
        """Time that a process has to stop, seconds: enough for the last part to reach the reject."""
        rejects_ms = [
            station.reject.transport_delay_ms + station.reject.tolerance_ms
            for station in self.stations.values()
            if station.reject is not None and station.reject.transport_delay_ms is not None
        ]
        deadlines_ms = [station.deadline_ms for station in self.stations.values()]
        return max(self.restarts.drain_s, max(rejects_ms + deadlines_ms) / 1e3 + 3.0)

    @property
    def worker_names(self) -> list[str]:
        """Names of the workers: worker0, worker1 …"""
        return [f"worker{index}" for index in range(len(self.workers))]

    @property
    def roles(self) -> list[str]:
        """Names of all processes of the line, in the order of their metrics ports."""
        return ["sink", *self.worker_names, *(f"capture-{name}" for name in self.cameras), "supervisor", "dashboard"]

    def metrics_address(self, role: str) -> tuple[str, int] | None:
        """Return host and port of the /metrics of `role`, or None when metrics are off."""
        if self.metrics.listen is None:
            return None
        host, _, port = self.metrics.listen.rpartition(":")
        return host.strip("[]"), int(port) + self.roles.index(role)

    @property
    def state(self) -> Path:
        """Folder of locks and sequence numbers."""
        return self.store.path / "state"

    def announcements_address(self) -> str:
        """Return where the sink listens for announcements."""
        return self.transport.announcements or self._ipc("announcements")

    def results_address(self) -> str:
        """Return where the sink listens for results."""
        return self.transport.results or self._ipc("results")

    def feed_address(self) -> str:
        """Return where the sink publishes the live feed."""
        return self.transport.feed or self._ipc("feed")

    def frames_address(self, camera: str) -> str:
        """Return where the capture process of `camera` listens for workers."""
        return self.transport.frames.get(camera) or self._ipc(f"frames-{list(self.cameras).index(camera)}")

    def tap_address(self, camera: str) -> str:
        """Return where the capture process of `camera` publishes whole frames."""
        return self.transport.taps.get(camera) or self._ipc(f"tap-{list(self.cameras).index(camera)}")

    def _ipc(self, name: str) -> str:
        line = hashlib.sha256(os.fsencode(self.store.path.resolve())).hexdigest()[:16]
        return f"ipc://{sockets_folder()}/patchline/{line}-{name}"


def sockets_folder() -> Path:
    """Return the folder above that of the line's Unix sockets: $XDG_RUNTIME_DIR, else a private, temporary one.

    Raises ConfigError for one whose path is too long for them, which is why they are not below the store.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime:
        return private_folder()
    if len(os.fsencode(runtime)) > SOCKET_FOLDER_BYTES:
        raise ConfigError(
            f"XDG_RUNTIME_DIR: {runtime}: more than {SOCKET_FOLDER_BYTES} bytes are too long for Unix sockets; set a "
            "shorter one, the same for every command of the line, or unset it"
        )
    return Path(runtime)


def load(path: Path) -> LineConfig:
    """Read a configuration file; relative paths in it start at its folder. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    return parse(text, name=str(path), folder=path.resolve().parent)


def parse(text: str, *, name: str, folder: Path) -> LineConfig:
    """Read a configuration from YAML text; errors name `name`, relative paths start at `folder`. Raises ConfigError."""
    try:
        data = ruamel.yaml.YAML(typ="safe", pure=True).load(text)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        problem = str(error.problem).replace("found duplicate key", "duplicate key").split(" with value")[0]
        problem = without_password(problem)
        raise ConfigError(f"{name}:{line}: {problem}: give each key once") from None
    except YAMLError as error:
        raise ConfigError(f"{name}: not YAML: {_yaml_problem(error)}") from None
    except (ValueError, TypeError, KeyError, RecursionError):  # of a value such as !!int "x", or brackets without end
        raise ConfigError(f"{name}: not YAML: a value cannot be read; put texts in quotes") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{name}: expected a mapping with line, cameras and stations")
    try:
        return LineConfig.model_validate(data, context={"folder": folder})
    except ValidationError as error:
        lines = [_one_line(name, data, dict(item)) for item in error.errors()]
        raise ConfigError("\n".join(lines)) from None


#: Errors of pydantic that mean: here should be a section. What is there instead may be a password.
_NO_SECTION = ("model_type", "dict_type", "model_attributes_type", "union_tag_not_found")


def _yaml_problem(error: YAMLError) -> str:
    """Return what is wrong and where, without the text of the file: it may be a password with unusual characters."""
    mark = getattr(error, "problem_mark", None)
    line = "" if mark is None else f"line {mark.line + 1}: "
    problem = " ".join(str(getattr(error, "problem", None) or "cannot be read").split())
    # A single sign in quotes stays, as in: expected ':'. Whatever else is quoted is of the file, as is what follows.
    signs = re.sub(r"'([^\w'])'", r"`\1`", problem)
    told = re.split("['\"]", signs)[0].replace("`", "'").strip()
    return f"{line}{told}; put texts with special characters in quotes"


def _one_line(name: str, data: Any, item: dict[str, Any]) -> str:
    """Return a pydantic error as `file: field: problem`, without the union tags that pydantic adds to the path.

    The value is shown, unless it may hold a password or token.
    """
    field: list[str] = []
    for step in item["loc"]:
        if isinstance(data, dict) and data.get("kind") == step and step not in data:
            continue
        field.append(without_password(str(step)))
        if isinstance(data, dict):
            data = data.get(step)
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "union_tag_invalid":
        message = message.replace(str(item["ctx"]["tag"]), without_password(str(item["ctx"]["tag"])))
    if not field:
        return f"{name}: {message}"
    secret = any(is_secret(step) for step in field[-2:]) or item["type"] in (*_NO_SECTION, "missing")
    value = None if secret else shown(item["input"])
    given = "" if value is None else f", got {value}"
    return f"{name}: {'.'.join(field)}: {message}{given}"


def _known(names: Iterable[str]) -> str:
    return f"known: {', '.join(sorted(names)) or 'none'}"


def _check_address(field: str, address: str, *, encrypted: bool) -> None:
    if address.startswith("ipc://"):
        return
    if not address.startswith("tcp://") or ":" not in address[6:]:
        raise ValueError(f"{field}: expected tcp://HOST:PORT or ipc://PATH, got {shown(address)}")
    host = address[6:].rpartition(":")[0]
    if host not in LOOPBACK and not encrypted:
        raise ValueError(
            f"{field}: '{without_password(address)}' leaves this host unencrypted; make keys with `patchline keys DIR` "
            "and set transport.keys"
        )
