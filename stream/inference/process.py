"""The process of one worker. It serves all cameras and stations, and holds every station's memory bank.

The loop grants credit to the cameras and receives frames; sends the results of finished batches to the sink; refuses
frames that would be late and starts the next batch (`policy/batching.py`), which runs in threads (`executor.py`). Idle
time goes to shadow bundles (`shadow.py`). Bundles are loaded and released meanwhile (`bundles.py`).
"""

from __future__ import annotations

import logging
import os
import statistics
from collections import deque
from functools import partial

import numpy as np

from stream.core import metrics
from stream.core.clock import local_clock, now_ns
from stream.core.spots import Ruling
from stream.core.verdict import Cause, Verdict
from stream.inference.bundles import LoadedBundles
from stream.inference.camera_clocks import CameraClocks
from stream.inference.executor import InferenceExecutor, InspectionOutcome
from stream.inference.policy.batching import BatchQueue, QueuedFrame
from stream.inference.policy.good_inputs import GoodInputs
from stream.inference.policy.views import passes_on
from stream.inference.shadow import Shadow
from stream.inference.station_models import load_station_models
from stream.line.config import LineConfig
from stream.line.lifecycle import Role, lower_priority, start_role
from stream.line.locks import lock_owner
from stream.model.patchcore.health import Measures
from stream.model.station_model import InspectedPart
from stream.transport.messages import (
    ClockReply,
    CreditGrant,
    FrameHeader,
    Result,
    ResultStamps,
    ToWorker,
    UnreadFrame,
    WantedBundles,
    WorkerStatus,
)
from stream.transport.pipeline import RESULTS_WAITING, FrameClients, SinkOutbox, UnreadableFrame
from stream.transport.sockets import Received, Sockets, warn_if_unreached

log = logging.getLogger(__name__)

#: Pause between two status messages to the sink.
STATUS_INTERVAL_NS = 250_000_000
#: Longest wait for a frame while no batch is being formed.
IDLE_WAIT_NS = 100_000_000


class InferenceWorker:
    """The state of one worker."""

    def __init__(self, config: LineConfig, index: int, role: Role) -> None:
        """Load every station's bundle, one backbone for all that share it; raises PatchLineError."""
        self.name = config.worker_names[index]
        self.role = role
        options = config.workers[index]
        models = load_station_models(config, index)
        extractors = [model.extractor for model in models.values()]
        self.device = ", ".join(sorted({extractor.device for extractor in extractors}))
        max_batch = min(options.max_batch, max(extractor.useful_batch or options.max_batch for extractor in extractors))
        self.executor = InferenceExecutor(extractors[0].lanes, options.threads)
        self.shadow = Shadow(config, index, models)
        self.bundles = LoadedBundles(config, index, models, self.executor, role.reload)
        self.queue = BatchQueue(max_batch=max_batch, max_wait_ns=int(options.max_wait_ms * 1e6))
        #: Frames of one camera that may wait while others are inspected.
        self.capacity = max(max_batch, self.executor.count) + 1
        self.sockets = Sockets(config.transport.keys)
        addresses = {camera: config.frames_address(camera) for camera in config.cameras}
        self.frame_clients = FrameClients(self.sockets, addresses)
        self.frame_clients.wake_on(self.executor.wake)
        self.clocks = CameraClocks(self.frame_clients, config.cameras)
        self.sink = SinkOutbox(self.sockets, config.results_address(), RESULTS_WAITING)
        listeners = {f"capture-{camera}": address for camera, address in addresses.items()}
        for listener, address in ({"sink": config.results_address()} | listeners).items():
            warn_if_unreached(address, partial(lock_owner, listener, config.state))
        self.stations = {camera: set(config.stations_of(camera)) for camera in config.cameras}
        # A single worker with triggered stations only never needs the idle flag: it gets every frame anyway.
        self.cameras_needing_idle = {
            camera
            for camera in config.cameras
            if len(config.workers) > 1
            or any(station.mode == "freerun" for station in config.stations_of(camera).values())
        }
        #: By camera, capture's epoch and the frames received of it.
        self.received = dict.fromkeys(config.cameras, ("", 0))
        #: By camera, what the last grant said.
        self.last_grants: dict[str, tuple[str, int, bool, int]] = {}
        self.good_inputs = GoodInputs(config.store.good_per_hour, config.store.good_one_in)
        self._durations_ns: deque[int] = deque(maxlen=32)
        self._next_status_ns = 0

    def run(self) -> None:
        """Serve until the process is stopped; then finish the frames that have arrived."""
        self.shadow.start()
        self.role.ready()
        while True:
            self.bundles.step()
            self._grant_credit()
            received = self._receive()
            self._send_outcomes()
            for expired in self.queue.expire(now_ns(), self._needed_ns()):
                self._refuse(expired, Cause.TIMEOUT, "too late to be inspected by its deadline")
            while self.executor.free and (batch := self.queue.take(now_ns())):
                self._start(batch)
            busy = bool(len(self.queue) or self.executor.begun_ns)
            self.shadow.step(idle=not busy)
            self._report_status()
            if self.role.stop.is_set() and not (received or busy):
                break
        self.role.stopping()
        self.sink.send(WorkerStatus(worker=self.name, pid=os.getpid(), device=self.device, ending=True))

    def close(self) -> None:
        """Stop the shadow and close the sockets."""
        self.shadow.end()
        self.sockets.close()

    def _grant_credit(self) -> None:
        """Send each camera this worker's credit whenever it has changed."""
        stopping = self.role.stop.is_set()
        for camera, (epoch, count) in self.received.items():
            waiting = self.queue.count(self.stations[camera])
            grant = CreditGrant(
                worker=self.name,
                epoch=epoch,
                received=count,
                free=0 if stopping else max(0, self.capacity - waiting),
                idle=camera in self.cameras_needing_idle
                and not (stopping or self.executor.begun_ns or len(self.queue)),
                accepts=self.bundles.accepts(self.stations[camera]),
                refused=self.bundles.refused(self.stations[camera]),
            )
            # A frame that has arrived and waits leaves the camera's credit as it was.
            content = (epoch, count + grant.free, grant.idle, self.bundles.version)
            if self.last_grants.get(camera) != content:
                self.last_grants[camera] = content
                self.frame_clients.send_credit(camera, grant)

    def _receive(self) -> bool:
        """Queue the frames that arrive before the next batch is due; returns whether any message arrived."""
        wait_ns = self.queue.wait_ns(now_ns()) if self.executor.free else None
        messages = self.frame_clients.receive(IDLE_WAIT_NS if wait_ns is None else wait_ns)
        for camera, received in messages:
            self._on_message(camera, received)
        for unreadable in self.frame_clients.take_unreadable():
            self._on_unreadable(unreadable)
        return bool(messages)

    def _on_message(self, camera: str, received: Received[ToWorker]) -> None:
        match received.message:
            case WantedBundles():
                self.bundles.on_wanted(received.message)
            case ClockReply():
                self.clocks.on_reply(camera, received.message)
            case FrameHeader():
                self._on_frame(camera, received.message, received.attachments)

    def _count_received(self, camera: str, epoch: str) -> None:
        before, count = self.received[camera]
        self.received[camera] = (epoch, count + 1 if before == epoch else 1)

    def _on_unreadable(self, frame: UnreadableFrame) -> None:
        """Count a frame that cannot be read, so that its credit returns, and report its part if it says which one."""
        name = frame.name
        self._count_received(frame.camera, name.epoch if name else self.received[frame.camera][0])
        if name is not None and name.station in self.stations[frame.camera]:
            message = UnreadFrame(self.name, name.station, name.seq, frame.detail)
            if not self.sink.send(message):
                metrics.DROPPED.labels("result").inc()

    def _on_frame(self, camera: str, header: FrameHeader, attachments: list[bytes]) -> None:
        """Count a frame, then queue or refuse it."""
        self._count_received(camera, header.epoch)
        self.clocks.note(camera, header.clock)
        pixels, view = attachments if len(attachments) == 2 else (b"", b"")
        model = self.bundles.model(header.station, header.bundle_sha256)
        frame = QueuedFrame(
            header=header,
            pixels=pixels,
            view=view,
            deadline_ns=self.clocks.to_local_ns(camera, header.deadline_ns, header.clock),
            received_ns=now_ns(),
            group=model.group if model else "",
        )
        if header.station not in self.stations[camera]:
            self._refuse(frame, Cause.MODEL_MISMATCH, f"worker {self.name} knows no station {header.station}")
            return
        if model is None:
            held = ", ".join(sha256[:12] for sha256 in self.bundles.accepts({header.station})[header.station])
            detail = f"prepared for bundle {header.bundle_sha256[:12]}, worker {self.name} holds {held}"
            self._refuse(frame, Cause.MODEL_MISMATCH, detail)
            return
        width_px, height_px = model.bundle.info.spec.input_px
        if (header.width_px, header.height_px) != (width_px, height_px) or len(pixels) != width_px * height_px * 3:
            detail = (
                f"{len(pixels)} bytes for {header.width_px}×{header.height_px}, the bundle takes {width_px}×{height_px}"
            )
            self._refuse(frame, Cause.WRONG_GEOMETRY, detail)
            return
        replaced = self.queue.add(frame)
        if replaced is not None:
            self._refuse(replaced, Cause.SKIPPED, "a newer frame came")

    def _needed_ns(self) -> int:
        """Expected time to a verdict: a batch's duration, with half as much again for the way to the sink."""
        return int(1.5 * statistics.median(self._durations_ns)) if self._durations_ns else 0

    def _start(self, batch: list[QueuedFrame]) -> None:
        metrics.BATCH_SIZE.labels(self.name).observe(len(batch))
        alone = self.executor.begun_ns is None and not len(self.queue)
        frames, models = [], []
        for frame in batch:
            model = self.bundles.model(frame.header.station, frame.header.bundle_sha256)
            if model is None:
                detail = f"bundle {frame.header.bundle_sha256[:12]} has been released"
                self._refuse(frame, Cause.MODEL_MISMATCH, detail)
            else:
                frames.append(frame)
                models.append(model)
        if frames:
            self.executor.start(frames, models, alone=alone)

    def _send_outcomes(self) -> None:
        """Send a result for each outcome of the executor, and note how long the batches took."""
        outcomes, durations_ns = self.executor.outcomes()
        for outcome in outcomes:
            inspected, measures, ruling = outcome.inspected, outcome.measures, outcome.ruling
            if inspected is None or measures is None or ruling is None:
                self._refuse(outcome.frame, outcome.cause or Cause.WORKER_ERROR, outcome.detail)
            elif not np.isfinite(inspected.inspection.score):
                self._refuse(outcome.frame, Cause.WORKER_ERROR, f"the score is {inspected.inspection.score}")
            else:
                self._send_verdict(outcome, inspected, measures, ruling)
                self.shadow.offer(outcome.frame, outcome.model, inspected, ruling.verdict)
        self._durations_ns.extend(durations_ns)

    def _send_verdict(
        self, outcome: InspectionOutcome, inspected: InspectedPart, measures: Measures, ruling: Ruling
    ) -> None:
        frame, inspection = outcome.frame, inspected.inspection
        thresholds = outcome.model.bundle.info.thresholds
        assert thresholds is not None, "live bundles are calibrated"
        result = Result(
            frame=frame.header,
            worker=self.name,
            verdict=ruling.verdict,
            stamps=ResultStamps(
                received_ns=frame.received_ns,
                taken_ns=outcome.taken_ns,
                preprocess_ns=outcome.preprocess_ns,
                backbone_ns=inspected.backbone_ns,
                search_ns=inspected.search_ns,
                score_ns=inspected.score_ns,
                inspected_ns=outcome.inspected_ns,
            ),
            clock=local_clock(),
            detail=ruling.detail,
            score=inspection.score,
            threshold=thresholds.image,
            pixel_threshold=thresholds.pixel,
            brightness=measures.brightness,
            focus=measures.focus,
            grid=(inspection.distances.shape[0], inspection.distances.shape[1]),
            within_spec=ruling.within_spec,
            rule=ruling.rule,
            spot=ruling.spot,
            spots=ruling.spots,
        )
        wanted = self._is_input_wanted(result)
        view = frame.view if passes_on(frame, kept=wanted, now_ns=now_ns()) else b""
        network_input = frame.pixels if wanted else b""
        self._send(result, [inspection.distances.astype(np.float16).tobytes(), view, network_input])

    def _is_input_wanted(self, result: Result) -> bool:
        """Whether a user may want to learn from a part later: from exactly the pixels that were inspected."""
        if result.verdict is Verdict.DEFECT or result.within_spec:
            return True
        assert result.score is not None, "a GOOD part has a score"
        frame = result.frame
        captured_realtime_ns = frame.captured_ns + frame.clock.realtime_offset_ns
        return self.good_inputs.wants(frame.station, frame.bundle_sha256, frame.seq, result.score, captured_realtime_ns)

    def _refuse(self, frame: QueuedFrame, cause: Cause, detail: str) -> None:
        """Send UNINSPECTED for a frame."""
        now = now_ns()
        result = Result(
            frame=frame.header,
            worker=self.name,
            verdict=Verdict.UNINSPECTED,
            stamps=ResultStamps(frame.received_ns, now, 0, 0, 0, 0, now),
            clock=local_clock(),
            cause=cause,
            detail=detail,
        )
        self._send(result, [b"", frame.view, b""])

    def _send(self, result: Result, attachments: list[bytes]) -> None:
        if not self.sink.send(result, attachments):
            # The sink is away; the part's deadline rejects it.
            metrics.DROPPED.labels("result").inc()

    def _report_status(self) -> None:
        """Several times a second: ask the cameras' clocks, and send the worker's status to the sink.

        Not while a batch hangs: then the sink raises an alarm.
        """
        now = now_ns()
        self.clocks.ask(now)
        begun_ns = self.executor.begun_ns
        hangs = begun_ns is not None and now - begun_ns > STATUS_INTERVAL_NS
        if now < self._next_status_ns or hangs:
            return
        self._next_status_ns = now + STATUS_INTERVAL_NS
        metrics.QUEUE_DEPTH.labels("inbox").set(len(self.queue))
        self.last_grants.clear()  # to be sent again: a camera's process may be new
        status = WorkerStatus(self.name, os.getpid(), self.device, skews_ns=self.clocks.skews_ns())
        self.sink.send(status)


def main(config: LineConfig, index: int) -> None:
    """Run one worker until a signal stops it."""
    role = start_role(config.worker_names[index], config, idle_until_ready=True)
    lower_priority(5)  # capture and sink need little and must be on time; inference takes what is left
    worker = InferenceWorker(config, index, role)
    try:
        worker.run()
    finally:
        worker.close()
