"""What do a frame's pixels cost between capture and worker: copied by ZeroMQ, without its copies, or in shared memory?

Two processes, one ipc connection (ROUTER to DEALER, as on the line), network inputs at a steady rate. `copied`: bytes
in, bytes out, as on the line. `uncopied`: ZeroMQ takes the array and hands over its own memory. `shared memory`: a
ring of slots that capture fills and the worker copies from, only the slot's place goes through ZeroMQ. The ways take
turns, several rounds; the median is shown. Processor time is that of both processes, their I/O threads included.

    .venv/bin/python benchmarks/frame_transport.py [--rate 50] [--frames 300] [--rounds 5]
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import NamedTuple

import numpy as np
import zmq
from conditions import conditions, report
from rich.progress import track
from rich.table import Table

#: Network inputs: one of 224 px, and 4 × 3 tiles of 224 px; (height, width, 3).
SIZES = {"224 × 224 px": (224, 224, 3), "4 × 3 tiles of 224 px": (672, 896, 3)}
WAYS = ("copied", "uncopied", "shared memory")
SLOTS = 8


class Cost(NamedTuple):
    """Of one frame: processor time of both processes, and median and 99th percentile from sending to having it."""

    capture_ms: float
    worker_ms: float
    p50_ms: float
    p99_ms: float


def main() -> None:
    """Print one row for each size and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=50.0, help="frames per second")
    parser.add_argument("--frames", type=int, default=300, help="of one round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    table = Table("network input", "way", "capture, ms of a core", "worker, ms of a core", "p50 ms", "p99 ms")
    turns = [(name, way) for _ in range(options.rounds) for name in SIZES for way in WAYS]
    costs: dict[tuple[str, str], list[Cost]] = {}
    for name, way in track(turns, description="rounds"):
        costs.setdefault((name, way), []).append(measure(SIZES[name], way, options.rate, options.frames))
    for (name, way), found in costs.items():
        middle = [float(np.median(values)) for values in zip(*found, strict=True)]
        table.add_row(name, way, *(f"{value:.2f}" for value in middle))
    report(
        "frame_transport",
        "A frame's pixels from capture to a worker",
        f"python benchmarks/frame_transport.py --rate {options.rate:g} --frames {options.frames} "
        f"--rounds {options.rounds}",
        conditions("pyzmq", "numpy"),
        table,
        f"Median of {options.rounds} rounds of {options.frames} frames at {options.rate:g} a second.",
    )


def measure(shape: tuple[int, ...], way: str, rate_hz: float, frames: int) -> Cost:
    """Send frames to a process of its own."""
    size = int(np.prod(shape))
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    ring = SharedMemory(create=True, size=SLOTS * size)
    ring.buf[:] = bytes(SLOTS * size)
    here, there = multiprocessing.Pipe()
    with tempfile.TemporaryDirectory() as folder, zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        address = f"ipc://{Path(folder, 'frames')}"
        socket.bind(address)
        worker = multiprocessing.Process(target=receive, args=(address, way, frames, size, ring.name, there))
        worker.start()
        identity, _ = socket.recv_multipart()
        begun_s, used_s = time.monotonic(), processor_s()
        for number in range(frames):
            time.sleep(max(0.0, begun_s + number / rate_hz - time.monotonic()))
            made = picture.copy()  # each frame is another array
            stamp = time.monotonic_ns().to_bytes(8, "little")
            if way == "copied":
                socket.send_multipart([identity, stamp, made.tobytes()])
            elif way == "uncopied":
                socket.send_multipart([identity, stamp, made], copy=False)
            else:
                place = number % SLOTS * size
                np.frombuffer(ring.buf, np.uint8, size, place)[:] = made.ravel()
                socket.send_multipart([identity, stamp, place.to_bytes(8, "little")])
        worker_ms, p50_ms, p99_ms = here.recv()
        capture_ms = 1e3 * (processor_s() - used_s) / frames
        worker.join()
    ring.close()
    ring.unlink()
    return Cost(capture_ms, worker_ms, p50_ms, p99_ms)


def receive(address: str, way: str, frames: int, size: int, ring_name: str, results: Connection) -> None:
    """Receive the frames, and send what they cost."""
    ring = SharedMemory(ring_name)
    delays_ms = []
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.connect(address)
        socket.send(b"ready")
        used_s = processor_s()
        for _ in range(frames):
            if way == "uncopied":
                stamp, pixels = (part.buffer for part in socket.recv_multipart(copy=False))
                picture = np.frombuffer(pixels, np.uint8)
            else:
                stamp, pixels = socket.recv_multipart()
                picture = np.frombuffer(pixels, np.uint8)
                if way == "shared memory":  # the slot is filled anew while the worker computes
                    picture = np.frombuffer(ring.buf, np.uint8, size, int.from_bytes(pixels, "little")).copy()
            delays_ms.append((time.monotonic_ns() - int.from_bytes(stamp, "little")) / 1e6)
            assert picture.size == size
            del picture
    p50_ms, p99_ms = np.percentile(delays_ms, [50, 99])
    results.send((1e3 * (processor_s() - used_s) / frames, float(p50_ms), float(p99_ms)))
    ring.close()


def processor_s() -> float:
    """Return the processor time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
