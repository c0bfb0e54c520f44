"""Everything PatchLine raises on purpose.

::

    PatchLineError                 one line for the user, exit code 2
    ├── ConfigError                a file of options says something impossible
    ├── DatasetError               images that cannot be learned from or evaluated
    ├── DiskError                  a file that cannot be written: no room, or no rights
    ├── BundleError                a model file that cannot be trusted
    ├── WeightsError               backbone weights that are not there, or not the expected ones
    ├── CameraError                a camera or file that cannot be opened
    ├── LineFailed                 a running line had to be stopped, exit code 1
    ├── ReloadError                a running line keeps its bundle, exit code 1
    ├── ConflictError              a request that contradicts the present state, exit code 1
    ├── StoreError                 the event store cannot be used
    │   └── UnfitValueError        a value that no store can hold: trying again is in vain
    ├── MissingExtra               an optional part that is not installed
    └── TransportError             sockets: an address in use, a role started twice
        └── WireError              a message that is malformed or from another version

    FrameFault                     one frame cannot be inspected; carries the cause, never ends a process
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream.core.verdict import Cause

#: Exit code for everything that a restart would not mend; the supervisor does not restart the process.
EXIT_USAGE = 2


class PatchLineError(Exception):
    """An error for the user: what is wrong, where, and how to mend it, in one line."""

    exit_code = EXIT_USAGE


class ConfigError(PatchLineError):
    """The configuration says something impossible."""


class DatasetError(PatchLineError):
    """The images cannot be used as requested."""


class DiskError(PatchLineError):
    """A file or folder cannot be written: the disk is full, or the permissions are missing."""


class BundleError(PatchLineError):
    """The bundle cannot be read or must not be trusted."""


class WeightsError(PatchLineError):
    """The backbone's weights are missing or differ from those the bundle was fitted with."""


class CameraError(PatchLineError):
    """A camera cannot be opened."""


class LineFailed(PatchLineError):  # noqa: N818 - said of the line, not of the program
    """A running line had to be stopped; the reason is in its log."""

    exit_code = 1


class ReloadError(PatchLineError):
    """A running line did not take a new bundle and keeps the one that it has."""

    exit_code = 1


class ConflictError(PatchLineError):
    """The request contradicts the present state: another job is running, or a change is no longer kept."""

    exit_code = 1


class StoreError(PatchLineError):
    """The event store cannot be opened, read or written."""


class UnfitValueError(StoreError):
    """A value does not fit into any event store, so that trying again is in vain."""


class MissingExtra(PatchLineError):  # noqa: N818 - said of the installation
    """An optional package is not installed."""


class TransportError(PatchLineError):
    """A socket cannot be opened as configured."""


class WireError(TransportError):
    """A message is malformed or speaks another version of the wire."""


class FrameFault(Exception):  # noqa: N818 - a verdict in the making, not a failure of the program
    """One frame that cannot be inspected.

    Attributes:
        cause: why, from the closed list of causes.
        detail: one line for the event store.
    """

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail
