"""Decoded frames from any time of a film, in order, sound or picture.

`frames_from` is the one place that seeks. Containers seek to what their index calls a key frame, which may lie behind the
wanted time (B-frames, open GOPs, coarse indices), so the first decoded frame is looked at, and while it is too late the
film is opened afresh and sought earlier, in the end from its beginning. A damaged packet is skipped, as players do.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import closing
from typing import Any

import av.error
import av.stream

from cineforge_hf.errors import MediaError
from cineforge_hf.media.source import THREADS, MediaSource, Opened, media_errors, media_name, open_media

logger = logging.getLogger(__name__)

JITTER_SECONDS = 1e-6
"""What float arithmetic on time stamps can be off by."""


QUICK = {"skip_loop_filter": "bidir"}
"""Decoder options that leave out the smoothing of B-frames: a quarter less work, and no error that later frames inherit."""


def pick_stream(opened: Opened, kind: str, index: int | None, quick: bool = False) -> Any:
    """Find a stream, and have the demuxer skip all others.

    Args:
        opened: the film.
        kind: `audio` or `video`.
        index: stream number in the container; None for the first of the kind that is not a cover picture.
        quick: decode with `QUICK`, for those who only look for strokes and edges.

    Raises:
        MediaError: `no_audio_stream` or `no_video_stream`.
    """
    streams = [s for s in opened.container.streams if s.type == kind and s.codec_context is not None]
    if index is None:
        streams = [s for s in streams if not s.disposition & av.stream.Disposition.attached_pic]
    else:
        streams = [s for s in streams if s.index == index]
    if not streams:
        which = f"no {kind} stream" if index is None else f"no {kind} stream with index {index}"
        remedy = "leave it out" if index is None else "probe the file again, its streams have changed"
        raise MediaError(f"no_{kind}_stream", f"{opened.name} has {which}; {remedy}")
    for other in opened.container.streams:
        other.discard = av.stream.Discard.default if other is streams[0] else av.stream.Discard.all
    context = streams[0].codec_context
    context.thread_count = THREADS
    if quick:
        context.options = QUICK
    return streams[0]


def stamp_seconds(opened: Opened, frame: Any) -> float | None:
    """Seconds on the source clock of a frame, from its PTS, else (AVI) its DTS; None where it has neither."""
    stamp = frame.pts if frame.pts is not None else frame.dts
    return None if stamp is None else opened.seconds(stamp, frame.time_base)


def decoded(opened: Opened, stream: Any) -> Generator[Any, None, None]:
    """Decode a stream from where the container stands to its end, skipping damaged packets.

    Raises:
        MediaError: `undecodable` when reading fails or no packet at all can be decoded.
    """
    good = bad = 0
    with media_errors(opened.name, f"read stream {stream.index}"):
        for packet in opened.container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                bad += 1
                continue
            good += len(frames)
            yield from frames
    if bad and not good:
        raise MediaError("undecodable", f"{opened.name}: no packet of stream {stream.index} can be decoded; replace the file")
    if bad:
        logger.warning("%s: skipped %d damaged packets of stream %d", opened.name, bad, stream.index)


def frames_from(
    source: MediaSource, kind: str, index: int | None, seconds: float, preroll: float, quick: bool = False
) -> Generator[tuple[Opened, Any, Any], None, None]:
    """Decode from at least `preroll` seconds before a time (or from the beginning) to the end of the stream.

    Args:
        source: the film.
        kind: `audio` or `video`.
        index: stream number, or None for the first.
        seconds: time on the source clock that must be covered.
        preroll: seconds to decode before it, so that the decoder's state has settled.
        quick: see `pick_stream`.

    Yields:
        (the open film, its stream, a frame), frames in presentation order.

    Raises:
        MediaError: see `pick_stream` and `decoded`.
    """
    back = preroll
    while True:
        with open_media(source) as opened:
            stream = pick_stream(opened, kind, index, quick)
            start = 0.0 if stream.start_time is None else opened.seconds(stream.start_time, stream.time_base)
            # Below a second of reading, starting at the beginning is as quick and needs no second look.
            sought = seconds - back > max(start, 0.0) + 1.0
            if sought:
                opened.seek(stream, seconds - back)
            with closing(decoded(opened, stream)) as frames:
                first: Any = next(frames, None)
                if not sought or _covers(opened, first, seconds - min(preroll, back / 2)):
                    if first is not None:
                        yield opened, stream, first
                    for frame in frames:
                        yield opened, stream, frame
                    return
        back = max(4 * back, 1.0)
        logger.debug("%s: seeking to %.3f s came too late, trying %.1f s earlier", media_name(source), seconds, back)


def _covers(opened: Opened, frame: Any, seconds: float) -> bool:
    """Whether the first frame after a seek is sound and early enough."""
    if frame is None or frame.is_corrupt:
        return False
    at = stamp_seconds(opened, frame)
    return at is not None and at <= seconds + JITTER_SECONDS
