from __future__ import annotations

#: Beyond a station's deadline: until a frame of the bundle before it cannot be on its way any more.
GRACE_NS = 5_000_000_000


class Held:
    """The bundles of one station that a worker holds: the one in use, the one to come, the one before."""

    def __init__(self, bundle: str, *, grace_ns: int, now_ns: int) -> None:
        """Begin with one bundle; release one that is out of use after `grace_ns`."""
        self._grace_ns = grace_ns
        self._needed_ns = {bundle: now_ns}
        self._wanted: tuple[str, ...] | None = None

    @property
    def bundles(self) -> tuple[str, ...]:
        """What is held, the last one loaded at the end."""
        return tuple(self._needed_ns)

    def load(self, bundle: str, now_ns: int) -> None:
        """Hold one more, or the same again."""
        self._needed_ns.pop(bundle, None)
        self._needed_ns[bundle] = now_ns

    def want(self, bundles: tuple[str, ...], now_ns: int) -> None:
        """Take in for which bundles capture cuts, or may soon cut."""
        self._wanted = bundles
        for bundle in bundles:
            self.use(bundle, now_ns)

    def use(self, bundle: str, now_ns: int) -> None:
        """Note that a bundle is needed: a frame cut for it has come."""
        if bundle in self._needed_ns:
            self._needed_ns[bundle] = now_ns

    def release(self, now_ns: int) -> list[str]:
        """Take out, and return, what was not needed for long; never what capture wants or what was loaded last.

        As long as capture was not heard, everything is held.
        """
        if self._wanted is None:
            return []
        newest = self.bundles[-1]
        going = [
            bundle
            for bundle, needed_ns in self._needed_ns.items()
            if bundle not in (*self._wanted, newest) and now_ns - needed_ns >= self._grace_ns
        ]
        for bundle in going:
            del self._needed_ns[bundle]
        return going
