"""The whole configuration of a line, typed: YAML in, one immutable object out.

`load` reads a file, refuses unknown and duplicate keys, and names file, field and fix in its errors.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import ruamel.yaml
from pydantic import Field, ValidationError, model_validator
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError

from stream.actuators import ActuatorOptions
from stream.encoders import EncoderOptions
from stream.errors import ConfigError
from stream.messages import Mode
from stream.options import ConfigPath, Name, Options, PositiveMs, PositiveS, without_password
from stream.sources import SourceOptions

LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")

Pixels = Annotated[int, Field(ge=1)]
Offset = Annotated[int, Field(ge=0)]
OnUninspected = Literal["reject", "pass", "ignore"]


class Reject(Options):
    """How a bad part leaves the belt."""

    actuator: Name
    gate: Literal["pulse_on_bad", "open_on_good"] = "pulse_on_bad"
    transport_delay_ms: Annotated[float, Field(ge=0)] | None = None
    pulse_ms: PositiveMs = 50.0
    tolerance_ms: PositiveMs = 15.0
    encoder: Name | None = None
    transport_counts: Annotated[int, Field(ge=0)] | None = None
    tolerance_counts: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _by_time_or_by_counts(self) -> Self:
        counted = (self.encoder, self.transport_counts, self.tolerance_counts)
        if self.transport_delay_ms is not None and counted == (None, None, None):
            return self
        if self.transport_delay_ms is None and None not in counted:
            return self
        raise ValueError("give either transport_delay_ms, or encoder, transport_counts and tolerance_counts")


class Drift(Options):
    """Whether good parts still look like those that the bundle was calibrated with."""

    window: Annotated[int, Field(ge=20, le=5_000)] = 500


class Station(Options):
    """One inspection point: camera + region + bundle + policy + outputs."""

    camera: Name
    bundle: ConfigPath
    watch: bool = False
    shadow: ConfigPath | None = None
    roi: tuple[Offset, Offset, Pixels, Pixels] | None = None
    mode: Mode = "triggered"
    deadline_ms: PositiveMs = 500.0
    backlog: Annotated[int, Field(ge=1, le=10_000)] = 16
    on_uninspected: OnUninspected | None = None
    frame_checks: bool = True
    drift: Drift = Drift()
    on_drift: Literal["alarm", "stop_line"] = "alarm"
    reject: Reject | None = None

    @model_validator(mode="after")
    def _verdict_before_reject(self) -> Self:
        delay_ms = None if self.reject is None else self.reject.transport_delay_ms
        if delay_ms is not None and self.deadline_ms > delay_ms:
            raise ValueError(
                f"deadline_ms: {self.deadline_ms:g} lies after the reject at {delay_ms:g} ms: "
                "a part without verdict could not be rejected; lower it to transport_delay_ms or less"
            )
        return self

    @property
    def uninspected_policy(self) -> OnUninspected:
        """`on_uninspected`, or its default: reject a triggered part, ignore a frame that nobody asked for."""
        return self.on_uninspected or ("reject" if self.mode == "triggered" else "ignore")


class Worker(Options):
    """One inference process."""

    device: Literal["auto", "cuda", "openvino", "torch-cpu"] = "auto"
    max_batch: Annotated[int, Field(ge=1, le=256)] = 8
    max_wait_ms: Annotated[float, Field(ge=0, le=1000)] = 2.0
    threads: Annotated[int, Field(ge=0)] = 0


class Store(Options):
    """The line's folder: event store, overlays, and where each camera stands."""

    path: ConfigPath = Field(default=Path("events"), validate_default=True)
    record: Literal["non_good", "all"] = "non_good"
    keep_events: Annotated[int, Field(ge=1)] = 1_000_000
    keep_days: Annotated[float, Field(gt=0)] = 30.0
    keep_gib: Annotated[float, Field(gt=0)] = 20.0
    overlays: Annotated[int, Field(ge=0)] = 200
    view_max_px: Annotated[int, Field(ge=64)] = 1024
    view_jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 85


class Metrics(Options):
    """Where Prometheus finds the processes: the sink at this port, the others at the ports after it."""

    listen: Annotated[str, Field(pattern=r"^[^\s:]+:\d+$|^\[[0-9a-fA-F:]+\]:\d+$")] | None = "127.0.0.1:9464"

    @model_validator(mode="after")
    def _port_in_range(self) -> Self:
        if self.listen is not None and not 1 <= int(self.listen.rpartition(":")[2]) <= 65_000:
            raise ValueError(f"listen: the port of '{self.listen}' must lie between 1 and 65000")
        return self


AccessRole = Literal["viewer", "operator", "engineer"]


class User(Options):
    """A person who may log in to the dashboard; `password` is what `patchline password` printed."""

    password: Annotated[str, Field(pattern=r"^\$argon2id\$\S+$")]
    role: AccessRole = "viewer"


class Token(Options):
    """A program that may use the dashboard's API; `sha256` is what `patchline password --token` printed."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    role: AccessRole = "viewer"


class Dashboard(Options):
    """The line in a browser."""

    enabled: bool = True
    listen: Annotated[str, Field(pattern=r"^[^\s:]+:\d{1,5}$|^\[[0-9a-fA-F:]+\]:\d{1,5}$")] = "127.0.0.1:8080"
    certificate: ConfigPath | None = None
    key: ConfigPath | None = None
    users: dict[Name, User] = Field(default_factory=dict)
    tokens: dict[Name, Token] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _nobody_comes_in_unknown(self) -> Self:
        if not 1 <= self.address[1] <= 65_535:
            raise ValueError(f"listen: the port of '{self.listen}' must lie between 1 and 65535")
        if not self.local and not self.users:
            raise ValueError(
                f"users: '{self.listen}' can be reached from other hosts, so somebody must log in; "
                "add a user with a hash from `patchline password`, or listen on 127.0.0.1"
            )
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate: TLS needs both certificate and key")
        return self

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of `listen`."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def local(self) -> bool:
        """Whether only programs of this host can connect."""
        return self.address[0] in LOOPBACK

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return f"{'http' if self.certificate is None else 'https'}://{self.listen}"


class AlarmRule(Options):
    """Raise when `n` of the last `of` observations are bad; then stay silent for the cool-down."""

    n: Annotated[int, Field(ge=1)] = 1
    of: Annotated[int, Field(ge=1)] = 1
    cooldown_s: Annotated[float, Field(ge=0)] = 60.0

    @model_validator(mode="after")
    def _n_of_m(self) -> Self:
        if self.n > self.of:
            raise ValueError(f"n: {self.n} of the last {self.of} can never happen")
        return self


class Alarms(Options):
    """What calls a person."""

    defect: AlarmRule = AlarmRule(n=3, of=10)
    uninspected: AlarmRule = AlarmRule(cooldown_s=10)
    late_reject: AlarmRule = AlarmRule(cooldown_s=10)
    camera_down_ms: PositiveMs = 1000.0
    worker_down_ms: PositiveMs = 3000.0


class Restarts(Options):
    """How often the supervisor starts a dead role again before it stops the line."""

    limit: Annotated[int, Field(ge=0)] = 5
    within_s: PositiveS = 60.0
    ready_s: PositiveS = 120.0
    drain_s: PositiveS = 10.0


class Transport(Options):
    """Addresses of the sockets. Empty: Unix sockets of this host. Between hosts: tcp:// and `keys`."""

    announcements: str | None = None
    results: str | None = None
    feed: str | None = None
    frames: dict[Name, str] = Field(default_factory=dict)
    taps: dict[Name, str] = Field(default_factory=dict)
    keys: ConfigPath | None = None


class LineConfig(Options):
    """A whole line."""

    line: Name
    cameras: Annotated[dict[Name, SourceOptions], Field(min_length=1)]
    stations: Annotated[dict[Name, Station], Field(min_length=1)]
    actuators: dict[Name, ActuatorOptions] = Field(default_factory=dict)
    encoders: dict[Name, EncoderOptions] = Field(default_factory=dict)
    on_actuator_fault: Literal["continue", "stop_line"] = "continue"
    workers: Annotated[list[Worker], Field(min_length=1)] = Field(default_factory=lambda: [Worker()])
    store: Store = Field(default_factory=dict, validate_default=True)
    alarms: Alarms = Alarms()
    metrics: Metrics = Metrics()
    dashboard: Dashboard = Dashboard()
    restarts: Restarts = Restarts()
    transport: Transport = Transport()

    @model_validator(mode="after")
    def _names_point_somewhere(self) -> Self:
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
                    "passed; give this station an actuator of its own"
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
                raise ValueError(f"cameras: several have record.path {folder}; give each a folder of its own")
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

    def stations_of(self, camera: str) -> dict[str, Station]:
        """Return the stations that look through `camera`."""
        return {name: station for name, station in self.stations.items() if station.camera == camera}

    @property
    def drain_s(self) -> float:
        """Return how long a process may take to end: time for the last part to reach the reject."""
        rejects_ms = [
            station.reject.transport_delay_ms + station.reject.tolerance_ms
            for station in self.stations.values()
            if station.reject is not None and station.reject.transport_delay_ms is not None
        ]
        deadlines_ms = [station.deadline_ms for station in self.stations.values()]
        return max(self.restarts.drain_s, max(rejects_ms + deadlines_ms) / 1e3 + 3.0)

    @property
    def worker_names(self) -> list[str]:
        """Names of the workers in order: worker0, worker1 …"""
        return [f"worker{index}" for index in range(len(self.workers))]

    @property
    def roles(self) -> list[str]:
        """Every process of the line in the order of their metrics ports."""
        return ["sink", *self.worker_names, *(f"capture-{name}" for name in self.cameras), "supervisor", "dashboard"]

    def metrics_address(self, role: str) -> tuple[str, int] | None:
        """Return host and port of the /metrics of `role`, or None when switched off."""
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
        """Return where the capture process of `camera` hands out frames."""
        return self.transport.frames.get(camera) or self._ipc(f"frames-{list(self.cameras).index(camera)}")

    def tap_address(self, camera: str) -> str:
        """Return where the capture process of `camera` shows whole pictures to listeners."""
        return self.transport.taps.get(camera) or self._ipc(f"tap-{list(self.cameras).index(camera)}")

    def _ipc(self, name: str) -> str:
        # Socket paths are limited to 107 bytes, so they do not live below the (perhaps deep) store.
        line = hashlib.sha256(str(self.store.path.resolve()).encode()).hexdigest()[:16]
        base = os.environ.get("XDG_RUNTIME_DIR") or f"{tempfile.gettempdir()}/patchline-{os.getuid()}"
        return f"ipc://{base}/patchline-{line}-{name}"


def load(path: Path) -> LineConfig:
    """Read a configuration file; relative paths in it count from its folder. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    return parse(text, name=str(path), folder=path.resolve().parent)


def parse(text: str, *, name: str, folder: Path) -> LineConfig:
    """Read a configuration from YAML text; `name` stands in the errors, `folder` before relative paths."""
    try:
        data = ruamel.yaml.YAML(typ="safe", pure=True).load(text)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        problem = str(error.problem).replace("found duplicate key", "duplicate key").split(" with value")[0]
        raise ConfigError(f"{name}:{line}: {problem}: give each key once") from None
    except YAMLError as error:
        raise ConfigError(f"{name}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{name}: expected a mapping with line, cameras and stations")
    try:
        return LineConfig.model_validate(data, context={"folder": folder})
    except ValidationError as error:
        lines = [_one_line(name, data, dict(item)) for item in error.errors()]
        raise ConfigError("\n".join(lines)) from None


def _one_line(name: str, data: Any, item: dict[str, Any]) -> str:
    """Say one pydantic error as `file: field: problem`, without the union tags pydantic puts into the path."""
    field: list[str] = []
    for step in item["loc"]:
        if isinstance(data, dict) and data.get("kind") == step and step not in data:
            continue
        field.append(str(step))
        if isinstance(data, dict):
            data = data.get(step)
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
    message = item["msg"].removeprefix("Value error, ")
    if not field:
        return f"{name}: {message}"
    shown = without_password(repr(item["input"]))
    given = "" if isinstance(item["input"], dict) or item["type"] == "missing" else f", got {shown}"
    return f"{name}: {'.'.join(field)}: {message}{given}"


def _known(names: Iterable[str]) -> str:
    return f"known: {', '.join(sorted(names)) or 'none'}"


def _check_address(field: str, address: str, *, encrypted: bool) -> None:
    if address.startswith("ipc://"):
        return
    if not address.startswith("tcp://") or ":" not in address[6:]:
        raise ValueError(f"{field}: expected tcp://HOST:PORT or ipc://PATH, got '{address}'")
    host = address[6:].rpartition(":")[0]
    if host not in LOOPBACK and not encrypted:
        raise ValueError(
            f"{field}: '{address}' leaves this host unencrypted; make keys with `patchline keys DIR` "
            "and set transport.keys"
        )
