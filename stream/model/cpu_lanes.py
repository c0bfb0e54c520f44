"""Several network inputs side by side on a CPU, each on its own cores.

One input on all cores has its score soonest. But its threads wait for one another in every layer, longer
the more they are disturbed; if several inputs wait, one per core gives more throughput. One more than there
are cores is in progress, so that no core idles between the graphs of another. The results are the same to the
bit.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import faiss

from stream.core.errors import ConfigError

if TYPE_CHECKING:
    import openvino

#: Maximum number of OpenVINO streams, which hold separate activations; beyond it each gets several cores.
_MOST_STREAMS = 8

_here = threading.local()
_first_use = threading.Lock()

T = TypeVar("T")


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def in_lane() -> bool:
    """Return whether the calling thread is one of `Lanes`, which must not wait for another one of them."""
    return hasattr(_here, "number")


class Lanes:
    """Threads that each take one network input, or one batch, from pixels to score. Any thread may call."""

    def __init__(self, threads: int = 0, *, single: bool = False) -> None:
        """Share `threads` cores, or all if it is 0; `single` makes one lane of them all."""
        self.cores = threads or available_cores()
        #: Graphs that compute side by side.
        self.streams = 1 if single else min(self.cores, _MOST_STREAMS)
        self.count = self.streams + (self.streams > 1)
        self._numbers = itertools.count()
        self._pool = ThreadPoolExecutor(self.count, "lane", initializer=self._enter)

    def submit(self, function: Callable[[], object], *, alone: bool = False) -> None:
        """Call the function in the next free lane; `alone` gives its graphs the cores of all lanes."""
        self._pool.submit(self._call, function, alone)

    def map(self, function: Callable[..., T], *arguments: Iterable[Any]) -> Iterator[T]:
        """Call the function for all arguments side by side; yields the results in order, each as soon as possible."""
        return self._pool.map(function, *arguments)

    def everywhere(self, function: Callable[[], object]) -> None:
        """Call the function once in every lane, so that the first part finds it warm."""
        together = threading.Barrier(self.count)

        def call() -> None:
            together.wait()
            function()

        for done in [self._pool.submit(call) for _ in range(self.count)]:
            done.result()

    def _enter(self) -> None:
        _here.number = next(self._numbers)
        faiss.omp_set_num_threads(max(1, self.cores // self.streams))  # of the calling thread only

    def _call(self, function: Callable[[], object], alone: bool) -> None:
        number, _here.number = _here.number, None if alone else _here.number
        try:
            function()
        finally:
            _here.number = number


def _cannot(precision: str) -> ConfigError:
    return ConfigError(
        f"device: OpenVINO cannot compute in {precision} on this processor, and in another precision scores would not "
        "be those of the bundle; fit it with --precision float32"
    )


class Graph:
    """An OpenVINO model for one network input at a time, or for one in each lane."""

    def __init__(
        self,
        core: openvino.Core,
        model: openvino.Model,
        lanes: Lanes,
        *,
        precision: Literal["f32", "bf16"] = "f32",
        **options: str,
    ) -> None:
        """Compile for the CPU: on all cores at once, and if there are several lanes also with a stream for each.

        In `bf16` all up to the last layer that multiplies is rounded to bfloat16: on processors without it by other
        instructions, more slowly. Raises ConfigError where OpenVINO would compute in float32 instead, or not at all.
        """
        import openvino

        with _first_use:
            # What this fills, unguarded, at its first call blocks for ever where two lanes make that call at once: one
            # waits for the other's static, which waits for the interpreter's lock.
            openvino.Type.f32.to_dtype()
        common = {
            # Left to itself OpenVINO computes in bfloat16 on CPUs that have it.
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": lanes.cores,
            # Pinned, the threads of all workers of a host would queue for its first cores.
            "ENABLE_CPU_PINNING": False,
            **options,
        }
        try:
            alone = core.compile_model(model, "CPU", {**common, "NUM_STREAMS": 1})
        except RuntimeError:
            if precision == "f32":
                raise
            raise _cannot(precision) from None
        if alone.get_property("INFERENCE_PRECISION_HINT").to_string() != precision:
            raise _cannot(precision)
        self._alone = alone.create_infer_request()
        self._lanes = [self._alone]
        if lanes.count > 1:
            side_by_side = core.compile_model(model, "CPU", {**common, "NUM_STREAMS": lanes.streams})
            self._lanes = [side_by_side.create_infer_request() for _ in range(lanes.count)]

    def __call__(self, value: Any) -> Any:
        """Return the outputs by their number, in memory that the next call from this lane overwrites."""
        number = getattr(_here, "number", None)
        request = self._alone if number is None else self._lanes[number]
        return request.infer({0: value}, share_inputs=True, share_outputs=True)
