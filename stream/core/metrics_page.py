"""A process's page of metrics for Prometheus."""

from __future__ import annotations

from prometheus_client import REGISTRY, MetricsHandler

from stream.core.errors import TransportError
from stream.core.http_server import HttpHandler, HttpServer


class _Page(HttpHandler, MetricsHandler):
    """Answers with all metrics of this process."""

    registry = REGISTRY

    def do_GET(self) -> None:  # noqa: N802 - the library's name
        self.note_whole()
        super().do_GET()


def serve(address: tuple[str, int] | None) -> None:
    """Serve this process's metrics at `address` (host, port); None switches them off. Raises TransportError.

    The page can fail alone: its connections, their threads and their time are bounded.
    """
    if address is None:
        return
    host, port = address
    try:
        server = HttpServer("metrics", (host, port), _Page)
    except OSError as error:
        raise TransportError(
            f"metrics.listen: cannot listen on {host}:{port}: {error.strerror}; "
            "is another line running? Choose another port or stop it"
        ) from None
    server.start("metrics")
