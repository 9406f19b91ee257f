"""One runner per run: a lock that the operating system drops when its holder dies."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cineforge_hf.errors import UsageError


@contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """Holds the run's lock for the duration of the block.

    Raises:
        UsageError: another process holds it; the message names its process id and machine.
    """
    path = run / "lock"
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "an unknown process"
            raise UsageError(f"{run}: in use by {holder}; wait for it, or stop it and try again") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
        file.truncate(0)
