"""Which bundles of a station a worker holds in memory, and when one of them is released."""

from __future__ import annotations

#: Time beyond a station's deadline after which no frame prepared for the previous bundle can still arrive.
GRACE_NS = 5_000_000_000


class HeldBundles:
    """One station's bundles in a worker: in use, proposed, previous. Pure: the clock is passed in."""

    def __init__(self, bundle_sha256: str, *, grace_ns: int, now_ns: int) -> None:
        """Begin with one bundle; release one that is out of use after `grace_ns`."""
        self._grace_ns = grace_ns
        #: When each bundle was last needed; the last one loaded comes last.
        self._needed_ns = {bundle_sha256: now_ns}
        self._wanted: tuple[str, ...] | None = None

    @property
    def bundle_sha256s(self) -> tuple[str, ...]:
        """The bundles held; the last one loaded comes last."""
        return tuple(self._needed_ns)

    def load(self, bundle_sha256: str, now_ns: int) -> None:
        """Add a bundle, or make one that is held the last one loaded."""
        self._needed_ns.pop(bundle_sha256, None)
        self._needed_ns[bundle_sha256] = now_ns

    def on_wanted(self, bundle_sha256s: tuple[str, ...], now_ns: int) -> None:
        """Note the bundles for which capture prepares frames, or may soon do so."""
        self._wanted = bundle_sha256s
        for bundle_sha256 in bundle_sha256s:
            self.use(bundle_sha256, now_ns)

    def use(self, bundle_sha256: str, now_ns: int) -> None:
        """Note that a bundle is needed: a frame prepared for it has arrived."""
        if bundle_sha256 in self._needed_ns:
            self._needed_ns[bundle_sha256] = now_ns

    def release(self, now_ns: int) -> list[str]:
        """Remove and return the bundles not needed within the grace period.

        A bundle that capture wants and the last one loaded are never released, and none before capture's first message.
        """
        if self._wanted is None:
            return []
        kept = (*self._wanted, self.bundle_sha256s[-1])
        released = [
            bundle_sha256
            for bundle_sha256, needed_ns in self._needed_ns.items()
            if bundle_sha256 not in kept and now_ns - needed_ns >= self._grace_ns
        ]
        for bundle_sha256 in released:
            del self._needed_ns[bundle_sha256]
        return released
