"""Everything PatchLine raises on purpose.

::

    PatchLineError                 one line for the user, exit code 2
    ├── ConfigError                a file of options says something impossible
    ├── DatasetError               pictures that cannot be learned from or evaluated
    ├── BundleError                a model file that cannot be trusted
    ├── WeightsError               backbone weights that are not there, or not the expected ones
    ├── CameraError                a camera or file that cannot be opened
    ├── LineFailed                 a running line had to be stopped, exit code 1
    ├── ReloadError                a running line keeps its bundle, exit code 1
    ├── ConflictError              a request that contradicts the present state, exit code 1
    ├── StoreError                 the event store cannot be used
    ├── MissingExtra               an optional part that is not installed
    └── TransportError             sockets: an address in use, a role started twice
        └── WireError              a message that is malformed or from another version

    FrameFault                     one frame cannot be judged; carries the cause, never ends a process
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream.core.verdict import Cause

#: Exit code for everything that a restart would not mend; the supervisor does not try again.
EXIT_USAGE = 2


class PatchLineError(Exception):
    """An error for a person: what is wrong, where, and how to mend it, in one line."""

    exit_code = EXIT_USAGE


class ConfigError(PatchLineError):
    """The configuration says something impossible."""


class DatasetError(PatchLineError):
    """The pictures cannot be used as asked."""


class BundleError(PatchLineError):
    """The bundle cannot be read or must not be trusted."""


class WeightsError(PatchLineError):
    """The backbone's weights are missing or differ from those the bundle was fitted with."""


class CameraError(PatchLineError):
    """A source of frames cannot be opened."""


class LineFailed(PatchLineError):  # noqa: N818 - said of the line, not of the program
    """A running line had to be stopped; the reason stands in its log."""

    exit_code = 1


class ReloadError(PatchLineError):
    """A running line did not take a new bundle; it goes on with the one it has."""

    exit_code = 1


class ConflictError(PatchLineError):
    """The request contradicts the present state: another job is running, or a change is no longer kept."""

    exit_code = 1


class StoreError(PatchLineError):
    """The event store cannot be opened."""


class MissingExtra(PatchLineError):  # noqa: N818 - said of the installation
    """A package that only some use is not installed."""


class TransportError(PatchLineError):
    """A socket cannot be opened as configured."""


class WireError(TransportError):
    """A message is malformed or speaks another version of the wire."""


class FrameFault(Exception):  # noqa: N818 - a verdict in the making, not a failure of the program
    """One frame that cannot be judged.

    Attributes:
        cause: why, from the closed list of causes.
        detail: one line for the event store.
    """

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail
