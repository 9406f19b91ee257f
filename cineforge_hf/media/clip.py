"""A dataset row's sound and picture, wherever they are.

Published rows carry their media as bytes; rows inside a run name their film and the range in it. Processors read both
through `open_clip` and see the same thing: times relative to the clip's start, in seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from cineforge_hf.errors import MediaError
from cineforge_hf.media.frames import Frame, iter_frames
from cineforge_hf.media.mixing import Sound
from cineforge_hf.media.sound import read_sound
from cineforge_hf.media.source import MediaSource
from cineforge_hf.media.streams import probe

LENGTH_TOLERANCE = 0.1
"""Seconds by which a row's own sound may differ from the row's duration (codec frames); beyond, it is the whole film's."""


@dataclass(frozen=True)
class Clip:
    """A clip's media. Holds nothing open, so it needs no closing; `with` works for those who like it.

    Attributes:
        name: clip or film, for messages.
        duration: seconds.
    """

    name: str
    duration: float
    _sound: tuple[MediaSource, float, int | None] | None
    _vocals: tuple[MediaSource, float, int | None] | None
    _picture: tuple[MediaSource, float] | None

    def __enter__(self) -> Clip:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def sound(self, rate: int | None = 16000, mono: bool = True, of: Literal["audio", "vocals"] = "audio") -> Sound:
        """Read the clip's sound.

        Args:
            rate: Hz; None for the source's own.
            mono: mix down to one channel.
            of: `audio` (the mix) or `vocals`.

        Returns:
            float32 of shape (channels, round(duration * rate)); (1, n) when mono.

        Raises:
            MediaError: `missing_source` when the row has no such sound, and see `read_sound`.
        """
        place = self._sound if of == "audio" else self._vocals
        if place is None:
            remedy = "run separate first, or read of='audio'" if of == "vocals" else "give the row `audio`, `video` or `source`"
            raise MediaError("missing_source", f"{self.name} has no {of}; {remedy}")
        source, start, stream = place
        return read_sound(source, start, start + self.duration, stream=stream, rate=rate, mono=mono)

    def frames(self, fps: float | None = 25.0, width: int | None = None, gray: bool = False) -> Iterator[Frame]:
        """Walk through the clip's pictures.

        Args:
            fps: pictures per second of clip time; None for every decoded frame at its own time.
            width: pixels to scale to, keeping the shape; None for the source's size.
            gray: one channel instead of RGB.

        Yields:
            Pictures with times relative to the clip's start; see `iter_frames`.

        Raises:
            MediaError: `missing_source` when the row has no picture, and see `iter_frames`.
        """
        if self._picture is None:
            raise MediaError("missing_source", f"{self.name} has no picture; give the row `video` or `source`")
        source, start = self._picture
        yield from iter_frames(source, start=start, end=start + self.duration, fps=fps, width=width, gray=gray)


def open_clip(row: Mapping[str, Any]) -> Clip:
    """Find a row's media: its own `video`, `audio` and `vocals` where present, else the range of its film.

    Args:
        row: a dataset row. Media are {"bytes", "path"} dicts (`decode=False`) or paths; `source` is the film's path, and
            `start`, `end` (seconds on the source clock) and `audio_stream` say which part of it. Without `start` and
            `end` the clip is the whole film. `vocals` may be the clip's, or its film's (then `start`, `end` apply).

    Returns:
        The clip.

    Raises:
        MediaError: `missing_source` when neither media nor film can be found, and see `probe`.
    """
    name = str(row.get("clip_id") or row.get("title") or row.get("film_id") or row.get("source") or "the row")
    film = row.get("source")
    video, audio, vocals = (media_of(row.get(column)) for column in ("video", "audio", "vocals"))
    own = video or audio
    ranged = row.get("start") is not None and row.get("end") is not None
    if own is None and film is not None and not Path(film).exists():
        film, missing = None, f"its film {film} is not there; mount the input folder or load the `video` config"
    else:
        missing = "neither `video`, `audio`, `vocals` nor `source` is set; load the `video` config or keep the film's path"
    if own is None and film is None and vocals is None:
        raise MediaError("missing_source", f"{name}: {missing}")
    if ranged:
        offset = float(row["start"])
        duration = float(row["end"]) - offset
    else:
        duration, offset = float(row.get("duration") or probe(own or film or vocals or b"").duration), 0.0
    stream = row.get("audio_stream")
    picture = (video, 0.0) if video is not None else (film, offset) if film is not None else None
    sound = next(
        ((media, 0.0, None) for media in (audio, video) if media is not None),
        (film, offset, None if stream is None else int(stream)) if film is not None else None,
    )
    return Clip(name, duration, sound, _placed_vocals(vocals, offset, duration), picture)


def media_of(value: Any) -> MediaSource | None:
    """What a media column holds: bytes, else an existing path, else None.

    Args:
        value: a {"bytes", "path"} dict, bytes, a path or None.
    """
    if isinstance(value, Mapping):
        data = value.get("bytes")
        value = data if data is not None else value.get("path")
    if isinstance(value, bytes):
        return value
    if isinstance(value, str | os.PathLike) and Path(value).exists():
        return os.fspath(value)
    return None


def _placed_vocals(vocals: MediaSource | None, offset: float, duration: float) -> tuple[MediaSource, float, None] | None:
    """Vocals with their start: their length tells the clip's own (published rows) from the whole film's (inside a run)."""
    if vocals is None:
        return None
    own = offset == 0.0 or abs(probe(vocals).duration - duration) <= LENGTH_TOLERANCE
    return vocals, 0.0 if own else offset, None
