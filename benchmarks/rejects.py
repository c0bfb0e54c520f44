"""How exactly are rejects fired, and how soon acknowledged?

500 pulses, one every 40 ms and planned half a second ahead as a line does, through the thread that fires
them: into the log actuator, and into a coil of a Modbus TCP server in a process of its own on this machine.

    .venv/bin/python benchmarks/rejects.py [--rejects 500] [--period-ms 40]
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from conditions import conditions, report
from rich.table import Table

from stream.core.clock import now_ns
from stream.core.verdict import Verdict
from stream.devices.actuators.actuator import Actuator, RejectCommand
from stream.devices.actuators.log import LogActuatorOptions
from stream.devices.actuators.modbus import ModbusActuatorOptions
from stream.sink.actuator_thread import ActuatorThread, Fired

_AHEAD_NS = 500_000_000
_SERVER = """
import asyncio, sys
from pymodbus.server import StartAsyncTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
bits = [SimData(0, count=32, values=False, datatype=DataType.BITS)]
registers = [SimData(0, count=32, values=0, datatype=DataType.REGISTERS)]
device = SimDevice(id=1, simdata=(bits, bits, registers, registers))
asyncio.run(StartAsyncTcpServer(device, address=("127.0.0.1", int(sys.argv[1]))))
"""


def main() -> None:
    """Print one row for each output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rejects", type=int, default=500)
    parser.add_argument("--period-ms", type=float, default=40.0)
    options = parser.parse_args()

    table = Table(
        "output", "fired after its moment, ms: p50", "p99", "max", "acknowledged, ms: p50", "p99", "max", "missed"
    )
    with tempfile.TemporaryDirectory() as scratch:
        log = LogActuatorOptions(kind="log", path=Path(scratch, "rejects.jsonl"))
        add_row(table, "log", fire(log.open(), options.rejects, options.period_ms))
    port = free_port()
    server = subprocess.Popen([sys.executable, "-c", _SERVER, str(port)])
    try:
        coil = ModbusActuatorOptions(kind="modbus", host="127.0.0.1", port=port, coil=3)
        add_row(table, "modbus", fire(coil.open(), options.rejects, options.period_ms))
    finally:
        server.kill()
        server.wait()
    notes = [
        f"{options.rejects} rejects, one every {options.period_ms:g} ms; pulses of 20 ms, tolerance 100 ms. "
        "Acknowledged: after the planned moment.",
    ]
    report("rejects", "Rejects", "python benchmarks/rejects.py", conditions("pymodbus"), table, *notes)


def fire(actuator: Actuator, count: int, period_ms: float) -> list[Fired]:
    """Return what became of `count` rejects."""
    thread = ActuatorThread("bench", actuator)
    thread.start()
    until_s = time.monotonic() + 10
    while actuator.fault is not None:
        if time.monotonic() > until_s:
            raise SystemExit(actuator.fault)
        time.sleep(0.01)
    first_ns = now_ns() + _AHEAD_NS
    for number in range(count):
        planned_ns = first_ns + int(number * period_ms * 1e6)
        time.sleep(max(0.0, (planned_ns - _AHEAD_NS - now_ns()) / 1e9))
        thread.plan(RejectCommand("cap", number, None, Verdict.DEFECT, None, planned_ns, 100_000_000, 20_000_000))
    while not thread.idle:
        time.sleep(0.01)
    thread.end()
    return thread.outcomes()


def add_row(table: Table, name: str, pulses: list[Fired]) -> None:
    """Add quantiles in ms of what was acknowledged, and the count of what was not."""
    done = [item for item in pulses if item.error is None and item.fired_ns is not None]
    fired = [(item.fired_ns - item.command.planned_ns) / 1e6 for item in done if item.fired_ns is not None]
    acknowledged = [
        (item.acknowledged_ns - item.command.planned_ns) / 1e6 for item in done if item.acknowledged_ns is not None
    ]
    cells = [f"{value:.2f}" for row in (fired, acknowledged) for value in np.percentile(row, (50, 99, 100))]
    table.add_row(name, *cells, str(len(pulses) - len(done)))


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
