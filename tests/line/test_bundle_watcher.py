from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stream.core.errors import BundleError
from stream.core.files import file_sha256
from stream.line.bundle_watcher import BundleUpdate, BundleWatcher
from stream.line.sections import StationOptions

GENEROUS_S = 20.0


class WatchedBundle:
    """A watcher of watched station, whose bundle is any file."""

    def __init__(self, folder: Path, *, watch: bool = False) -> None:
        self.path = folder / "cap.safetensors"
        self.path.write_bytes(b"first")
        self.known = {file_sha256(self.path)}
        self.requested = threading.Event()
        station = StationOptions.model_validate(
            {"camera": "top", "bundle": str(self.path), "watch": watch}, context={"folder": folder}
        )
        self.watcher: BundleWatcher[bytes] = BundleWatcher(
            {"cap": station},
            self.requested,
            load=self._load,
            knows=lambda _station, bundle_sha256: bundle_sha256 in self.known,
            request=lambda: "request 1",
        )
        self.watcher.start()

    def _load(self, _station: str) -> tuple[str, bytes]:
        content = self.path.read_bytes()
        if content == b"bad":
            raise BundleError(f"{self.path}: bad")
        if content == b"worse":
            raise ZeroDivisionError
        return file_sha256(self.path), content

    def replace(self, content: bytes) -> None:
        partial = self.path.with_suffix(".new")
        partial.write_bytes(content)
        partial.replace(self.path)

    def updates(self) -> BundleUpdate[bytes]:
        until_s = time.monotonic() + GENEROUS_S
        while time.monotonic() < until_s:
            if updates := self.watcher.updates():
                assert len(updates) == 1
                return updates[0]
            time.sleep(0.01)
        raise AssertionError("no update")


@pytest.fixture
def watch_bundle(tmp_path: Path) -> Callable[..., WatchedBundle]:
    return lambda **options: WatchedBundle(tmp_path, **options)


def test_a_requested_bundle_is_read_and_the_update_has_the_request_id(watch_bundle: Callable[..., WatchedBundle]):
    watched = watch_bundle()
    watched.replace(b"second")
    watched.requested.set()
    assert watched.updates() == BundleUpdate("cap", file_sha256(watched.path), b"second", None, "request 1")


def test_a_known_file_is_not_read_again_but_reported(watch_bundle: Callable[..., WatchedBundle]):
    watched = watch_bundle()
    watched.requested.set()
    assert watched.updates() == BundleUpdate("cap", file_sha256(watched.path), None, None, "request 1")


@pytest.mark.parametrize(("content", "error"), [(b"bad", "cap.safetensors: bad"), (b"worse", "ZeroDivisionError")])
def test_a_file_that_cannot_be_used_is_reported_and_the_next_one_is_read(
    watch_bundle: Callable[..., WatchedBundle], content: bytes, error: str
):
    watched = watch_bundle()
    watched.replace(content)
    watched.requested.set()
    update = watched.updates()
    assert (update.bundle_sha256, update.loaded) == (file_sha256(watched.path), None)
    assert error in str(update.error)
    watched.replace(b"second")
    watched.requested.set()
    assert watched.updates().loaded == b"second"


def test_a_missing_file_is_reported(watch_bundle: Callable[..., WatchedBundle]):
    watched = watch_bundle()
    watched.path.unlink()
    watched.requested.set()
    update = watched.updates()
    assert (update.bundle_sha256, update.loaded) == ("", None)
    assert "No such file" in str(update.error)


def test_a_watched_file_is_read_when_it_was_replaced_and_without_a_request(watch_bundle: Callable[..., WatchedBundle]):
    watched = watch_bundle(watch=True)
    watched.replace(b"second")
    assert watched.updates() == BundleUpdate("cap", file_sha256(watched.path), b"second", None, None)


def test_a_file_is_read_again_on_recheck(watch_bundle: Callable[..., WatchedBundle]):
    watched = watch_bundle()
    watched.replace(b"second")
    watched.watcher.recheck("cap")
    assert watched.updates().loaded == b"second"
