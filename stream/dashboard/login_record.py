"""What logins leave behind a restart: sessions that were ended, and addresses from which a user has logged in.

One small JSON file, written by the dashboard alone and whole at each change.
"""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec

from stream.core.errors import ConfigError
from stream.core.files import write_atomically

#: Name of the file below the line's state.
FILE_NAME = "dashboard.logins.json"
#: Time for which an ended session is remembered, in seconds: far more than one lasts, should the clock be set.
_ENDED_S = 30 * 86_400
#: Addresses remembered of a user, the latest.
_ADDRESSES = 16


class _Content(msgspec.Struct):
    ended: dict[str, float] = {}
    addresses: dict[str, list[str]] = {}


class LoginRecord:
    """The open record; any thread may call."""

    def __init__(self, path: Path) -> None:
        """Read the file, if there is one. Raises ConfigError where it is damaged."""
        self._path = path
        self._turn = threading.Lock()
        try:
            self._content = msgspec.json.decode(path.read_bytes(), type=_Content)
        except FileNotFoundError:
            self._content = _Content()
        except (OSError, msgspec.MsgspecError) as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from None

    @property
    def ended(self) -> list[str]:
        """The ids of ended sessions."""
        with self._turn:
            return list(self._content.ended)

    def end(self, session: str, at_s: float) -> None:
        """Remember an ended session. Raises DiskError."""
        with self._turn:
            kept = {old: when_s for old, when_s in self._content.ended.items() if at_s - when_s < _ENDED_S}
            self._content.ended = kept | {session: at_s}
            self._save()

    def knows(self, name: str, address: str) -> bool:
        """Whether a user has logged in from an address."""
        with self._turn:
            return address in self._content.addresses.get(name, ())

    def add_address(self, name: str, address: str) -> None:
        """Remember that a user has logged in from an address. Raises DiskError."""
        with self._turn:
            before = self._content.addresses.get(name, [])
            if before[-1:] == [address]:
                return
            others = [other for other in before if other != address]
            self._content.addresses[name] = [*others, address][-_ADDRESSES:]
            self._save()

    def _save(self) -> None:
        write_atomically(self._path, msgspec.json.encode(self._content))
