"""The SQLite file of the event store: how it is opened, prepared and refused."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from stream.core.errors import StoreError, UnfitValueError
from stream.store.schema import APPLICATION_ID, INDICES, SCHEMA, SCHEMA_VERSION

#: Longest wait of a checkpoint for readers, and of a reader for recovery after a crash.
_BUSY_S = 2.0
#: Errors that are about a value and not about the file: trying again is in vain.
UNFIT_VALUE = (
    ValueError,
    TypeError,
    OverflowError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)


@contextmanager
def connected(path: Path, mode: Literal["rwc", "ro"]) -> Iterator[sqlite3.Connection]:
    """Connect; an error inside the block closes the connection, otherwise it stays open."""
    # Opened in one thread and used in another, one at a time, hence no check_same_thread.
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        yield connection
    except BaseException:
        connection.close()
        raise


def prepare(path: Path, connection: sqlite3.Connection) -> None:
    """Make the tables of an empty file, and set how it is written; raises StoreError."""
    if is_empty(path, connection):
        # Takes effect only before the first page is written, so before WAL mode and the tables.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    if connection.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
        raise StoreError(f"{path}: its file system has no shared memory; put store.path on a local disk")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    if is_empty(path, connection):
        connection.executescript(SCHEMA)
    connection.executescript(INDICES)


def is_empty(path: Path, connection: sqlite3.Connection) -> bool:
    """Return whether the file is empty; raises StoreError when it belongs to another program or release."""
    pragmas = ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
    application, version, tables = (connection.execute(pragma).fetchone()[0] for pragma in pragmas)
    if (application, version, tables) == (0, 0, 0):
        return True
    if application != APPLICATION_ID:
        raise StoreError(f"{path}: a database of another program; point store.path to a separate folder")
    if version != SCHEMA_VERSION:
        age = "a newer" if version > SCHEMA_VERSION else "an older"
        raise StoreError(
            f"{path}: schema {version} of {age} PatchLine, this release uses {SCHEMA_VERSION}; "
            "move the file away, or run that release"
        )
    return False


@contextmanager
def store_errors(path: Path, problem: str) -> Iterator[None]:
    """Turn an error of SQLite, the file system or a value's type or range into a StoreError."""
    try:
        yield
    except UNFIT_VALUE as error:
        raise UnfitValueError(f"{path}: {problem} ({error})") from error
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{path}: {problem} ({error})") from error
