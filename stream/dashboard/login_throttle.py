"""How often a password may be tried. Pure: the value of a monotonic clock is passed in.

A stranger can slow down nobody but whoever has the same address: each pair of sender and name has its own attempts. A
browser or address from which somebody has logged in before is a sender of its own, which no limit of others touches.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from stream.core.token_bucket import TokenBuckets

#: Attempts of a sender for one name before the first wait.
_FREE = 5
#: Waits after these, in seconds: the first, which doubles with every further attempt, and the longest.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 10.0, 300.0
#: Time without attempts after which earlier ones are forgotten, in seconds.
_FORGOTTEN_S = 3600.0
#: Attempts of strangers at once from one address for all names, for one name from all addresses, and the intervals
#: of further ones, in seconds.
_OF_ADDRESS, _ADDRESS_S = 30, 10.0
_OF_NAME, _NAME_S = 60, 5.0
_REMEMBERED = 10_000


class Sender(NamedTuple):
    """Who tries a password.

    Attributes:
        key: the browser that is known, else the address.
        known: somebody has logged in from there under this name.
    """

    key: str
    known: bool


class _Tried(NamedTuple):
    attempts: int
    last_s: float
    next_s: float


class LoginThrottle:
    """The attempts of all senders; used by one thread at a time."""

    def __init__(self) -> None:
        self._tried: OrderedDict[tuple[str, str], _Tried] = OrderedDict()
        self._addresses = TokenBuckets(_OF_ADDRESS, 1 / (_ADDRESS_S * 1e9), max_keys=_REMEMBERED)
        self._names = TokenBuckets(_OF_NAME, 1 / (_NAME_S * 1e9), max_keys=_REMEMBERED)

    def wait_s(self, sender: Sender, name: str, now_s: float) -> float:
        """Take one attempt and return 0, or return the seconds until there is one."""
        pair = sender.key, name
        tried = self._tried.pop(pair, _Tried(0, now_s, now_s))
        if now_s - tried.last_s > _FORGOTTEN_S:
            tried = _Tried(0, now_s, now_s)
        wait_s = max(tried.next_s - now_s, 0.0 if sender.known else self._strangers_wait_s(sender.key, name, now_s))
        if wait_s <= 0:
            attempts = tried.attempts + 1
            pause_s = 0.0
            if attempts >= _FREE:
                # The exponent is bounded before the power is computed.
                pause_s = min(_FIRST_WAIT_S * 2.0 ** min(attempts - _FREE, 10), _LONGEST_WAIT_S)
            tried = _Tried(attempts, now_s, now_s + pause_s)
            if not sender.known:
                self._addresses.take(sender.key, 1)
                self._names.take(name, 1)
        self._tried[pair] = tried
        while len(self._tried) > _REMEMBERED:
            self._tried.popitem(last=False)
        return max(wait_s, 0.0)

    def forget(self, sender: Sender, name: str) -> None:
        """Give the attempts back, after the right password."""
        self._tried.pop((sender.key, name), None)
        if not sender.known:
            self._addresses.forget(sender.key)

    def _strangers_wait_s(self, address: str, name: str, now_s: float) -> float:
        now_ns = round(now_s * 1e9)
        of_address = (1 - self._addresses.available(address, now_ns)) * _ADDRESS_S
        return max(of_address, (1 - self._names.available(name, now_ns)) * _NAME_S)
