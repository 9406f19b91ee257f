"""Opening media and the source clock, shared by everything in this folder.

Every time in this package is in seconds (float64) on the *source clock*: zero is where the container starts, and all
streams are placed on it by their presentation time stamps. An MPEG-TS that starts at 1.4 s, a sound that begins late
and a picture with a variable rate therefore need no special case elsewhere.

Invariants: PyAV's exceptions never leave this package; each becomes a `MediaError` whose one sentence names the file and
a remedy. Decoders run on `THREADS` threads, so that worker processes give the parallelism and results do not depend on it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.error

from cineforge_hf.errors import MediaError

THREADS = 1
"""Threads per decoder, encoder and scaler."""

PRIMING_SECONDS = 0.1
"""A container start nearer to zero than this is codec delay (AAC 21 to 46 ms, Opus 6.5 ms, B-frames) and counts as zero."""

MediaSource = str | os.PathLike[str] | bytes
"""What can be opened: a path, or the whole file as bytes (a clip inside a Parquet row)."""


@dataclass(frozen=True)
class Opened:
    """A container that is open for reading.

    Attributes:
        container: PyAV's input container.
        origin: seconds on the container's own clock that are zero on the source clock.
        name: how messages call the file.
    """

    container: Any
    origin: float
    name: str

    def seconds(self, stamp: int, time_base: Any) -> float:
        """Place a time stamp in units of `time_base` on the source clock."""
        return float(stamp * time_base) - self.origin

    def seek(self, stream: Any, seconds: float) -> None:
        """Seek at or before `seconds` on the source clock; before the start means the start.

        Raises:
            MediaError: the container cannot seek.
        """
        stamp = int((seconds + self.origin) / stream.time_base)
        first = stream.start_time
        try:
            self.container.seek(stamp if first is None else max(stamp, min(first, 0)), stream=stream)
        except av.error.FFmpegError as error:
            raise MediaError("unseekable", f"{self.name}: cannot seek to {seconds:.3f} s ({error.strerror}); remux it") from error


def media_name(source: MediaSource) -> str:
    """Name a source in messages."""
    return "the clip inside the row" if isinstance(source, bytes) else os.fspath(source)


@contextmanager
def open_media(source: MediaSource) -> Iterator[Opened]:
    """Open a media file for reading and close it again.

    Args:
        source: a path, or the whole file as bytes.

    Yields:
        The open container with its clock.

    Raises:
        MediaError: `missing_file`, `unreadable`, `empty_file`, `not_media`, `truncated` or `undecodable`.
    """
    name = media_name(source)
    try:
        if isinstance(source, bytes):
            if not source:
                raise MediaError("empty_file", f"{name} has no bytes; export the row again")
            container = av.open(io.BytesIO(source), metadata_errors="replace")
        else:
            check_file(Path(source), name)
            container = av.open(os.fspath(source), metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise _why_unopenable(source, name, error) from error
    with container:
        start = (container.start_time or 0) / av.time_base
        yield Opened(container, 0.0 if abs(start) < PRIMING_SECONDS else start, name)


def check_file(path: Path, name: str) -> None:
    """Refuse what is not a readable, non-empty file, before FFmpeg gives it a vaguer name.

    Raises:
        MediaError: `missing_file`, `not_media` (a folder), `unreadable` or `empty_file`.
    """
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError as error:
        raise MediaError("missing_file", f"{name} does not exist; check the path or the manifest") from error
    except IsADirectoryError as error:
        raise MediaError("not_media", f"{name} is a folder; name the film files inside it") from error
    except OSError as error:
        raise MediaError("unreadable", f"{name} cannot be read ({error.strerror}); check its permissions") from error
    if empty:
        raise MediaError("empty_file", f"{name} is empty; copy or download it again")


def _why_unopenable(source: MediaSource, name: str, error: av.error.FFmpegError) -> MediaError:
    """Tell a film that was cut short from a file that never was one, by its first bytes."""
    if isinstance(source, bytes):
        head = source[:16]
    else:
        with Path(source).open("rb") as file:
            head = file.read(16)
    if head[4:8] in {b"ftyp", b"mdat", b"free", b"wide", b"moov"}:
        return MediaError("truncated", f"{name} is an MP4 without a complete index (moov): it was cut short; copy it again")
    if head[:4] in {b"\x1aE\xdf\xa3", b"RIFF", b"FLV\x01", b"OggS"}:
        return MediaError("truncated", f"{name} ends before its first frame: it was cut short; copy or download it again")
    return MediaError("not_media", f"{name} is not a video or sound file ({error.strerror}); remove it or give the real film")


@contextmanager
def media_errors(name: str, doing: str) -> Iterator[None]:
    """Turn FFmpeg's errors inside the block into `MediaError` with code `undecodable`.

    Args:
        name: the file, as messages call it.
        doing: what was being done, e.g. `decode the sound`.
    """
    try:
        yield
    except av.error.FFmpegError as error:
        raise MediaError("undecodable", f"{name}: cannot {doing} ({error.strerror}); re-encode or replace the file") from error
