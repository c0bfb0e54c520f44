"""One real process of a line is sent damaged messages, with genuine ones among them that must be served as ever."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil
import zmq
from campaigns.genuine import messages
from campaigns.invariants import Violation
from campaigns.material import Material
from campaigns.mutations import damaged_bytes, damaged_tree
from campaigns.targets import message_of
from support.pictures import defective_picture, good_picture
from support.running import GATE, Line, belt, station

from stream.core.clock import local_clock, now_ns
from stream.core.verdict import Verdict
from stream.model.bundle import live_bundle
from stream.model.patchcore.preprocess import network_input
from stream.transport.messages import (
    Announcement,
    CreditGrant,
    FrameHeader,
    FrameStamps,
    LineReady,
    Result,
    ResultStamps,
    ToSink,
    ToWorker,
    decode_to_sink,
    decode_to_worker,
    encode,
)

#: What a process may log, bytes: this, and so much for each second, whatever it is sent.
LOG_BYTES, LOG_BYTES_PER_S = 400_000, 20_000
#: What its memory may grow by, MiB.
GROWTH_MIB = 150
#: Damaged messages between two genuine ones.
_BETWEEN = 50


class Flooded(NamedTuple):
    """What a number of messages came to."""

    messages: int
    genuine: int
    growth_mib: float
    log_bytes: int
    violations: list[Violation]


class Watch:
    """A process's memory, log and life, from now on."""

    def __init__(self, line: Line) -> None:
        assert line.process is not None
        self._line = line
        self._process = psutil.Process(line.process.pid)
        self._rss = self._process.memory_info().rss
        self._log = len(line.output())
        self._begun_s = time.monotonic()

    def outcome(self, sent: int, genuine: int, found: list[Violation]) -> Flooded:
        """Look at the process after everything, stop it in order, and return what was found."""
        line, growth, begun_s = self._line, 0.0, self._begun_s
        assert line.process is not None
        text = line.output()[self._log :]
        if line.process.poll() is not None:
            found.append(Violation("death", f"the process ended with {line.process.returncode}: {text[-2_000:]}"))
        else:
            growth = (self._process.memory_info().rss - self._rss) / 2**20
            line.process.terminate()
            code = line.finish()
            if code != 0:
                found.append(Violation("exit", f"it ended with {code}: {line.output()[-2_000:]}"))
        if growth > GROWTH_MIB:
            found.append(Violation("memory", f"it grew by {growth:.0f} MiB"))
        allowed = LOG_BYTES + LOG_BYTES_PER_S * (time.monotonic() - begun_s)
        if len(text) > allowed:
            found.append(Violation("log", f"{len(text)} bytes for {sent} messages, {allowed:.0f} are allowed"))
        if "Traceback" in text:
            at = text.index("Traceback")
            found.append(Violation("crash", f"{text.count('Traceback')} times, first: {text[at : at + 2_000]}"))
        return Flooded(sent, genuine, growth, len(text), found)


def configuration(material: Material) -> dict[str, Any]:
    """A line of two cameras, of which damaged messages name only the first, `top` with its station `cap`."""
    label = station(material.bundle, camera="side", reject=None)
    return {
        "cameras": {"top": belt(material.parts, parts=1_000_000), "side": belt(material.parts, parts=1_000_000)},
        "stations": {"cap": station(material.bundle, reject=None), "label": label},
        "actuators": GATE,
        "store": {"path": "store", "record": "all"},
    }


def flood_sink(folder: Path, material: Material, *, seed: int, count: int, seconds: float) -> Flooded:
    """Send the sink damaged announcements, results and reports about one camera, and genuine ones of the other's."""
    found: list[Violation] = []
    with _started(folder, material, "sink") as (line, context):
        config = line.config
        announcements = _connected(context, zmq.PUSH, config.announcements_address())
        results = _connected(context, zmq.PUSH, config.results_address())
        line.wait_for(lambda: line.metric("sink", "patchline_store_errors_total") is not None, "sink")
        watch, draw = Watch(line), _damaged(messages(), ToSink, ("cap", "top"))
        sent, wanted = 0, {}
        for number in _numbers(count, seconds):
            dice = random.Random(seed + number)
            parts = [
                draw(dice),
                *(dice.randbytes(dice.choice((0, 7, 288))) for _ in range(dice.choice((0, 0, 3, 3, 1)))),
            ]
            sent += _send(dice.choice((announcements, results)), parts)
            if number % _BETWEEN == 0:
                seq = len(wanted)
                wanted[seq] = dice.choice((Verdict.GOOD, Verdict.DEFECT))
                for socket, message in zip((announcements, results), _part(seq, wanted[seq]), strict=True):
                    _send(socket, [message] if socket is announcements else [message, b"", b"", b""], patient=True)
        if wanted:
            _wait_quietly(lambda: len(line.events("label")) >= len(wanted), 60)
        seen = {event.part.seq: event.part.verdict for event in line.events("label")}
        # In time on any machine: two seconds after it was sent. Genuine parts wait in the same queues as the others.
        if wrong := [seq for seq, verdict in wanted.items() if seen.get(seq) not in (verdict, Verdict.UNINSPECTED)]:
            found.append(
                Violation("part", f"{len(wrong)} of {len(wanted)} genuine parts have another verdict: {wrong[:8]}")
            )
        forged = [
            event.part.seq
            for event in line.events("cap")
            if event.part.verdict is Verdict.GOOD and not _is_sound(event.part.score, event.part.threshold)
        ]
        if forged:
            found.append(Violation("silently good", f"{len(forged)} forged parts: {forged[:8]}"))
        outcome = watch.outcome(sent, len(wanted), found)
        for name, counts in line.ledger().items():
            if not counts.closed or counts.pending:
                outcome.violations.append(Violation("ledger", f"{name}: {counts.summary()}"))
        return outcome


def flood_worker(folder: Path, material: Material, *, seed: int, count: int, seconds: float) -> Flooded:
    """Send a worker damaged frames, all of a defective part, and genuine ones of good and defective parts."""
    found: list[Violation] = []
    bundle = live_bundle(material.bundle)
    width_px, height_px = bundle.info.spec.input_px
    pixels = {
        verdict: network_input(picture, bundle.info.spec.input_px).tobytes()
        for verdict, picture in ((Verdict.GOOD, good_picture(900)), (Verdict.DEFECT, defective_picture(903)))
    }
    with _started(folder, material, "infer", "--worker", "0") as (line, context):
        config = line.config
        frames = _bound(context, zmq.ROUTER, config.frames_address("top"))
        results = _bound(context, zmq.PULL, config.results_address())
        if not frames.poll(60_000):
            return Flooded(0, 0, 0, 0, [Violation("death", f"no credit: {line.output()[-2_000:]}")])
        worker = frames.recv_multipart()[0]
        base = _header(0, bundle.sha256, height_px, width_px)
        watch, draw = Watch(line), _damaged([base], ToWorker, ("cap", bundle.sha256))
        sent, wanted, given = 0, {}, {}
        until = time.monotonic() + seconds

        def drain(wait_ms: int = 0) -> None:
            while frames.poll(0):
                frames.recv_multipart()
            while results.poll(wait_ms):
                message = decode_to_sink(results.recv_multipart()[0])
                if not isinstance(message, Result):
                    continue
                if message.frame.epoch == "genuine":
                    given[message.frame.seq] = message.verdict
                elif message.verdict is Verdict.GOOD:
                    found.append(Violation("silently good", f"forged frame: {message}"[:600]))

        for number in range(count):
            if time.monotonic() > until:
                break
            dice = random.Random(seed + number)
            body = pixels[Verdict.DEFECT]
            body = dice.choice((body, body, body[: dice.randrange(len(body))], b"", body * 2))
            attachments = [[body, b"jpeg"], [body], [], [body, b"", b""]]
            sent += _send(frames, [worker, draw(dice), *dice.choice([attachments[0], *attachments])], patient=True)
            if number % _BETWEEN == 0:
                seq, verdict = len(wanted), dice.choice(list(pixels))
                header = msgspec.structs.replace(_header(seq, bundle.sha256, height_px, width_px), epoch="genuine")
                wanted[seq] = verdict
                _send(frames, [worker, encode(header), pixels[verdict], b"jpeg"], patient=True)
                _wait_quietly(lambda: drain(50) or len(given) == len(wanted), 20)
            drain()
        drain(200)
        if wrong := [seq for seq, verdict in wanted.items() if given.get(seq) not in (verdict, Verdict.UNINSPECTED)]:
            found.append(
                Violation("part", f"{len(wrong)} of {len(wanted)} genuine frames have another verdict: {wrong[:8]}")
            )
        if wanted and list(given.values()).count(Verdict.UNINSPECTED) > len(wanted) // 2:
            found.append(Violation("part", f"most genuine frames are not inspected: {Counter(given.values())}"))
        return watch.outcome(sent, len(wanted), found)


def flood_capture(folder: Path, material: Material, *, seed: int, count: int, seconds: float) -> Flooded:
    """Send a capture process damaged grants of credit, beside a genuine worker that must go on getting frames."""
    found: list[Violation] = []
    sha256 = live_bundle(material.bundle).sha256
    with _started(folder, material, "capture", "--camera", "top") as (line, context):
        config = line.config
        inbox = _bound(context, zmq.PULL, config.announcements_address())
        genuine = _connected(context, zmq.DEALER, config.frames_address("top"))
        forger = _connected(context, zmq.DEALER, config.frames_address("top"))
        if not inbox.poll(60_000):
            return Flooded(0, 0, 0, 0, [Violation("death", f"no report: {line.output()[-2_000:]}")])
        grant = CreditGrant("worker0", "", 0, 2, True, {"cap": (sha256,)})
        _send(genuine, [encode(LineReady())], patient=True)
        watch, draw = Watch(line), _damaged([grant], CreditGrant, ("cap", sha256, "worker0", "worker1"))
        sent, received, numbers, epoch = 0, 0, [], ""

        def serve() -> None:
            nonlocal received, epoch
            while not forger.closed and forger.poll(0):
                forger.recv_multipart()
            while genuine.poll(0):
                message = decode_to_worker(genuine.recv_multipart()[0])
                if isinstance(message, FrameHeader):
                    received, epoch = (received + 1 if message.epoch == epoch else 1), message.epoch
            while inbox.poll(0):
                message = decode_to_sink(inbox.recv_multipart()[0])
                if isinstance(message, Announcement):
                    numbers.append(message.seq)
            totals = msgspec.structs.replace(grant, epoch=epoch, received=received)
            _send(genuine, [encode(totals)])

        for number in _numbers(count, seconds):
            sent += _send(forger, [draw(random.Random(seed + number))], patient=True)
            if number % _BETWEEN == 0:
                serve()
        forger.close(0)
        before = received
        # What the forger was promised runs out: the rest goes to the genuine worker, within a few seconds.
        _wait_quietly(lambda: serve() or received > before + 10, 30)
        if received <= before + 10:
            found.append(Violation("part", f"the genuine worker got {received - before} frames after the flood"))
        missing = sorted(set(range(max(numbers, default=-1) + 1)) - set(numbers))
        if missing or len(numbers) != len(set(numbers)):
            found.append(Violation("numbers", f"{len(numbers)} announced, missing {missing[:8]}"))
        return watch.outcome(sent, received, found)


FLOODS: dict[str, Callable[..., Flooded]] = {"sink": flood_sink, "worker": flood_worker, "capture": flood_capture}


@contextmanager
def _started(folder: Path, material: Material, role: str, *options: str) -> Iterator[tuple[Line, zmq.Context[Any]]]:
    line, context = Line(folder, configuration(material)), zmq.Context()
    line.start(role, str(line.path), *options)
    try:
        yield line, context
    finally:
        line.kill_everything()
        context.destroy(0)


def _connected(context: zmq.Context[Any], kind: int, address: str) -> zmq.Socket[bytes]:
    Path(address.removeprefix("ipc://")).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    socket = context.socket(kind)
    socket.linger = 0
    socket.connect(address)
    return socket


def _bound(context: zmq.Context[Any], kind: int, address: str) -> zmq.Socket[bytes]:
    Path(address.removeprefix("ipc://")).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    socket = context.socket(kind)
    socket.linger = 0
    socket.bind(address)
    return socket


def _send(socket: zmq.Socket[bytes], parts: list[bytes], *, patient: bool = False) -> int:
    """Send one message if the other end takes it; `patient`: give it ten seconds. Returns how many were sent."""
    if not socket.poll(10_000 if patient else 200, zmq.POLLOUT):
        return 0
    socket.send_multipart(parts)
    return 1


def _numbers(count: int, seconds: float) -> Iterator[int]:
    until = time.monotonic() + seconds
    for number in range(count):
        if time.monotonic() > until:
            return
        yield number


def _damaged(genuine: list[Any], kinds: Any, texts: tuple[str, ...]) -> Callable[[random.Random], bytes]:
    """Return what draws damaged messages of those kinds."""
    encoded = [encode(message) for message in genuine if isinstance(message, kinds)]
    trees = [msgspec.msgpack.decode(data[1:]) for data in encoded]

    def draw(dice: random.Random) -> bytes:
        if dice.random() < 0.3:
            return damaged_bytes(dice, dice.choice(encoded), encoded)
        return message_of(damaged_tree(dice, dice.choice(trees), texts=(*texts, "GOOD", "DEFECT", "timeout")))

    return draw


def _part(seq: int, verdict: Verdict) -> tuple[bytes, bytes]:
    """Return a genuine part of station `label`: its announcement and its result."""
    clock, now = local_clock(), now_ns()
    header = msgspec.structs.replace(_header(seq, "ab" * 32, 96, 96), station="label", captured_ns=now)
    result = Result(
        frame=header,
        worker="worker0",
        verdict=verdict,
        stamps=ResultStamps(now, now, 1, 1, 1, 1, now),
        clock=clock,
        score=1.0 if verdict is Verdict.GOOD else 20.0,
        threshold=10.0,
        pixel_threshold=8.0,
    )
    announcement = Announcement(
        station="label",
        seq=seq,
        captured_ns=now,
        deadline_ns=now + 2_000_000_000,
        clock=clock,
        epoch=header.epoch,
        bundle_sha256=header.bundle_sha256,
    )
    return encode(announcement), encode(result)


def _header(seq: int, bundle_sha256: str, height_px: int, width_px: int) -> FrameHeader:
    now = now_ns()
    return FrameHeader(
        station="cap",
        seq=seq,
        captured_ns=now,
        deadline_ns=now + 3_600_000_000_000 if seq == 0 else now + 20_000_000_000,
        mode="triggered",
        bundle_sha256=bundle_sha256,
        height_px=height_px,
        width_px=width_px,
        region_px=(width_px, height_px),
        siblings=1,
        epoch="forged",
        stamps=FrameStamps(now, now, now),
        clock=local_clock(),
    )


def _is_sound(score: float | None, threshold: float | None) -> bool:
    """Whether these can belong to a GOOD part; NaN compares with nothing."""
    return score is not None and threshold is not None and score <= threshold < float("inf")


def _wait_quietly(condition: Callable[[], object], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
