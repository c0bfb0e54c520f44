"""The command `patchline`, also as `python -m stream`."""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Handle signals, then load the command and run it."""
    if os.getpid() == 1:
        # The kernel drops a signal to the first process of a container that has no handler for it. Any other process
        # ends by the signal's default until its role has one.
        signal.signal(signal.SIGTERM, lambda number, _frame: os._exit(128 + number))
    from stream.cli.main import main as command

    command()


if __name__ == "__main__":
    main()
