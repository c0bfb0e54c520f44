"""The start of a line of which one role never comes."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from pathlib import Path

from support.running import Line, belt, free_ports, station

from stream.core.verdict import Cause, Verdict


def test_cameras_wait_for_a_worker_so_long_and_then_say_so_and_no_trigger_is_lost_meanwhile(
    make_line: Callable[..., Line], parts_folder: Path, small_bundle: Path
):
    port = free_ports(1)
    line = make_line(
        {
            "cameras": {
                "top": belt(parts_folder, parts=3),
                "side": belt(parts_folder, parts=1000, fps=20, trigger={"kind": "http", "port": port}),
            },
            "stations": {
                "cap": station(small_bundle, deadline_ms=200, reject=None),
                "label": station(small_bundle, camera="side", deadline_ms=200, reject=None),
            },
            "restarts": {"ready_s": 8},
        }
    )
    path = str(line.path)
    line.start("sink", path)
    line.start("capture", path, "--camera", "top")
    line.start("capture", path, "--camera", "side")

    def triggered() -> bool:
        try:
            request = urllib.request.Request(f"http://127.0.0.1:{port}/trigger", b'{"part_id": "early"}')
            with urllib.request.urlopen(request, timeout=2) as answer:
                return answer.status == 202
        except OSError:
            return False

    line.wait_for(triggered, "trigger")
    (early,) = line.wait_for(lambda: line.events("label"), "event of the early part")
    assert (early.part.part_id, early.part.verdict, early.part.cause) == ("early", Verdict.UNINSPECTED, Cause.TIMEOUT)
    assert line.events("cap") == [], "a camera whose parts can wait does wait"

    line.wait_for(lambda: len(line.events("cap")) == 3, "parts after the longest wait")
    assert {event.part.cause for event in line.events("cap")} == {Cause.TIMEOUT}
    alarms = {alarm.subject: alarm.text for alarm in line.alarms() if alarm.kind == "line_not_ready"}
    assert "worker worker0" in alarms["top"]
    assert "begins without the line" in line.output()
