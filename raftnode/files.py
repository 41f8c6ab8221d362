"""The few file operations that the storage rests on, on a real disk.

`Files` is what a simulated disk, one that forgets what was not synced, puts in their place. No formats live here, and
no decision: an operation that fails raises OSError and is never tried again.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Protocol


class Files(Protocol):
    """File operations by path and handle. Each raises OSError if it fails; none is tried again."""

    def make_directory(self, path: str) -> None:
        """Makes a directory with its parents, durably; no error if it is there."""
        ...

    def lock(self, path: str) -> None:
        """Keeps other processes out until this one ends. Raises BlockingIOError if one is in already."""
        ...

    def exists(self, path: str) -> bool:
        """Whether there is a file."""
        ...

    def read(self, path: str) -> bytes:
        """The whole of a file."""
        ...

    def open(self, path: str) -> int:
        """A handle that appends to a file, which is made if it is not there."""
        ...

    def append(self, handle: int, data: bytes) -> None:
        """Writes all of `data` behind the end. After an error any part of it may be in the file."""
        ...

    def sync(self, handle: int) -> None:
        """Makes everything appended so far durable, and the length of the file with it."""
        ...

    def truncate(self, handle: int, size: int) -> None:
        """Cuts a file to `size` bytes. Not durable before a sync."""
        ...

    def close(self, handle: int) -> None:
        """Gives a handle back."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Puts a file in another's place. Not durable before a sync of the directory."""
        ...

    def sync_directory(self, path: str) -> None:
        """Makes the names in a directory durable."""
        ...


class LocalFiles:
    """`Files` of the operating system."""

    def make_directory(self, path: str) -> None:
        wanted = Path(path).absolute()
        for directory in (*reversed(wanted.parents), wanted):
            if not directory.is_dir():
                directory.mkdir(exist_ok=True)
                self.sync_directory(str(directory.parent))

    def lock(self, path: str) -> None:
        # The handle is left open on purpose: the lock goes with the process, also after kill -9.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def exists(self, path: str) -> bool:
        return Path(path).is_file()

    def read(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def open(self, path: str) -> int:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def append(self, handle: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = os.write(handle, rest)
            if written == 0:
                raise OSError(errno.EIO, "a write of the log wrote nothing")
            rest = rest[written:]

    def sync(self, handle: int) -> None:
        os.fdatasync(handle)

    def truncate(self, handle: int, size: int) -> None:
        os.ftruncate(handle, size)

    def close(self, handle: int) -> None:
        os.close(handle)

    def rename(self, old: str, new: str) -> None:
        Path(old).replace(new)

    def sync_directory(self, path: str) -> None:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
