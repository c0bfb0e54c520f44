"""Frames → results: a worker. It serves all cameras and stations, and holds every station's memory bank."""

from __future__ import annotations

import logging
import os
import statistics
from collections import deque

import numpy as np

from stream.core import metrics
from stream.core.clock import local_clock, now_ns, to_local_ns
from stream.core.verdict import Cause, Verdict, verdict_of
from stream.inference.bundles import LoadedBundles
from stream.inference.executor import InferenceExecutor, InspectionOutcome
from stream.inference.policy.batching import BatchQueue, QueuedFrame
from stream.inference.shadow import Shadow
from stream.inference.station_models import load_station_models
from stream.line.config import LineConfig
from stream.line.lifecycle import Role, lower_priority, start_role
from stream.model.patchcore.health import Measures
from stream.model.patchcore.inspector import Inspection
from stream.transport.messages import CreditGrant, FrameHeader, Result, ResultStamps, WantedBundles, WorkerStatus
from stream.transport.pipeline import RESULTS_WAITING, FrameClients, SinkOutbox
from stream.transport.sockets import Sockets

log = logging.getLogger(__name__)

STATUS_INTERVAL_NS = 250_000_000


class InferenceWorker:
    """The state of one worker."""

    def __init__(self, config: LineConfig, index: int, role: Role) -> None:
        """Load every station's bundle, one backbone for all that share it; raises PatchLineError."""
        self.worker = config.worker_names[index]
        self.role = role
        options = config.workers[index]
        judges = load_station_models(config, index)
        devices = {judge.extractor.device for judge in judges.values()}
        self.device = ", ".join(sorted(devices))
        extractors = [judge.extractor for judge in judges.values()]
        max_batch = min(options.max_batch, max(extractor.useful_batch or options.max_batch for extractor in extractors))
        self.executor = InferenceExecutor(extractors[0].lanes, options.threads)
        self.shadow = Shadow(config, index, judges)
        self.bundles = LoadedBundles(config, index, judges, self.executor, role.reload)
        self.inbox = BatchQueue(max_batch=max_batch, max_wait_ns=int(options.max_wait_ms * 1e6))
        #: Frames of a camera that may wait while others are judged.
        self.room = max(max_batch, self.executor.count) + 1
        self.sockets = Sockets(config.transport.keys)
        self.frames = FrameClients(self.sockets, {camera: config.frames_address(camera) for camera in config.cameras})
        self.frames.wake_on(self.executor.wake)
        self.sink = SinkOutbox(self.sockets, config.results_address(), RESULTS_WAITING)
        self.stations = {camera: set(config.stations_of(camera)) for camera in config.cameras}
        # Where every frame must be sent and this is the only worker, nobody asks whether it is idle.
        self.reports_idle_to = {
            camera
            for camera in config.cameras
            if len(config.workers) > 1
            or any(station.mode == "freerun" for station in config.stations_of(camera).values())
        }
        self.received = dict.fromkeys(config.cameras, ("", 0))  # capture's epoch, frames of it
        self.granted: dict[str, tuple[str, int, bool, int]] = {}
        self._took_ns: deque[int] = deque(maxlen=32)
        self._next_status_ns = 0

    def run(self) -> None:
        """Serve until told to stop; then finish what is here."""
        self.shadow.start()
        self.role.ready()
        while True:
            self.bundles.step()
            self._grant()
            wait_ns = self.inbox.wait_ns(now_ns()) if self.executor.free else None
            frames = self.frames.receive(100_000_000 if wait_ns is None else wait_ns)
            for camera, (message, attachments) in frames:
                if isinstance(message, WantedBundles):
                    self.bundles.on_wanted(message)
                else:
                    self._take_in(camera, message, attachments)
            self._answer_judged()
            for late in self.inbox.expire(now_ns(), self._needed_ns()):
                self._refuse(late, Cause.TIMEOUT, "too late to be judged by its deadline")
            while self.executor.free and (batch := self.inbox.take(now_ns())):
                self._start(batch)
            self.shadow.step(idle=not (len(self.inbox) or self.executor.begun_ns))
            self._report_status()
            if self.role.stop.is_set() and not (frames or len(self.inbox) or self.executor.begun_ns):
                break
        self.role.stopping()
        self.sink.send(WorkerStatus(worker=self.worker, pid=os.getpid(), device=self.device, ending=True))

    def close(self) -> None:
        """Close the sockets."""
        self.shadow.end()
        self.sockets.close()

    def _needed_ns(self) -> int:
        """What the next batch is expected to take, with half as much again for the way to the sink."""
        return int(1.5 * statistics.median(self._took_ns)) if self._took_ns else 0

    def _take_in(self, camera: str, header: FrameHeader, attachments: list[bytes]) -> None:
        epoch, count = self.received[camera]
        self.received[camera] = (header.epoch, count + 1 if epoch == header.epoch else 1)
        pixels, preview_jpeg = attachments if len(attachments) == 2 else (b"", b"")
        judge = self.bundles.model(header.station, header.bundle_sha256)
        frame = QueuedFrame(
            header=header,
            pixels=pixels,
            preview_jpeg=preview_jpeg,
            deadline_ns=to_local_ns(header.deadline_ns, header.clock, local_clock()),
            received_ns=now_ns(),
            group=judge.group if judge else "",
        )
        if header.station not in self.stations[camera]:
            self._refuse(frame, Cause.MODEL_MISMATCH, f"worker {self.worker} knows no station {header.station}")
            return
        if judge is None:
            held = ", ".join(bundle[:12] for bundle in self.bundles.accepts({header.station})[header.station])
            detail = f"cut for bundle {header.bundle_sha256[:12]}, worker {self.worker} holds {held}"
            self._refuse(frame, Cause.MODEL_MISMATCH, detail)
            return
        size_px = judge.bundle.info.spec.size_px
        if (header.height_px, header.width_px) != (size_px, size_px) or len(pixels) != size_px * size_px * 3:
            detail = (
                f"{len(pixels)} bytes for {header.width_px}×{header.height_px}, the bundle takes {size_px}×{size_px}"
            )
            self._refuse(frame, Cause.WRONG_GEOMETRY, detail)
            return
        displaced = self.inbox.add(frame)
        if displaced is not None:
            self._refuse(displaced, Cause.SKIPPED, "a newer frame came")

    def _start(self, batch: list[QueuedFrame]) -> None:
        metrics.BATCH_SIZE.labels(self.worker).observe(len(batch))
        alone = self.executor.begun_ns is None and not len(self.inbox)
        held = [(frame, self.bundles.model(frame.header.station, frame.header.bundle_sha256)) for frame in batch]
        for frame in (frame for frame, judge in held if judge is None):
            self._refuse(frame, Cause.MODEL_MISMATCH, f"bundle {frame.header.bundle_sha256[:12]} has been released")
        judged = [(frame, judge) for frame, judge in held if judge is not None]
        if judged:
            self.executor.start([frame for frame, _ in judged], [judge for _, judge in judged], alone=alone)

    def _answer_judged(self) -> None:
        outcomes, took_ns = self.executor.outcomes()
        for outcome in outcomes:
            if outcome.judged is None or outcome.seen is None:
                self._refuse(outcome.frame, outcome.cause or Cause.WORKER_ERROR, outcome.detail)
            elif not np.isfinite(outcome.judged.inspection.score):
                self._refuse(outcome.frame, Cause.WORKER_ERROR, f"the score is {outcome.judged.inspection.score}")
            else:
                stamps = ResultStamps(
                    received_ns=outcome.frame.received_ns,
                    taken_ns=outcome.taken_ns,
                    preprocess_ns=outcome.preprocess_ns,
                    backbone_ns=outcome.judged.backbone_ns,
                    search_ns=outcome.judged.search_ns,
                    score_ns=outcome.judged.score_ns,
                    judged_ns=outcome.judged_ns,
                )
                verdict = self._send_verdict(outcome, outcome.judged.inspection, outcome.seen, stamps)
                self.shadow.offer(outcome.frame, outcome.judge, outcome.judged, verdict)
        self._took_ns.extend(took_ns)

    def _send_verdict(
        self, outcome: InspectionOutcome, inspection: Inspection, seen: Measures, stamps: ResultStamps
    ) -> Verdict:
        frame, thresholds = outcome.frame, outcome.judge.bundle.info.thresholds
        assert thresholds is not None, "live bundles are calibrated"
        score = inspection.score
        result = Result(
            frame=frame.header,
            worker=self.worker,
            verdict=verdict_of(score, thresholds.image),
            stamps=stamps,
            clock=local_clock(),
            score=score,
            threshold=thresholds.image,
            pixel_threshold=thresholds.pixel,
            brightness=seen.brightness,
            focus=seen.focus,
            grid=(inspection.distances.shape[0], inspection.distances.shape[1]),
        )
        # People may accept a false alarm into the memory bank later: from the very pixels that were judged.
        network_input = frame.pixels if result.verdict is Verdict.DEFECT else b""
        self._send(result, [inspection.distances.astype(np.float16).tobytes(), frame.preview_jpeg, network_input])
        return result.verdict

    def _refuse(self, frame: QueuedFrame, cause: Cause, detail: str) -> None:
        now = now_ns()
        stamps = ResultStamps(frame.received_ns, now, 0, 0, 0, 0, now)
        result = Result(
            frame=frame.header,
            worker=self.worker,
            verdict=Verdict.UNINSPECTED,
            stamps=stamps,
            clock=local_clock(),
            cause=cause,
            detail=detail,
        )
        self._send(result, [b"", frame.preview_jpeg, b""])

    def _send(self, result: Result, attachments: list[bytes]) -> None:
        if not self.sink.send(result, attachments):
            # The sink is away; the part's deadline rejects it.
            metrics.DROPPED.labels("result").inc()

    def _grant(self) -> None:
        """Tell each camera how much this worker takes, whenever that has changed."""
        for camera, (epoch, count) in self.received.items():
            waiting = self.inbox.count(self.stations[camera])
            grant = CreditGrant(
                worker=self.worker,
                epoch=epoch,
                received=count,
                free=0 if self.role.stop.is_set() else max(0, self.room - waiting),
                idle=camera in self.reports_idle_to
                and not (self.role.stop.is_set() or self.executor.begun_ns or len(self.inbox)),
                accepts=self.bundles.accepts(self.stations[camera]),
                refused=self.bundles.refused(self.stations[camera]),
            )
            # A frame that has come and waits leaves the camera's credit as it was.
            said = (epoch, count + grant.free, grant.idle, self.bundles.version)
            if self.granted.get(camera) != said:
                self.granted[camera] = said
                self.frames.grant(camera, grant)

    def _report_status(self) -> None:
        now = now_ns()
        begun_ns = self.executor.begun_ns
        stuck = begun_ns is not None and now - begun_ns > STATUS_INTERVAL_NS  # if for long, the sink raises an alarm
        if now < self._next_status_ns or stuck:
            return
        self._next_status_ns = now + STATUS_INTERVAL_NS
        metrics.QUEUE_DEPTH.labels("inbox").set(len(self.inbox))
        self.granted.clear()  # said again: a camera's process may be new
        self.sink.send(WorkerStatus(worker=self.worker, pid=os.getpid(), device=self.device))


def main(config: LineConfig, index: int) -> None:
    """Run one worker until a signal stops it."""
    role = start_role(config.worker_names[index], config)
    lower_priority(5)  # capture and sink are light and must be on time; inference takes what is left
    worker = InferenceWorker(config, index, role)
    try:
        worker.run()
    finally:
        worker.close()
