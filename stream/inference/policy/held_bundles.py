from __future__ import annotations

#: Beyond a station's deadline: until a frame of the bundle before it cannot be on its way any more.
GRACE_NS = 5_000_000_000


class Held:
    """The bundles of one station that a worker holds: the one in use, the one to come, the one before."""

    def __init__(self, bundle_sha256: str, *, grace_ns: int, now_ns: int) -> None:
        """Begin with one bundle; release one that is out of use after `grace_ns`."""
        self._grace_ns = grace_ns
        self._needed_ns = {bundle_sha256: now_ns}
        self._wanted: tuple[str, ...] | None = None

    @property
    def bundle_sha256s(self) -> tuple[str, ...]:
        """What is held, the last one loaded at the end."""
        return tuple(self._needed_ns)

    def load(self, bundle_sha256: str, now_ns: int) -> None:
        """Hold one more, or the same again."""
        self._needed_ns.pop(bundle_sha256, None)
        self._needed_ns[bundle_sha256] = now_ns

    def on_wanted(self, bundle_sha256s: tuple[str, ...], now_ns: int) -> None:
        """Take in for which bundles capture cuts, or may soon cut."""
        self._wanted = bundle_sha256s
        for bundle_sha256 in bundle_sha256s:
            self.use(bundle_sha256, now_ns)

    def use(self, bundle_sha256: str, now_ns: int) -> None:
        """Note that a bundle is needed: a frame cut for it has come."""
        if bundle_sha256 in self._needed_ns:
            self._needed_ns[bundle_sha256] = now_ns

    def release(self, now_ns: int) -> list[str]:
        """Take out, and return, what was not needed for long; never what capture wants or what was loaded last.

        As long as capture was not heard, everything is held.
        """
        if self._wanted is None:
            return []
        newest = self.bundle_sha256s[-1]
        going = [
            bundle_sha256
            for bundle_sha256, needed_ns in self._needed_ns.items()
            if bundle_sha256 not in (*self._wanted, newest) and now_ns - needed_ns >= self._grace_ns
        ]
        for bundle_sha256 in going:
            del self._needed_ns[bundle_sha256]
        return going
