"""What all tests share: a cache of their own, a folder of good pictures and a small bundle made of it."""

from __future__ import annotations

import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from support.pictures import write_good_folder
from support.programs import missing_for, skip_or_fail

# The same examples on every run, and no database of failures in the working tree.
hypothesis.settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("repeatable")


# A shell makes commands in the background ignore Ctrl-C, and so would all processes that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose programs are not installed, or fail it in CI, before its fixtures are made."""
    skip_or_fail(missing_for(item))


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep compiled models and weight files of the tests in a folder of their own; processes inherit it."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PATCHLINE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def good_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 good pictures, 160×120. Copy it before you change it."""
    return write_good_folder(tmp_path_factory.mktemp("pictures") / "good", 24)


@pytest.fixture(scope="session")
def small_bundle(good_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated bundle of the good pictures: 96 px, 5 % coreset. Copy it before you change it."""
    from stream.training.fit import fit
    from stream.training.fit_options import FitOptions

    path = tmp_path_factory.mktemp("bundles") / "small.safetensors"
    fit(good_folder, path, FitOptions(size_px=96, coreset=0.05))
    return path


@pytest.fixture
def full_device() -> Path:
    """/dev/full, on which every write fails as on a full disk; a file that has taken its place would fill the disk."""
    path = Path("/dev/full")
    assert stat.S_ISCHR(path.stat().st_mode), f"{path} is not a device any more"
    return path
