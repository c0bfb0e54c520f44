"""Checking passwords: in a thread apart, one at a time, with a short queue: no other request waits for it."""

from __future__ import annotations

import asyncio
import functools
import secrets
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

#: Checks in hand or waiting beyond which a stranger is turned away, and a browser or address that is known.
_STRANGERS, _KNOWN = 4, 12


class TooManyLogins(Exception):  # noqa: N818 - said of the moment
    """More passwords wait than can be checked soon."""


class PasswordCheck:
    """One check by argon2 takes 64 MiB and a core; call it in the event loop's thread only."""

    def __init__(self, hasher: PasswordHasher) -> None:
        """Check hashes as `hasher` makes them."""
        self._hasher = hasher
        self._thread = ThreadPoolExecutor(1, "passwords")
        self._waiting = 0

    async def right(self, stored: str | None, password: str, *, known: bool) -> bool:
        """Whether a password is that of the hash `stored`; None takes as long and is false.

        Args:
            stored: hash of the configuration; None: there is no such user.
            password: as given.
            known: the sender has logged in before, and is not kept waiting by strangers.

        Raises:
            TooManyLogins: at once.
        """
        if self._waiting >= (_KNOWN if known else _STRANGERS):
            raise TooManyLogins
        self._waiting += 1
        done = self._thread.submit(self._verify, stored, password)
        # It is counted until it is done, also where the client has gone meanwhile.
        future = asyncio.wrap_future(done)
        future.add_done_callback(self._ended)
        return await asyncio.shield(future)

    def close(self) -> None:
        """End the thread after the check in hand."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _ended(self, _future: asyncio.Future[bool]) -> None:
        self._waiting -= 1

    def _verify(self, stored: str | None, password: str) -> bool:
        # An unknown name takes as long as a known one, so that the time does not tell which names exist.
        try:
            right = self._hasher.verify(stored or _hash_of_nobody(self._hasher), password)
        except (Argon2Error, InvalidHashError, UnicodeEncodeError):
            return False
        return right and stored is not None


@functools.cache
def _hash_of_nobody(hasher: PasswordHasher) -> str:
    return hasher.hash(secrets.token_hex())
