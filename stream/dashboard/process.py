"""Live feed and event store → browsers: the line on a screen. It reads, and nothing waits for it."""

from __future__ import annotations

from stream.core.errors import MissingExtra
from stream.line.config import LineConfig
from stream.line.lifecycle import lower_priority, start_role


def main(config: LineConfig) -> None:
    """Serve the dashboard until a signal stops it."""
    role = start_role("dashboard", config, idle_until_ready=True)
    lower_priority(10)  # the line has priority
    try:
        from stream.dashboard.server import serve
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"the dashboard needs the package {error.name}: pip install 'patchline[dashboard]', "
            "or set dashboard.enabled: false"
        ) from None
    serve(config, role.ready, role.stop)
    role.stopping()
