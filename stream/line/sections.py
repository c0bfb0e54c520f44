"""The sections of a line's configuration, one class each; `config.LineConfig` holds them and checks references."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, IPvAnyNetwork, model_validator

from stream.core.options import ConfigPath, Name, Options, PositiveMs, PositiveS
from stream.core.verdict import Mode
from stream.model.patchcore.rules import RuleOptions

#: Addresses that only this host can reach.
LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")

#: Paths of the dashboard itself, from which a sub-path must differ.
PAGE_FOLDERS = {"api", "css", "lib", "vendor", "views"}

Pixels = Annotated[int, Field(ge=1, le=65_535)]
Offset = Annotated[int, Field(ge=0, le=65_535)]
OnUninspected = Literal["reject", "pass", "ignore"]


class RejectOptions(Options):
    """How a rejected part leaves the belt."""

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


class DriftOptions(Options):
    """Comparison of good parts with those that the bundle was calibrated with."""

    window: Annotated[int, Field(ge=20, le=5_000)] = 500


def _several(value: object) -> object:
    return [value] if isinstance(value, str | Path) else value


class StationOptions(Options):
    """One inspection point: camera, region, bundle, policy and reject."""

    camera: Name
    bundle: ConfigPath
    watch: bool = False
    shadow: ConfigPath | None = None
    roi: tuple[Offset, Offset, Pixels, Pixels] | None = None
    masks: Annotated[tuple[ConfigPath, ...], BeforeValidator(_several)] = ()
    mode: Mode = "triggered"
    deadline_ms: PositiveMs = 500.0
    backlog: Annotated[int, Field(ge=1, le=10_000)] = 16
    on_uninspected: OnUninspected | None = None
    frame_checks: bool = True
    mm_per_px: Annotated[float, Field(gt=0, le=1000)] | None = None
    rules: list[RuleOptions] = Field(default_factory=list)
    drift: DriftOptions = DriftOptions()
    on_drift: Literal["alarm", "stop_line"] = "alarm"
    reject: RejectOptions | None = None

    @model_validator(mode="after")
    def _verdict_before_reject(self) -> Self:
        delay_ms = None if self.reject is None else self.reject.transport_delay_ms
        if delay_ms is not None and self.deadline_ms > delay_ms:
            raise ValueError(
                f"deadline_ms: {self.deadline_ms:g} is after the reject at {delay_ms:g} ms: "
                "a part without verdict could not be rejected; lower it to transport_delay_ms or less"
            )
        return self

    @model_validator(mode="after")
    def _every_rule_has_its_own_name(self) -> Self:
        names = [rule.name for rule in self.rules]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"rules: several are named '{twice}'; a verdict names its rule, so give each its own name")
        return self

    @property
    def uninspected_policy(self) -> OnUninspected:
        """`on_uninspected`, or its default: reject a triggered part, ignore a free-running frame."""
        return self.on_uninspected or ("reject" if self.mode == "triggered" else "ignore")


class WorkerOptions(Options):
    """One inference process."""

    device: Literal["auto", "cuda", "openvino", "torch-cpu"] = "auto"
    max_batch: Annotated[int, Field(ge=1, le=256)] = 8
    max_wait_ms: Annotated[float, Field(ge=0, le=1000)] = 2.0
    threads: Annotated[int, Field(ge=0, le=1024)] = 0


def _octal(value: object) -> object:
    # YAML reads 0750 as the number 750: its digits are what was meant.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _rights(text: str) -> str:
    if re.fullmatch(r"0?7[0-7][0-7]", text) is None:
        raise ValueError('expected three octal digits of which the first is 7, such as "0750" or "0700"')
    return text.zfill(4)


class StoreOptions(Options):
    """The line's folder: event store, overlays, locks and sequence numbers."""

    path: ConfigPath = Field(default=Path("events"), validate_default=True)
    mode: Annotated[str, BeforeValidator(_octal), AfterValidator(_rights)] = "0750"
    record: Literal["non_good", "all"] = "non_good"
    keep_events: Annotated[int, Field(ge=1)] = 1_000_000
    keep_days: Annotated[float, Field(gt=0, le=36_500)] = 30.0
    keep_gib: Annotated[float, Field(gt=0, le=1_000_000)] = 20.0
    good_per_hour: Annotated[int, Field(ge=0, le=1000)] = 12
    good_one_in: Annotated[int, Field(ge=0)] = 500
    good_gib: Annotated[float, Field(gt=0, le=1_000_000)] = 4.0
    overlays: Annotated[int, Field(ge=0)] = 200
    preview_max_px: Annotated[int, Field(ge=64, le=16_384)] = 1024
    preview_jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 85

    @property
    def folder_mode(self) -> int:
        """Rights of the line's folders."""
        return int(self.mode, 8)

    @property
    def file_mode(self) -> int:
        """Rights of the line's files."""
        return self.folder_mode & 0o666

    @property
    def umask(self) -> int:
        """By which new files have these rights."""
        return 0o777 & ~self.folder_mode


class MetricsOptions(Options):
    """Where Prometheus finds the processes: the sink at this port, the others at the ports after it."""

    listen: Annotated[str, Field(pattern=r"^[^\s:]+:\d+$|^\[[0-9a-fA-F:]+\]:\d+$")] | None = "127.0.0.1:9464"

    @model_validator(mode="after")
    def _port_in_range(self) -> Self:
        if self.listen is not None and not 1 <= int(self.listen.rpartition(":")[2]) <= 65_000:
            raise ValueError(f"listen: the port of '{self.listen}' must be 1 to 65000")
        return self


AccessRole = Literal["viewer", "operator", "engineer"]


class UserOptions(Options):
    """A user of the dashboard; `password` is the hash printed by `patchline password`."""

    password: Annotated[str, Field(pattern=r"^\$argon2id\$\S+$")]
    role: AccessRole = "viewer"


class TokenOptions(Options):
    """A program that uses the dashboard's API; `sha256` is the hash printed by `patchline password --token`."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    role: AccessRole = "viewer"


class DashboardOptions(Options):
    """The dashboard: the line in a browser."""

    enabled: bool = True
    listen: Annotated[str, Field(pattern=r"^[^\s:]+:\d{1,5}$|^\[[0-9a-fA-F:]+\]:\d{1,5}$")] = "127.0.0.1:8080"
    certificate: ConfigPath | None = None
    key: ConfigPath | None = None
    proxies: list[IPvAnyNetwork] = Field(default_factory=list)
    root_path: Annotated[str, Field(pattern=r"^$|^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$")] = ""
    users: dict[Name, UserOptions] = Field(default_factory=dict)
    tokens: dict[Name, TokenOptions] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _remote_access_needs_users(self) -> Self:
        if not 1 <= self.address[1] <= 65_535:
            raise ValueError(f"listen: the port of '{self.listen}' must be 1 to 65535")
        if not self.local and not self.users:
            raise ValueError(
                f"users: '{self.listen}' can be reached from other hosts, so users must log in; "
                "add a user with a hash from `patchline password`, or listen on 127.0.0.1"
            )
        if self.proxies and not self.users:
            raise ValueError(
                "users: proxies pass on requests from other hosts, so users must log in; add a user with a hash from "
                "`patchline password`, or remove proxies"
            )
        if self.root_path.split("/")[1:2] and self.root_path.split("/")[1] in PAGE_FOLDERS:
            raise ValueError(
                f"root_path: '{self.root_path}' begins like one of the page's own paths "
                f"({', '.join(sorted(PAGE_FOLDERS))}); choose another name"
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
        """Whether only programs on this host can connect."""
        return self.address[0] in LOOPBACK

    @property
    def url(self) -> str:
        """Address for a browser."""
        return f"{'http' if self.certificate is None else 'https'}://{self.listen}"


class AlarmRule(Options):
    """Raise when `n` of the last `of` observations are bad; then stay silent for the cool-down."""

    n: Annotated[int, Field(ge=1)] = 1
    of: Annotated[int, Field(ge=1)] = 1
    cooldown_s: Annotated[float, Field(ge=0, le=2_678_400)] = 60.0

    @model_validator(mode="after")
    def _n_of_m(self) -> Self:
        if self.n > self.of:
            raise ValueError(f"n: {self.n} of the last {self.of} can never happen")
        return self


class AlarmOptions(Options):
    """Thresholds of the alarms."""

    defect: AlarmRule = AlarmRule(n=3, of=10)
    uninspected: AlarmRule = AlarmRule(cooldown_s=10)
    late_reject: AlarmRule = AlarmRule(cooldown_s=10)
    camera_down_ms: PositiveMs = 1000.0
    worker_down_ms: PositiveMs = 3000.0


class RestartOptions(Options):
    """How often the supervisor starts a dead role again before it stops the line."""

    limit: Annotated[int, Field(ge=0)] = 5
    within_s: PositiveS = 60.0
    ready_s: PositiveS = 120.0
    drain_s: PositiveS = 10.0


class TransportOptions(Options):
    """Addresses of the sockets. Empty: Unix sockets of this host. Between hosts: tcp:// and `keys`."""

    announcements: str | None = None
    results: str | None = None
    feed: str | None = None
    frames: dict[Name, str] = Field(default_factory=dict)
    taps: dict[Name, str] = Field(default_factory=dict)
    keys: ConfigPath | None = None
