"""Whether a camera's parts are announced at all: parts without an announcement have no verdict. Pure."""

from __future__ import annotations

from collections.abc import Iterable

#: Time without an announcement, while there is evidence of parts, until the alarm, ns.
_GRACE_NS = 2_000_000_000
#: Frames, or results, that must have come since the last announcement.
_EVIDENCE = 3


class AnnouncementWatch:
    """Compares each camera's announcements with what else is received about its parts."""

    def __init__(self, cameras: Iterable[str]) -> None:
        self._since_ns: dict[str, int | None] = dict.fromkeys(cameras)
        self._count: dict[str, int] = dict.fromkeys(self._since_ns, 0)
        self._last_frame_ns: dict[str, int | None] = dict.fromkeys(self._since_ns)

    def announced(self, camera: str) -> None:
        """Note an announcement."""
        self._since_ns[camera] = None
        self._count[camera] = 0

    def unannounced_result(self, camera: str, now_ns: int) -> None:
        """Note a result for a part that has not been announced."""
        self._note(camera, now_ns)

    def status(self, camera: str, last_frame_ns: int | None, now_ns: int) -> None:
        """Note a camera's status, which tells when its newest frame came."""
        if last_frame_ns is None or last_frame_ns == self._last_frame_ns[camera]:
            return
        self._last_frame_ns[camera] = last_frame_ns
        self._note(camera, now_ns)

    def _note(self, camera: str, now_ns: int) -> None:
        if self._since_ns[camera] is None:
            self._since_ns[camera] = now_ns
        self._count[camera] += 1

    def missing(self, camera: str, now_ns: int) -> bool:
        """Whether parts of a camera pass without being announced."""
        since_ns = self._since_ns[camera]
        return since_ns is not None and now_ns - since_ns >= _GRACE_NS and self._count[camera] >= _EVIDENCE
