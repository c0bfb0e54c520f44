"""The configuration of a line, typed: YAML in, one immutable `LineConfig` out.

`load` reads a file, refuses unknown and duplicate keys, and names file, field and fix in its errors. The sections
of a `LineConfig` are in `sections.py`, the options of devices in `stream/devices`.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from stream.core.addresses import is_host
from stream.core.errors import ConfigError
from stream.core.files import SOCKET_FOLDER_BYTES, private_folder
from stream.core.log_lines import printable
from stream.core.options import Name, Options
from stream.core.redaction import shown, without_password
from stream.core.yaml_text import read_text, read_yaml
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

#: A field and what is wrong with it. Looking for similar names takes time: that is called only if it is shown.
Problem = tuple[tuple[str, ...], str | Callable[[], str]]
#: Longest configuration that is read, bytes: some thousand stations.
_MOST_BYTES = 512 * 1024
#: Most names that a message lists.
_NAMES_SHOWN = 20


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
    def _sections_fit_together(self) -> Self:
        problems = [*self._wrong_references(), *self._wrong_cameras(), *self._wrong_addresses()]
        if problems:
            raise PydanticCustomError("several", "sections contradict each other", {"problems": problems})
        return self

    def _wrong_references(self) -> Iterator[Problem]:
        rejects = [station.reject.actuator for station in self.stations.values() if station.reject is not None]
        uses = Counter(rejects)
        for name, station in self.stations.items():
            if station.camera not in self.cameras:
                yield ("stations", name, "camera"), partial(_no_such, "camera", station.camera, self.cameras)
            reject = station.reject
            if reject is None:
                continue
            here = ("stations", name, "reject")
            if reject.actuator not in self.actuators:
                yield (*here, "actuator"), partial(_no_such, "actuator", reject.actuator, self.actuators)
            if reject.encoder is not None and reject.encoder not in self.encoders:
                yield (*here, "encoder"), partial(_no_such, "encoder", reject.encoder, self.encoders)
            if reject.gate == "open_on_good" and uses[reject.actuator] > 1:
                yield (
                    (*here, "gate"),
                    "open_on_good would open for parts that another station has not passed; "
                    "give this station its own actuator",
                )

    def _wrong_cameras(self) -> Iterator[Problem]:
        used = {station.camera for station in self.stations.values()}
        # A station that names no camera may have been meant for the one that seems unused.
        for camera in self.cameras if used <= self.cameras.keys() else ():
            if camera not in used:
                yield ("cameras", camera), "no station uses it; add one or remove the camera"
        folders = {name: camera.record.path for name, camera in self.cameras.items() if camera.record is not None}
        shared = Counter(folders.values())
        for name, folder in folders.items():
            if shared[folder] > 1:
                yield (
                    ("cameras", name, "record", "path"),
                    f"several have record.path {folder}; give each its own folder",
                )

    def _wrong_addresses(self) -> Iterator[Problem]:
        for field, addresses in (("frames", self.transport.frames), ("taps", self.transport.taps)):
            for camera in addresses:
                if camera not in self.cameras:
                    yield ("transport", field, camera), partial(_no_such, "camera", camera, self.cameras)
        for path, address in self._addresses():
            problem = _problem_of_address(address, encrypted=self.transport.keys is not None)
            if problem is not None:
                yield path, problem

    def _addresses(self) -> Iterator[tuple[tuple[str, ...], str]]:
        transport = self.transport
        for field in ("announcements", "results", "feed"):
            address = getattr(transport, field)
            if address is not None:
                yield ("transport", field), address
        yield from ((("transport", "frames", camera), address) for camera, address in transport.frames.items())
        yield from ((("transport", "taps", camera), address) for camera, address in transport.taps.items())

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
        line = hashlib.sha256(os.fsencode(os.path.realpath(self.store.path))).hexdigest()[:16]
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
    text = read_text(path, most_bytes=_MOST_BYTES)
    return parse(text, name=str(path), folder=Path(os.path.realpath(path)).parent)


def parse(text: str, *, name: str, folder: Path) -> LineConfig:
    """Read a configuration from YAML text; errors name `name`, relative paths start at `folder`. Raises ConfigError."""
    document, data = read_yaml(text, name)
    if not isinstance(data, dict):
        raise ConfigError(f"{printable(name)}: expected a mapping with line, cameras and stations")
    try:
        return LineConfig.model_validate(data, context={"folder": folder})
    except ValidationError as error:
        from stream.line.config_errors import problems_of

        raise ConfigError(problems_of(name, document, data, error, LineConfig)) from None


def _no_such(what: str, wanted: str, names: Iterable[str]) -> str:
    known = sorted(names)
    close = difflib.get_close_matches(wanted, known, n=1)
    left = len(known) - _NAMES_SHOWN
    listed = ", ".join(known[:_NAMES_SHOWN]) + (f" … and {left:,} more" if left > 0 else "")
    instead = f"; did you mean '{close[0]}'?" if close else ""
    return f"no {what} '{wanted}'; known: {listed or 'none'}{instead}"


def _problem_of_address(address: str, *, encrypted: bool) -> str | None:
    if address.startswith("ipc://"):
        return None
    if not address.startswith("tcp://") or ":" not in address[6:]:
        return f"expected tcp://HOST:PORT or ipc://PATH, got {shown(address)}"
    host = address[6:].rpartition(":")[0]
    if not is_host(host):
        return f"expected a host of names with 1 to 63 letters between its dots, got {shown(address)}"
    if host not in LOOPBACK and not encrypted:
        return (
            f"'{without_password(address)}' leaves this host unencrypted; make keys with `patchline keys DIR` "
            "and set transport.keys"
        )
    return None
