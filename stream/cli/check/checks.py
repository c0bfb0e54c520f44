"""The checks of `patchline check`: each tries one thing that a line needs, and reports instead of raising."""

from __future__ import annotations

import ctypes
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.cli.check.check import Check
from stream.cli.check.listeners import check_listeners
from stream.cli.check.unfit_pictures import reason_of
from stream.cli.snapshot.picture import take_picture
from stream.core.errors import FrameFault, PatchLineError
from stream.devices.actuators.actuator import Actuator
from stream.devices.triggers import TriggerOptions
from stream.devices.triggers.trigger import TriggerSource
from stream.line.config import LineConfig
from stream.line.folders import folder_problems
from stream.line.locks import lock_owner
from stream.line.rules import rules_of
from stream.line.sections import StationOptions
from stream.model.bundle import live_bundle, shadow_bundle
from stream.model.mask_files import check_masks
from stream.transport.socket_folder import prepare_folder
from stream.transport.sockets import Sockets

#: Result of adjtimex(2) while the clock is not synchronised, and the bytes of its structure at most.
_UNSYNCHRONISED, _TIMEX_BYTES = 5, 512
_POLL_S = 0.05
#: Longest wait for a trigger to let go.
_GOODBYE_S = 5.0


def check_line(line: LineConfig, wait_s: float) -> Iterator[Check]:
    """Yield the result of every check; `wait_s` limits the wait for each camera and output."""
    for option, problem in folder_problems(line):
        yield Check(option, problem.partition(": ")[2] if problem else "can be written", wrong=problem is not None)
    yield _sockets(line)
    yield _disk(line)
    yield _clock()
    yield from check_listeners(line)
    usable = {}
    for name, station in line.stations.items():
        result = _bundle(name, station)
        usable[name] = not result.wrong
        yield result
    for camera in line.cameras:
        yield from _camera(line, camera, usable, wait_s)
    for name in line.actuators:
        yield _output(line, name, wait_s)
    for name in line.encoders:
        yield _encoder(line, name)


def _sockets(line: LineConfig) -> Check:
    try:
        Sockets(line.transport.keys).close()
        addresses = (
            *(line.announcements_address(), line.results_address(), line.feed_address()),
            *(line.frames_address(camera) for camera in line.cameras),
        )
        folders = sorted({Path(address[6:]).parent for address in addresses if address.startswith("ipc://")})
        for folder in folders:
            prepare_folder(folder)
            with tempfile.TemporaryFile(dir=folder):
                continue
        return Check("sockets", f"in {', '.join(map(str, folders))}" if folders else "between hosts")
    except PatchLineError as error:
        return Check("sockets", str(error), wrong=True)
    except OSError as error:
        mends = "set XDG_RUNTIME_DIR to a folder of this user, the same for every command of the line"
        return Check("sockets", f"{error.filename}: {error.strerror}; {mends}", wrong=True)


def _disk(line: LineConfig) -> Check:
    what, folder = "disk", next(path for path in (line.store.path, *line.store.path.parents) if path.exists())
    free_gib, wanted_gib = shutil.disk_usage(folder).free / 2**30, line.store.keep_gib + line.store.good_gib
    used_gib = sum(path.stat().st_size for path in line.store.path.rglob("*") if path.is_file()) / 2**30
    if free_gib + used_gib < wanted_gib:
        return Check(
            what,
            f"{free_gib:.1f} GiB free on the disk of {folder}, the store may take {wanted_gib:g}: free space, or lower "
            "store.keep_gib and store.good_gib",
            doubtful=True,
        )
    return Check(what, f"{free_gib:.1f} GiB free")


def _clock() -> Check:
    if time.time() < 1.7e9:  # the end of 2023
        return Check("clock", f"shows {time.ctime()}: set it, and synchronise it by NTP or PTP", wrong=True)
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        state = -1
    if state == _UNSYNCHRONISED:
        return Check("clock", "not synchronised: between hosts deadlines need NTP or PTP", doubtful=True)
    return Check("clock", time.strftime("%Y-%m-%d %H:%M:%S %Z"))


def _bundle(name: str, station: StationOptions) -> Check:
    what = f"stations.{name}.bundle"
    try:
        bundle = live_bundle(station.bundle)
        check_masks(name, station.masks, station.bundle, bundle.info)
        if station.shadow is not None:
            shadow_bundle(station.shadow, bundle, station.roi)
        rules_of(name, station, bundle.info)
    except PatchLineError as error:
        return Check(what, str(error), wrong=True)
    return Check(what, f"{len(bundle.bank):,} patches of {bundle.info.spec.backbone}")


def _camera(line: LineConfig, camera: str, usable: dict[str, bool], wait_s: float) -> Iterator[Check]:
    """Yield a check of a camera, and one of each of its stations with a frame of it."""
    what = f"cameras.{camera}"
    if (owner := lock_owner(f"capture-{camera}", line.state)) is not None:
        yield Check(what, f"held by the running line (process {owner})")
        return
    try:
        picture = take_picture(line.cameras[camera].open(), wait_s)
    except PatchLineError as error:
        yield Check(what, str(error), wrong=True)
        return
    except Exception as error:  # noqa: BLE001 - drivers raise many kinds
        yield Check(what, f"{type(error).__name__}: {error}", wrong=True)
        return
    yield Check(what, f"a frame of {picture.shape[1]}×{picture.shape[0]} px")
    trigger: TriggerOptions | None = getattr(line.cameras[camera], "trigger", None)
    if trigger is not None:
        yield _trigger(f"{what}.trigger", trigger, wait_s)
    for name, station in line.stations_of(camera).items():
        if usable[name]:
            yield _inspection(line, name, station, picture)


def _inspection(line: LineConfig, name: str, station: StationOptions, picture: NDArray[np.uint8]) -> Check:
    """Pass a frame through a station, as a worker would."""
    from stream.capture.cropper import load_cropper
    from stream.inference.station_models import load_station_model
    from stream.model.patchcore.health import measure
    from stream.model.station_model import inspect_batch, run_self_test

    what = f"stations.{name}"
    if (reason := reason_of(name, station, picture)) is not None:
        return Check(what, reason, wrong=True)
    try:
        model = load_station_model(name, station, line.workers[0], None, {})
        run_self_test(model, station.bundle)
        geometry = load_cropper(name, station).geometry
        try:
            placement = geometry.placement(picture)
        except FrameFault as fault:
            return Check(what, f"this frame would be UNINSPECTED({fault.cause}): {fault.detail}", doubtful=True)
        region = geometry.region(picture, placement)
        pixels = geometry.network_input(region)
        refused = model.fault_of(measure(pixels))
        if refused is not None:
            return Check(what, f"this frame would be UNINSPECTED(bad_frame): {refused}", doubtful=True)
        begun_s = time.monotonic()
        (part,) = inspect_batch([model], pixels[None])
        took_ms = (time.monotonic() - begun_s) * 1e3
    except PatchLineError as error:
        return Check(what, str(error), wrong=True)
    thresholds = model.bundle.info.thresholds
    assert thresholds is not None  # of a live bundle
    score, ruling = part.inspection.score, model.judge(part.inspection, (region.shape[1], region.shape[0]))
    found = f"{ruling.verdict}, score {score:.4g} of {thresholds.image:.4g}, {took_ms:.0f} ms"
    if ruling.detail:
        found = f"{found}, {ruling.detail}"
    if placement is not None:
        found += (
            f", part moved by {placement.dx_px:+.1f}, {placement.dy_px:+.1f} px and {placement.angle_deg:+.2f}°, match "
            f"{placement.match:.2f}"
        )
    if took_ms > station.deadline_ms:
        return Check(what, f"{found}: later than deadline_ms {station.deadline_ms:g}", doubtful=True)
    return Check(what, f"{found} on {model.extractor.device}")


def _trigger(what: str, options: TriggerOptions, wait_s: float) -> Check:
    """Connect to a trigger; parts that it announces meanwhile are nobody's."""
    return _connected(what, lambda: _read(options.open()), wait_s, f"{options.kind}: ready; no part was triggered")


@contextmanager
def _read(trigger: TriggerSource) -> Iterator[TriggerSource]:
    """Read a trigger's events, which connects it."""
    stop = threading.Event()
    reading = threading.Thread(target=lambda: [None for _ in trigger.events(stop)], daemon=True)
    reading.start()
    try:
        yield trigger
    finally:
        stop.set()
        reading.join(_GOODBYE_S)


def _output(line: LineConfig, name: str, wait_s: float) -> Check:
    """Connect to an output, without a pulse."""
    what, options = f"actuators.{name}", line.actuators[name]
    if (owner := lock_owner("sink", line.state)) is not None:
        return Check(what, f"held by the running line (process {owner})")
    return _connected(what, lambda: closing(options.open()), wait_s, f"{options.kind}: connected; no pulse was fired")


def _connected(
    what: str,
    connect: Callable[[], AbstractContextManager[Actuator | TriggerSource]],
    wait_s: float,
    found: str,
) -> Check:
    """Wait until a device that `connect` opens has no fault; `found` is said then."""
    try:
        with connect() as device:
            fault = _waited_for(device, wait_s)
    except PatchLineError as error:
        return Check(what, str(error), wrong=True)
    except Exception as error:  # noqa: BLE001 - drivers raise many kinds
        return Check(what, f"{type(error).__name__}: {error}", wrong=True)
    if fault is not None:
        return Check(what, f"no connection within {wait_s:g} s: {fault}", wrong=True)
    return Check(what, found)


def _waited_for(device: Actuator | TriggerSource, wait_s: float) -> str | None:
    """Return the fault that a device still has after a while; None once it has none."""
    until_s = time.monotonic() + wait_s
    while (fault := device.fault) is not None and time.monotonic() < until_s:
        time.sleep(_POLL_S)
    return fault


def _encoder(line: LineConfig, name: str) -> Check:
    what = f"encoders.{name}"
    if (owner := lock_owner("sink", line.state)) is not None:
        return Check(what, f"held by the running line (process {owner})")
    try:
        with closing(line.encoders[name].open()) as encoder:
            return Check(what, f"count {encoder.read()}")
    except (PatchLineError, OSError) as error:
        return Check(what, str(error), wrong=True)
