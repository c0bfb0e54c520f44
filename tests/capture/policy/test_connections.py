from __future__ import annotations

import pytest

from stream.capture.policy.connections import WorkerConnections


def test_a_worker_may_connect_again_and_again_and_the_oldest_connections_are_forgotten():
    connections = WorkerConnections(["worker0", "worker1"])
    forgotten = [connections.note("worker0", b"%d" % number) for number in range(1000)]
    assert forgotten == [None] * 4 + [b"%d" % number for number in range(996)]
    assert connections.note("worker0", b"999") is None
    assert connections.note("worker1", b"a") is None


def test_a_worker_that_the_line_does_not_have_is_refused():
    with pytest.raises(KeyError):
        WorkerConnections(["worker0"]).note("stranger", b"a")
