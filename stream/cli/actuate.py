"""`patchline actuate`: try one output by hand, without a line."""

from __future__ import annotations

import fcntl
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli.app import out
from stream.core.errors import ConfigError, LineFailed

if TYPE_CHECKING:
    from stream.devices.actuators.actuator import Actuator, RejectCommand
    from stream.line.config import LineConfig

#: Longest wait for a connection.
_CONNECT_S = 5.0
#: Kinds that send messages, where a second sender does no harm.
_TWO_WRITERS = ("log", "webhook")


def actuate(
    config: Annotated[Path, typer.Argument(help="The line's YAML file.", show_default=False)],
    name: Annotated[str, typer.Argument(help="Which of its actuators.", show_default=False)],
    reject: Annotated[bool, typer.Option("--reject", help="Fire one pulse now; default: only connect.")] = False,
) -> None:
    """Try one output: connect to it and, with --reject, fire a single pulse. Make sure that nothing is in its way.

    Exit code 1 if it cannot be reached or does not acknowledge.

    Example: `patchline actuate line.yaml gate --reject`
    """
    from stream.line.config import load
    from stream.line.permissions import line_rights

    line = load(config)
    options = line.actuators.get(name)
    if options is None:
        raise ConfigError(f"{config}: no actuator '{name}'; known: {', '.join(line.actuators) or 'none'}")
    if _sink_runs(line) and options.kind not in _TWO_WRITERS:
        raise ConfigError(
            f"{name}: the line's sink is running and holds this output; two would switch it against each other. "
            "Stop the line first"
        )
    with line_rights(line), closing(options.open()) as actuator:
        seconds = _connected(actuator)
        out.print(f"{name} ({options.kind}): connected after {seconds * 1e3:.1f} ms", highlight=False)
        if reject:
            _pulse(actuator, _command(line, name))


def _connected(actuator: Actuator) -> float:
    begun_s = time.monotonic()
    while (fault := actuator.fault) is not None:
        if time.monotonic() > begun_s + _CONNECT_S:
            raise LineFailed(f"no connection within {_CONNECT_S:g} s: {fault}")
        time.sleep(0.005)
    return time.monotonic() - begun_s


def _pulse(actuator: Actuator, command: RejectCommand) -> None:
    from stream.core.clock import now_ns

    begun_ns = now_ns()
    try:
        actuator.begin(command, begun_ns)
    except Exception as error:
        raise LineFailed(f"not acknowledged after {(now_ns() - begun_ns) / 1e6:.1f} ms: {error}") from error
    milliseconds = (now_ns() - begun_ns) / 1e6
    kind = (type(actuator).__doc__ or "").partition("\n")[0]
    out.print(f"pulse acknowledged after {milliseconds:.1f} ms. {kind}", highlight=False, soft_wrap=True)
    time.sleep(command.pulse_ns / 1e9)
    try:
        actuator.end()
    except Exception as error:
        raise LineFailed(f"not switched off after the pulse: {error}") from error
    out.print(f"off after {(now_ns() - begun_ns) / 1e6:.1f} ms", highlight=False)


def _command(line: LineConfig, name: str) -> RejectCommand:
    """Return the pulse of the station that uses this output, or one of 50 ms if none does."""
    from stream.core.clock import now_ns
    from stream.core.verdict import Verdict
    from stream.devices.actuators.actuator import RejectCommand
    from stream.line.sections import RejectOptions

    used = {key: station.reject for key, station in line.stations.items() if station.reject is not None}
    station, reject = next(
        ((key, reject) for key, reject in used.items() if reject.actuator == name),
        ("by-hand", RejectOptions(actuator=name, transport_delay_ms=0)),
    )
    verdict = Verdict.GOOD if reject.gate == "open_on_good" else Verdict.DEFECT
    # No part is waiting, so a slow output may take its time.
    return RejectCommand(
        station, 0, "by hand", verdict, None, now_ns(), tolerance_ns=2_000_000_000, pulse_ns=int(reject.pulse_ms * 1e6)
    )


def _sink_runs(line: LineConfig) -> bool:
    """Return whether a process of this host holds the lock of the line's sink."""
    try:
        with (line.state / "sink.lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
