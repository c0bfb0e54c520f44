"""Putting a bundle live while a stand-in for the camera's process answers in the line's files, as it is told."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
from support.stand_in import ROLES, Answer, standing_in

from stream.core.errors import BundleError, ConflictError, ReloadError
from stream.core.files import file_sha256
from stream.line.config import LineConfig, parse
from stream.line.install import BundleFile, confirm_live, put_live, sharing
from stream.line.locks import lock_role
from stream.training.extend import with_threshold

LINE = """
line: bottling
cameras:
  top: {kind: folder, path: parts, rate_hz: 10}
  side: {kind: folder, path: parts, rate_hz: 10}
stations:
  cap: {camera: top, bundle: cap.safetensors}
  label: {camera: side, bundle: label.safetensors}
restarts: {ready_s: 1}
store: {path: events}
"""


@pytest.fixture
def config(tmp_path: Path, small_bundle: Path) -> LineConfig:
    for name in ("cap", "label"):
        shutil.copy(small_bundle, tmp_path / f"{name}.safetensors")
    return parse(LINE, name="line.yaml", folder=tmp_path)


@pytest.fixture
def base(config: LineConfig) -> str:
    return file_sha256(config.stations["cap"].bundle)


@pytest.fixture
def new(tmp_path: Path, small_bundle: Path) -> BundleFile:
    path = tmp_path / "new.safetensors"
    with_threshold(small_bundle, path, 7.5)
    return BundleFile(path, file_sha256(path))


TAKES = Answer()
REFUSES = Answer(why="worker0: failed its self-test", old="0123456789abcdef")


@pytest.fixture
def running(config: LineConfig) -> Iterator[Callable[..., None]]:
    """Have a line run whose camera `top` gives one answer for each request; `side` waits for ever."""
    with ExitStack() as held:

        def run(*answers: Answer, roles: tuple[str, ...] = ROLES) -> None:
            held.enter_context(standing_in(config, os.getpid(), answers, roles))

        yield run


def live(config: LineConfig) -> str:
    return file_sha256(config.stations["cap"].bundle)


def beside(config: LineConfig) -> set[str]:
    """What lies beside the bundle that was not there before."""
    known = {"cap.safetensors", "label.safetensors", "new.safetensors", "events"}
    return {file.name for file in config.stations["cap"].bundle.parent.iterdir()} - known


def test_another_camera_that_waits_to_be_plugged_in_keeps_no_bundle_from_going_live(
    config: LineConfig, new: BundleFile, base: str, running: Callable[..., None]
):
    running(TAKES)
    put_live(config, "cap", new, base_sha256=base)
    assert live(config) == new.sha256
    assert beside(config) == set()


def test_a_refused_bundle_leaves_the_file_before_in_place(
    config: LineConfig, new: BundleFile, base: str, running: Callable[..., None]
):
    running(REFUSES, TAKES)
    with pytest.raises(ReloadError, match=r"cap keeps its bundle 0123456789ab: worker0: failed its self-test$"):
        put_live(config, "cap", new, base_sha256=base)
    assert live(config) == base
    assert beside(config) == set()


def test_a_line_that_does_not_confirm_the_bundle_before_is_named_beside_the_reason(
    config: LineConfig, new: BundleFile, base: str, running: Callable[..., None]
):
    running(REFUSES, Answer(new="", why="no worker is there to judge with it"))
    with pytest.raises(ReloadError, match=r"failed its self-test; bundle .* has not confirmed it .*no worker is there"):
        put_live(config, "cap", new, base_sha256=base)
    assert live(config) == base


def test_the_bundle_before_comes_back_also_on_a_full_disk(
    config: LineConfig, new: BundleFile, base: str, running: Callable[..., None]
):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    running(msgspec.structs.replace(REFUSES, fills_the_disk=True), TAKES)
    try:
        with pytest.raises(ReloadError, match=r"failed its self-test$"):
            put_live(config, "cap", new, base_sha256=base)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert live(config) == base


def test_what_the_line_has_not_read_is_not_called_live(
    config: LineConfig, new: BundleFile, base: str, running: Callable[..., None]
):
    running(Answer(new="f" * 64), TAKES)
    with pytest.raises(ReloadError, match="has read bundle ffffffffffff"):
        put_live(config, "cap", new, base_sha256=base)
    assert live(config) == base


def test_a_camera_that_ends_before_it_answers_is_not_waited_for(
    config: LineConfig, new: BundleFile, base: str, running: Callable[..., None]
):
    running(Answer(ends=True))
    with pytest.raises(ReloadError, match=r"capture-top has ended before it answered.* not confirmed it"):
        put_live(config, "cap", new, base_sha256=base)
    assert live(config) == base


def test_what_lies_there_already_is_confirmed_or_makes_room_for_what_was_before(
    config: LineConfig, new: BundleFile, small_bundle: Path, base: str, running: Callable[..., None]
):
    running(TAKES, REFUSES, TAKES)
    shutil.copy(new.path, config.stations["cap"].bundle)
    confirm_live(config, "cap", before=BundleFile(small_bundle, base))
    assert live(config) == new.sha256
    with pytest.raises(ReloadError, match=r"failed its self-test$"):
        confirm_live(config, "cap", before=BundleFile(small_bundle, base))
    assert live(config) == base


def test_stations_share_a_file_however_they_write_its_path(tmp_path: Path, small_bundle: Path):
    (tmp_path / "models").mkdir()
    shared = LINE.replace("label.safetensors", "models/../cap.safetensors")
    config = parse(shared, name="line.yaml", folder=tmp_path)
    assert sharing(config, config.stations["cap"].bundle) == {"cap": "top", "label": "side"}


def test_a_bundle_behind_a_symbolic_link_is_replaced_where_it_is(config: LineConfig, new: BundleFile, base: str):
    linked = config.stations["cap"].bundle
    elsewhere = linked.parent / "elsewhere.safetensors"
    linked.rename(elsewhere)
    linked.symlink_to(elsewhere.name)
    put_live(config, "cap", new, base_sha256=base)
    assert linked.is_symlink()
    assert file_sha256(elsewhere) == new.sha256


def test_a_refused_bundle_behind_a_symbolic_link_comes_back_where_it_was(
    config: LineConfig, new: BundleFile, base: str, running: Callable[..., None]
):
    linked = config.stations["cap"].bundle
    elsewhere = linked.parent / "elsewhere.safetensors"
    linked.rename(elsewhere)
    linked.symlink_to(elsewhere.name)
    running(REFUSES, TAKES)
    with pytest.raises(ReloadError):
        put_live(config, "cap", new, base_sha256=base)
    assert linked.is_symlink()
    assert file_sha256(elsewhere) == base


def test_stations_share_a_file_that_one_of_them_names_by_a_symbolic_link(tmp_path: Path, small_bundle: Path):
    config = parse(LINE, name="line.yaml", folder=tmp_path)
    (tmp_path / "label.safetensors").symlink_to("cap.safetensors")
    assert sharing(config, config.stations["cap"].bundle) == {"cap": "top", "label": "side"}


@pytest.mark.parametrize("roles", [("worker0",), ("sink",), ("supervisor", "worker0", "capture-side")])
def test_where_nobody_can_say_whether_the_line_takes_it_nothing_is_put_live(
    config: LineConfig, new: BundleFile, base: str, running: Callable[..., None], roles: tuple[str, ...]
):
    running(roles=roles)
    with pytest.raises(ConflictError, match="not its camera top on this host"):
        put_live(config, "cap", new, base_sha256=base)
    assert live(config) == base


def test_a_folder_in_which_nothing_can_be_made_is_named(tmp_path: Path, small_bundle: Path, new: BundleFile):
    name = f"{'c' * 240}.tensors"  # as long as a name may be: none fits beside it
    shutil.copy(small_bundle, tmp_path / name)
    config = parse(LINE.replace("cap.safetensors", name), name="line.yaml", folder=tmp_path)
    with pytest.raises(BundleError, match="cannot be kept aside"):
        put_live(config, "cap", new, base_sha256=live(config))


def test_looking_who_holds_a_role_keeps_no_process_from_starting(config: LineConfig):
    config.state.mkdir(parents=True)
    with (config.state / "sink.lock").open("w") as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        ending = threading.Timer(0.03, fcntl.flock, (look, fcntl.LOCK_UN))
        ending.start()
        lock_role("sink", config.state).close()
        ending.join()
