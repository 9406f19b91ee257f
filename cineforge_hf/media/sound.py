"""Decoded sound on the source clock.

`iter_sound` walks a film in blocks, `read_sound` reads one range, `iter_sound_ranges` cuts many ranges for export in a
single pass. All three agree on where a sample lies (see `timeline.py`), and none holds more of a film than it was asked for.

Resampling starts on a common grid point of both rates with `CONTEXT_SECONDS` of context, so that a range read alone equals
the same range of the whole film resampled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from cineforge_hf.errors import MediaError
from cineforge_hf.media.mixing import Samples, Sound, quantise
from cineforge_hf.media.source import MediaSource, media_name
from cineforge_hf.media.timeline import Track, blocks, open_track, resampled, timeline, window

CONTEXT_SECONDS = 0.1
"""Source sound on either side of a range that the resampler sees; its filter is a few milliseconds long."""


def iter_sound(
    path: MediaSource,
    *,
    stream: int | None = None,
    rate: int | None = None,
    mono: bool = False,
    start: float = 0.0,
    end: float | None = None,
    block: float = 10.0,
) -> Iterator[Sound]:
    """Walk through a film's sound.

    Args:
        path: the film, or its bytes.
        stream: stream number of the track (`AudioStream.index`); None for the first.
        rate: Hz to resample to; None for the source's own.
        mono: mix down to one channel.
        start: seconds on the source clock of the first sample.
        end: seconds on the source clock; None for the end of the sound. Beyond the sound there is silence.
        block: seconds per block.

    Yields:
        float32 blocks of shape (channels, n), in all round((end - start) * rate) samples; sample k lies at start + k / rate.

    Raises:
        MediaError: `no_audio_stream`, `undecodable`, `bad_range`, or why the file cannot be opened.
    """
    track = open_track(path, stream)
    yield from blocks(_walk(track, rate, 1 if mono else None, start, end), max(1, round(block * (rate or track.rate))))


def read_sound(
    path: MediaSource,
    start: float,
    end: float,
    *,
    stream: int | None = None,
    rate: int | None = None,
    mono: bool = False,
) -> Sound:
    """Read one range of a film's sound by seeking.

    Equal to the same range of `iter_sound` as far as the codec permits: bit for bit for PCM, FLAC and the like; AAC may
    differ by its noise substitution, which has a state of its own.

    Args:
        path: the film, or its bytes.
        start: seconds on the source clock.
        end: seconds on the source clock; beyond the sound there is silence.
        stream: stream number of the track; None for the first.
        rate: Hz to resample to; None for the source's own.
        mono: mix down to one channel.

    Returns:
        float32 of shape (channels, round((end - start) * rate)).

    Raises:
        MediaError: see `iter_sound`.
    """
    return _read(open_track(path, stream), rate, 1 if mono else None, start, end)


def read_stereo(
    path: MediaSource, start: float, end: float, *, stream: int | None = None, rates: Sequence[int]
) -> tuple[Sound, int]:
    """Read one range as two channels, at the source's rate if that is among `rates`, else at the last of them.

    Returns:
        (float32 of shape (2, n), Hz).

    Raises:
        MediaError: see `iter_sound`.
    """
    track = open_track(path, stream)
    rate = track.rate if track.rate in rates else rates[-1]
    return _read(track, rate, 2, start, end), rate


def iter_sound_ranges(
    path: MediaSource, ranges: Sequence[tuple[float, float]], *, stream: int | None = None
) -> Iterator[tuple[int, Samples, int]]:
    """Cut many ranges out of a film's sound in one pass from its beginning.

    One pass, because a decoder that has sought is not bit-exact (FFmpeg's AAC noise substitution draws from a generator
    that runs through the whole film), and an exported corpus must not depend on how the work was split.

    Args:
        path: the film, or its bytes.
        ranges: (start, end) in seconds on the source clock, sorted by start; they may overlap.
        stream: stream number of the track; None for the first.

    Yields:
        (number of the range, samples (n, channels), rate in Hz) as ranges end; int16, or int32 with 24-bit values where
        `AudioStream.bits` is 24. n = round((end - start) * rate); beyond the sound there is silence.

    Raises:
        MediaError: `bad_range` for unsorted or negative ranges, and see `iter_sound`.
    """
    if any(s < 0 or e < s for s, e in ranges) or any(a[0] > b[0] for a, b in pairwise(ranges)):
        raise MediaError(
            "bad_range", f"{media_name(path)}: the ranges to cut must be sorted by start and not negative; sort the clips"
        )
    if not ranges:
        return
    track = open_track(path, stream)
    edges = [(first := round(s * track.rate), first + round((e - s) * track.rate)) for s, e in ranges]
    waiting, position = 0, 0
    parts: dict[int, list[Samples]] = {}
    for piece in timeline(track, 0, max(last for _, last in edges), None):
        whole = quantise(piece, track.bits)
        behind = position + len(whole)
        while waiting < len(edges) and edges[waiting][0] < behind:
            parts[waiting] = []
            waiting += 1
        for number in list(parts):
            first, last = edges[number]
            # A copy, so that a range in flight holds its own samples and not all that was decoded with them.
            parts[number].append(whole[max(0, first - position) : max(0, last - position)].copy())
            if last <= behind:
                yield number, _joined(parts.pop(number), track), track.rate
        position = behind
    for number in range(waiting, len(edges)):  # empty ranges at the very end
        yield number, _joined([], track), track.rate


def _joined(parts: list[Samples], track: Track) -> Samples:
    joined: Samples = np.concatenate([np.zeros((0, track.channels), np.int16 if track.bits == 16 else np.int32), *parts])
    return joined


def _read(track: Track, rate: int | None, channels: int | None, start: float, end: float) -> Sound:
    empty = np.zeros((channels or track.channels, 0), np.float32)
    return np.concatenate([empty, *_walk(track, rate, channels, start, end)], axis=1)


def _walk(track: Track, rate: int | None, channels: int | None, start: float, end: float | None) -> Iterator[Sound]:
    """The range at the wanted rate and number of channels (1, 2 or None for the track's), in pieces of any size."""
    if start < 0 or (end is not None and end < start):
        where = f"from {start} s to {end} s"
        raise MediaError("bad_range", f"{media_name(track.path)}: cannot read {where}; times are seconds from the film's start")
    native, out = track.rate, rate or track.rate
    first = round(start * out)
    count = None if end is None else round((end - start) * out)
    # The native sample to start from: on the common grid of both rates, with context before it.
    step = native // math.gcd(native, out)
    context = math.ceil(CONTEXT_SECONDS * native) if out != native else 0
    begin = max(0, (first * native // out - context) // step * step)
    stop = None if count is None else math.ceil((first + count) * native / out) + context
    sound = timeline(track, begin, stop, channels)
    if out != native:
        sound = resampled(sound, native, out, channels or track.channels)
    return window(sound, first - begin * out // native, count)
