"""One writer per store."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from commandline import InputError


@contextmanager
def lock(store: str | Path) -> Iterator[None]:
    """Hold the right to write `store` (which need not exist yet); `<store>.lock` beside it carries the holder's pid.

    The kernel drops the lock (flock) when its process dies in whatever way, so a file left by a killed process is
    simply taken over. Raises InputError when a living process holds it.
    """
    path = Path(f"{store}.lock")
    descriptor = _acquire(path, store)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(path: Path, store: str | Path) -> int:
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise InputError(f"cannot write to {path.parent}: {error.strerror}; give another --store") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise InputError(
                f"another process (pid {holder}) is writing {store}; wait for it or stop it, then run this again"
            ) from None
        # The holder before us may have removed the file between our open and our flock: then we locked a ghost.
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
        os.close(descriptor)
