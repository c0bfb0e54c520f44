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


class Reading:
    """A watcher of one station, whose bundle is any file."""

    def __init__(self, folder: Path, *, watch: bool = False) -> None:
        self.path = folder / "cap.safetensors"
        self.path.write_bytes(b"first")
        self.known = {file_sha256(self.path)}
        self.asked = threading.Event()
        station = StationOptions.model_validate(
            {"camera": "top", "bundle": str(self.path), "watch": watch}, context={"folder": folder}
        )
        self.watcher: BundleWatcher[bytes] = BundleWatcher(
            {"cap": station},
            self.asked,
            load=self._load,
            knows=lambda _station, bundle: bundle in self.known,
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
def reading(tmp_path: Path) -> Callable[..., Reading]:
    return lambda **options: Reading(tmp_path, **options)


def test_what_is_asked_for_is_read_and_the_request_named(reading: Callable[..., Reading]):
    one = reading()
    one.replace(b"second")
    one.asked.set()
    assert one.updates() == BundleUpdate("cap", file_sha256(one.path), b"second", None, "request 1")


def test_a_known_file_is_not_read_again_but_answered(reading: Callable[..., Reading]):
    one = reading()
    one.asked.set()
    assert one.updates() == BundleUpdate("cap", file_sha256(one.path), None, None, "request 1")


@pytest.mark.parametrize(("content", "error"), [(b"bad", "cap.safetensors: bad"), (b"worse", "ZeroDivisionError")])
def test_a_file_that_cannot_be_used_is_an_answer_and_the_next_one_is_read(
    reading: Callable[..., Reading], content: bytes, error: str
):
    one = reading()
    one.replace(content)
    one.asked.set()
    update = one.updates()
    assert (update.bundle_sha256, update.loaded) == (file_sha256(one.path), None)
    assert error in str(update.error)
    one.replace(b"second")
    one.asked.set()
    assert one.updates().loaded == b"second"


def test_a_file_that_is_not_there_is_an_answer(reading: Callable[..., Reading]):
    one = reading()
    one.path.unlink()
    one.asked.set()
    update = one.updates()
    assert (update.bundle_sha256, update.loaded) == ("", None)
    assert "No such file" in str(update.error)


def test_a_watched_file_is_read_when_it_was_replaced_and_without_a_request(reading: Callable[..., Reading]):
    one = reading(watch=True)
    one.replace(b"second")
    assert one.updates() == BundleUpdate("cap", file_sha256(one.path), b"second", None, None)


def test_a_file_is_looked_at_when_it_is_recheck(reading: Callable[..., Reading]):
    one = reading()
    one.replace(b"second")
    one.watcher.recheck("cap")
    assert one.updates().loaded == b"second"
