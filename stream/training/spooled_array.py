"""Long arrays that are written once, batch by batch, and read in parts: in memory, or in a file.

The file has no name: it vanishes with the process, however that ends. It is read with plain reads,
not mapped, because mapped pages count as memory of the process.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from stream.core.errors import DiskError
from stream.training.memory_budget import gib

_FIX = "free some space, write the bundle elsewhere, or allow more memory with --max-memory"


class SpooledArray:
    """Rows of one shape and type: `append` them all, then read."""

    def __init__(self, row_shape: tuple[int, ...], dtype: DTypeLike, *, capacity: int, folder: Path | None) -> None:
        """Keep up to `capacity` rows in memory, or, given a folder, in a file there.

        Raises:
            DiskError: the folder has too little room, or cannot be written.
        """
        self._row_shape, self._dtype = row_shape, np.dtype(dtype)
        self._row_bytes = int(np.prod(row_shape)) * self._dtype.itemsize
        self._count = 0
        self._folder = folder
        if folder is None:
            # The system allocates the pages as they are filled.
            self._held = np.empty((capacity, *row_shape), self._dtype)
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            needed, free = capacity * self._row_bytes, shutil.disk_usage(folder).free
            if needed > free:
                raise DiskError(f"{folder}: {gib(needed)} are needed for a while, {gib(free)} are free; {_FIX}")
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - open as long as the store
        except OSError as error:
            raise DiskError(f"{folder}: cannot be written: {error.strerror}; {_FIX}") from None

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows so far, …)."""
        return (self._count, *self._row_shape)

    def __len__(self) -> int:
        return self._count

    def append(self, rows: NDArray[Any]) -> None:
        """Add (n, …) rows; raises DiskError when the disk is full."""
        if self._folder is None:
            self._held[self._count : self._count + len(rows)] = rows
        else:
            rest = np.ascontiguousarray(rows, self._dtype).data.cast("B")
            try:
                while len(rest):
                    rest = rest[self._file.write(rest) :]
            except OSError as error:
                raise DiskError(f"{self._folder}: {error.strerror}; {_FIX}") from None
        self._count += len(rows)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        """Return the rows of a slice without step, or of an array of indices."""
        if self._folder is None:
            held: NDArray[Any] = self._held[: self._count][rows]
            return held
        if isinstance(rows, slice):
            begin, end, _ = rows.indices(self._count)
            values = np.empty((max(0, end - begin), *self._row_shape), self._dtype)
            self._read(begin, values)
            return values
        values = np.empty((len(rows), *self._row_shape), self._dtype)
        for place, row in enumerate(rows.tolist()):
            self._read(row, values[place : place + 1])
        return values

    def _read(self, row: int, into: NDArray[Any]) -> None:
        if not into.size:
            return
        rest, offset = into.data.cast("B"), row * self._row_bytes
        while len(rest):
            count = os.preadv(self._file.fileno(), [rest], offset)
            if not count:
                raise DiskError(f"{self._folder}: the temporary file was cut short; {_FIX}")
            rest, offset = rest[count:], offset + count

    def close(self) -> None:
        """Release memory or file; closing twice is fine."""
        if self._folder is None:
            self._held = self._held[:0].copy()
        else:
            self._file.close()
