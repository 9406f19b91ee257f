"""Writing files so that a reader sees the whole file or none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cineforge_hf.errors import SystemicError


@contextmanager
def atomic_path(destination: Path) -> Iterator[Path]:
    """Give a temporary name in the destination's folder; on success sync it and rename it to `destination`.

    Args:
        destination: the final path. Its folder must exist; an older file there is replaced in one step.

    Yields:
        The path to write to, with the destination's suffix.

    Raises:
        SystemicError: the folder cannot be written to. Whatever the block raises passes through; the temporary file goes.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=".", suffix=f".partial{destination.suffix}", dir=destination.parent)
    except OSError as error:
        raise SystemicError(
            f"cannot write in {destination.parent} ({error.strerror}); check that it exists and has room"
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; a corpus is read by others too.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(destination)
    finally:
        temporary.unlink(missing_ok=True)
