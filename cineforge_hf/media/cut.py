"""Clips cut out of films, exact to the frame and the sample.

`cut_clip` writes one MP4 of [start, end): the picture at clip time t is the one the film shows at start + t. What the film
already holds as H.264 that plays everywhere is copied group of pictures by group of pictures where that is no larger than
encoding (`copying.py`); the pictures before and after are encoded with parameter sets of other ids, so that one header
describes all. Whatever else the film holds (HEVC, VP9, 10 bits, interlaced, turned) is encoded.

The sound of the MP4 is a preview; the sound to train on is exported as FLAC from `iter_sound_ranges`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av.error

from cineforge_hf.errors import MediaError
from cineforge_hf.media import h264
from cineforge_hf.media.copying import Copied, copyable
from cineforge_hf.media.decode import JITTER_SECONDS, pick_stream
from cineforge_hf.media.encode import FULL_RANGE, Format, Segment, encode_pictures, write_mp4
from cineforge_hf.media.files import atomic_path
from cineforge_hf.media.frames import Picture, pictures
from cineforge_hf.media.sound import read_stereo
from cineforge_hf.media.source import MediaSource, media_errors, media_name, open_media

AAC_RATES = (44100, 48000)
"""Sampling rates that every player takes; other sounds are resampled to the last."""

_FINE = 90_000
"""Ticks per second, at least: 11 microseconds."""

_LIMITED_RANGE = 1  # AVCOL_RANGE_MPEG


@dataclass(frozen=True)
class CutInfo:
    """What `cut_clip` wrote.

    Attributes:
        duration: seconds.
        frames: pictures in the clip, 0 without picture.
        copied: how many of them are the film's own, not encoded again.
        width: stored pixels, 0 without picture.
        height: stored pixels, 0 without picture.
        sample_rate: Hz of the sound, 0 without sound.
        size: bytes of the file.
    """

    duration: float
    frames: int
    copied: int
    width: int
    height: int
    sample_rate: int
    size: int


def cut_clip(
    path: MediaSource, start: float, end: float, *, video: bool = True, audio_stream: int | None = None, destination: Path
) -> CutInfo:
    """Cut [start, end) out of a film into an MP4 (H.264, AAC 128 kb/s stereo) that starts at zero.

    Args:
        path: the film, or its bytes.
        start: seconds on the source clock.
        end: seconds on the source clock.
        video: whether to cut the picture.
        audio_stream: stream number of the sound (`AudioStream.index`); None for the first, if there is any.
        destination: file to write, atomically. The same film and range give the same bytes.

    Returns:
        What was written.

    Raises:
        MediaError: `bad_range`, `no_video_stream`, `no_audio_stream`, `undecodable`, or why the film cannot be opened.
        SystemicError: the destination's folder cannot be written to.
    """
    if start < 0 or end <= start:
        raise MediaError("bad_range", f"{media_name(path)}: cannot cut from {start} s to {end} s; give start < end, from zero on")
    sound, rate = None, 0
    if audio_stream is not None or not video or _has_sound(path):
        sound, rate = read_stereo(path, start, end, stream=audio_stream, rates=AAC_RATES)
    segments, form, copied = _picture(path, start, end, copy=True) if video else ([], None, 0)
    with atomic_path(destination) as temporary, media_errors(str(destination), "write the clip"):
        ticks = 0 if form is None else round((end - start) / form.unit)
        write_mp4(temporary, segments, form, ticks, sound, rate)
        if copied and not _plays(temporary, segments):
            # A stream that breaks the rules it claims to follow: rare, and worth one encoding more.
            segments, form, copied = _picture(path, start, end, copy=False)
            write_mp4(temporary, segments, form, ticks, sound, rate)
        size = temporary.stat().st_size
    frames = sum(len(s.pictures) for s in segments)
    return CutInfo(end - start, frames, copied, form.width if form else 0, form.height if form else 0, rate, size)


def _picture(path: MediaSource, start: float, end: float, *, copy: bool) -> tuple[list[Segment], Format, int]:
    """The clip's coded pictures: encoded, or where `copy` allows it encoded, copied, encoded."""
    with closing(pictures(path, start, end)) as shown:
        first = next(shown)
        form = _format(path, first)

        def ticks(seconds: float) -> int:
            # The picture that covers the start began before it, and is shown from it on.
            return max(0, round((seconds - start) / form.unit))

        run = copyable(path, start, end, ticks) if copy and not first.rotation and not first.frame.interlaced_frame else None
        if run is None:
            timed = ((ticks(p.time), p) for p in chain([first], shown))
            return [encode_pictures(timed, form, 0)], form, 0
        used = h264.set_ids(run.segment.sps, run.segment.pps)
        own = min(set(range(32)) - used)
        head = encode_pictures(((ticks(p.time), p) for p in _before(chain([first], shown), run.begin)), form, own)
    tail = encode_pictures(((ticks(p.time), p) for p in _after(path, run, end)), form, own)
    segments = [s for s in (head, run.segment, tail) if s.pictures]
    return segments, form, len(run.segment.pictures)


def _before(shown: Iterator[Picture], begin: float) -> Iterator[Picture]:
    for picture in shown:
        if picture.time >= begin - picture.tolerance - JITTER_SECONDS:
            return
        yield picture


def _after(path: MediaSource, run: Copied, end: float) -> Iterator[Picture]:
    """Pictures from the run's end on, none of the run's own."""
    with closing(pictures(path, run.end, end)) as shown:
        for picture in shown:
            if run.end - picture.tolerance - JITTER_SECONDS <= picture.time < end - picture.tolerance - JITTER_SECONDS:
                yield picture


def _format(path: MediaSource, first: Picture) -> Format:
    """The clip's format: upright, sides even as 4:2:0 needs, ticks in which the film's own time stamps are whole numbers."""
    with open_media(path) as opened:
        track = pick_stream(opened, "video", None)
        context = track.codec_context
        width, height, aspect = first.frame.width // 2 * 2, first.frame.height // 2 * 2, track.sample_aspect_ratio or Fraction(1)
        if first.rotation // 90 % 2:
            width, height, aspect = height, width, 1 / aspect
        per_second = track.time_base.denominator
        if per_second < _FINE:
            per_second *= math.ceil(_FINE / per_second)
        colour_range = _LIMITED_RANGE if (context.pix_fmt or "").startswith(FULL_RANGE) else context.color_range
        return Format(
            width=max(2, width),
            height=max(2, height),
            aspect=aspect,
            unit=Fraction(1, min(per_second, 10_000_000)),
            rate=track.guessed_rate or track.average_rate or Fraction(25),
            colours=(colour_range, context.color_primaries, context.color_trc, context.colorspace),
        )


def _has_sound(path: MediaSource) -> bool:
    with open_media(path) as opened:
        return any(s.codec_context is not None for s in opened.container.streams.audio)


def _plays(clip: Path, segments: list[Segment]) -> bool:
    """Whether a joined clip decodes to exactly the pictures that went into it, in order and without a damaged one."""
    wanted = sorted(p.ticks for s in segments for p in s.pictures)
    with open_media(str(clip)) as opened:
        track = pick_stream(opened, "video", None)
        # Damage must raise instead of being concealed, and the deblocking filter changes no count.
        track.codec_context.options = {"err_detect": "explode", "skip_loop_filter": "all"}
        try:
            return [frame.pts for frame in opened.container.decode(track)] == wanted
        except av.error.FFmpegError:
            return False
