from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.core.errors import DiskError
from stream.core.files import (
    cache_folder,
    check_destination,
    check_new_folder,
    file_sha256,
    identity,
    partial_file,
    private_folder,
    replace,
    write_atomically,
)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_written_with_its_folders_and_nothing_beside_it(tmp_path: Path, durable: bool):
    path = tmp_path / "new" / "folder" / "file"
    write_atomically(path, b"first", durable=durable)
    write_atomically(path, b"second", durable=durable)
    assert path.read_bytes() == b"second"
    assert names(path.parent) == ["file"]


def test_content_and_name_are_flushed_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    flushed = []
    monkeypatch.setattr("os.fsync", lambda descriptor: flushed.append(os.fstat(descriptor).st_ino))
    write_atomically(tmp_path / "file", b"content")
    assert flushed == [(tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino]
    write_atomically(tmp_path / "file", b"content", durable=False)
    assert len(flushed) == 2


def test_a_copy_takes_the_place_of_another_file(tmp_path: Path):
    (tmp_path / "source").write_bytes(b"new" * 100_000)
    (tmp_path / "target").write_bytes(b"old")
    before = identity(tmp_path / "target")
    replace(tmp_path / "source", tmp_path / "target")
    assert file_sha256(tmp_path / "target") == file_sha256(tmp_path / "source")
    assert identity(tmp_path / "target") != before
    assert names(tmp_path) == ["source", "target"]


def test_a_copy_of_nothing_leaves_the_target(tmp_path: Path):
    (tmp_path / "target").write_bytes(b"old")
    with pytest.raises(DiskError, match=r"target: cannot be written: No such file or directory"):
        replace(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"old"
    assert names(tmp_path) == ["target"]


@pytest.mark.usefixtures("umask")
def test_a_new_file_has_the_permissions_that_the_umask_allows(tmp_path: Path):
    write_atomically(tmp_path / "file", b"")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@pytest.mark.usefixtures("umask")
def test_a_new_file_that_a_library_has_put_there_has_them_too(tmp_path: Path):
    with partial_file(tmp_path / "file") as partial:
        partial.unlink()
        partial.touch(mode=0o600)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@pytest.mark.usefixtures("umask")
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(0o604)
    write_atomically(tmp_path / "file", b"")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o604


def test_a_disk_that_fills_up_midway_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    """A limit on the size of files fails a write midway, as a full disk does."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    program = """
import resource, sys
from pathlib import Path
from stream.core.errors import DiskError
from stream.core.files import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_atomically(Path(sys.argv[1]), b"new" * 100_000)
except DiskError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert "file: cannot be written: File too large; check the space" in done.stdout
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_writer_killed_midway_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    program = """
import sys, time
from pathlib import Path
from stream.core.files import partial_file
with partial_file(Path(sys.argv[1])) as partial:
    partial.write_bytes(b"ne")
    print("midway", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "midway\n"
        writer.send_signal(signal.SIGKILL)
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_of_the_block_leaves_the_old_file_and_passes_through(tmp_path: Path, error: type[BaseException]):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write() -> None:
        with partial_file(path) as partial:
            partial.write_bytes(b"new")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_file_in_the_place_of_a_folder_is_refused_and_nothing_is_left(tmp_path: Path):
    (tmp_path / "file").mkdir()
    with pytest.raises(DiskError, match=r"file: cannot be written: Is a directory; name a file in it"):
        write_atomically(tmp_path / "file", b"new")
    (tmp_path / "text").touch()
    with pytest.raises(DiskError, match=r"below: cannot be written: Not a directory"):
        write_atomically(tmp_path / "text" / "below", b"new")
    assert names(tmp_path) == ["file", "text"]


def test_readers_see_whole_files_only(tmp_path: Path):
    path = tmp_path / "file"
    contents = [bytes([letter]) * 200_000 for letter in b"ab"]
    write_atomically(path, contents[0], durable=False)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for content in contents:
                write_atomically(path, content, durable=False)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert all(path.read_bytes() in contents for _ in range(300))
    finally:
        stop.set()
        writer.join()


def test_what_a_symbolic_link_leads_to_is_replaced_and_the_link_stays(tmp_path: Path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "file").write_bytes(b"old")
    (tmp_path / "inner").symlink_to("shared/file")
    (tmp_path / "outer").symlink_to(tmp_path / "inner")
    write_atomically(tmp_path / "outer", b"new")
    assert (tmp_path / "shared" / "file").read_bytes() == b"new"
    assert (tmp_path / "outer").is_symlink()
    assert names(tmp_path / "shared") == ["file"]
    assert names(tmp_path) == ["inner", "outer", "shared"]


def test_a_link_to_nothing_gets_its_file(tmp_path: Path):
    (tmp_path / "link").symlink_to("later")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "later").read_bytes() == b"new"
    assert (tmp_path / "link").is_symlink()


def test_a_circle_of_links_is_refused(tmp_path: Path):
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(DiskError, match="one: cannot be written: Too many levels of symbolic links"):
        write_atomically(tmp_path / "one", b"new")


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_a_file_that_is_replaced_keeps_its_owner(tmp_path: Path):
    (tmp_path / "file").touch()
    os.chown(tmp_path / "file", 12_345, 23_456)
    write_atomically(tmp_path / "file", b"new")
    status = (tmp_path / "file").stat()
    assert (status.st_uid, status.st_gid) == (12_345, 23_456)


def test_a_device_is_written_to_and_stays_a_device(full_device: Path):
    with pytest.raises(DiskError, match="cannot be written: No space left on device"):
        write_atomically(full_device, b"new")
    assert stat.S_ISCHR(full_device.stat().st_mode)
    write_atomically(Path("/dev/null"), b"new")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    assert [path for path in Path("/dev").iterdir() if path.name.startswith((".null", ".full"))] == []


def test_standard_output_receives_the_file_after_what_was_printed(tmp_path: Path):
    program = """
import sys
from pathlib import Path
from stream.core.files import write_atomically
print("before")
write_atomically(Path("/dev/stdout"), b"content\\n")
print("after")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "before\ncontent\nafter\n"
    with (tmp_path / "file").open("wb") as output:
        subprocess.run([sys.executable, "-c", program], stdout=output, check=True)
    assert (tmp_path / "file").read_bytes() == b"before\ncontent\nafter\n"


def test_a_pipe_receives_the_file_and_stays(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_atomically(tmp_path / "pipe", b"content")
    reader.join()
    assert received == [b"content"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_socket_is_refused_and_stays(tmp_path: Path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(DiskError, match="socket: cannot be written: a socket, not a file"):
            write_atomically(tmp_path / "socket", b"new")
    assert names(tmp_path) == ["socket"]


def test_a_name_as_long_as_names_may_be_is_written(tmp_path: Path):
    write_atomically(tmp_path / ("ü" * 127), b"new")
    assert names(tmp_path) == ["ü" * 127]


def unfit_names(folder: Path) -> dict[str, tuple[Path, str]]:
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")
    (folder / "file").touch()
    os.mkfifo(folder / "pipe")
    return {
        "circle": (folder / "one", "its links lead in a circle"),
        "below a circle": (folder / "one" / "below", "its links lead in a circle"),
        "folder": (folder, "Is a directory; name a file in it"),
        "below a file": (folder / "file" / "below", "Not a directory; a file is in the place of a folder"),
        "long": (folder / ("x" * 300), "File name too long; give it a shorter name"),
        "no place": (Path("/proc/new/file"), ""),
        "pipe": (folder / "pipe", "a pipe or a device, not a file; name another file"),
        "device": (Path("/dev/null"), "a pipe or a device, not a file; name another file"),
    }


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ["circle", "below a circle", "folder", "below a file", "long", "no place"])
def test_a_name_under_which_nothing_can_be_written_is_refused_before_the_work(tmp_path: Path, kind: str, stream: bool):
    path, reason = unfit_names(tmp_path)[kind]
    before = names(tmp_path)
    with pytest.raises(DiskError) as error:
        check_destination(path, stream=stream)
    assert str(error.value).startswith(f"{path}: cannot be written: ")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
    assert names(tmp_path) == before


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_report_may_go_to_a_pipe_or_device_but_not_what_is_read_again(tmp_path: Path, kind: str):
    path, reason = unfit_names(tmp_path)[kind]
    check_destination(path, stream=True)
    with pytest.raises(DiskError, match=reason):
        check_destination(path)


def test_the_check_of_a_name_leaves_nothing_behind_and_the_file_alone(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("later")
    for name in ("file", "new", "link", "new/folder/file"):
        check_destination(tmp_path / name)
    assert names(tmp_path) == ["file", "link"]
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.skipif(os.getuid() == 0, reason="root writes everywhere")
def test_a_folder_without_the_right_to_write_is_refused_before_the_work(tmp_path: Path):
    tmp_path.chmod(0o500)
    for path in (tmp_path / "file", tmp_path / "new" / "file"):
        with pytest.raises(DiskError, match="Permission denied; check the space and permissions"):
            check_destination(path)


def test_a_new_folder_is_absent_or_empty(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    for name in ("absent", "empty", "absent/below"):
        check_new_folder(tmp_path / name, "a review")
    assert names(tmp_path) == ["circle", "empty", "used"]
    for name in ("used", "used/file"):
        with pytest.raises(DiskError, match=f"{name}: a review needs a new or empty folder"):
            check_new_folder(tmp_path / name, "a review")
    with pytest.raises(DiskError, match=r"circle: cannot be written: .* its links lead in a circle"):
        check_new_folder(tmp_path / "circle", "a review")


def test_a_user_without_a_home_has_the_cache_in_a_folder_of_their_own(monkeypatch: pytest.MonkeyPatch):
    for name in ("PATCHLINE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda _uid: (_ for _ in ()).throw(KeyError("no such user")))
    assert cache_folder() == private_folder() / "cache"


def test_a_folder_for_private_files_that_leads_elsewhere_is_refused(tmp_path: Path):
    (tmp_path / f"patchline-{os.getuid()}").symlink_to(tmp_path)
    with pytest.raises(DiskError, match=r"is not a folder of this user .*set TMPDIR"):
        private_folder(tmp_path)
