"""Decoded sound on the source clock.

`iter_sound` walks a film in blocks, `read_sound` reads one range, `iter_sound_ranges` cuts many ranges for export in a
single pass. All three agree on where a sample lies: the sample with index i lies at i / rate seconds on the source clock.

Invariants:
- The first frame of a stream is placed by its time stamp and the following ones after it; a stamp is believed again only
  when it leaves that line by more than `JITTER_SECONDS`: then a gap becomes silence and an overlap is dropped. Rounded
  time stamps (Matroska's milliseconds) therefore never tear the sound.
- Memory does not grow with the film.
- Resampling starts on a common grid point of both rates with `CONTEXT_SECONDS` of context, so that a range read alone
  equals the same range of the whole film resampled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from cineforge_hf.errors import MediaError
from cineforge_hf.media.decode import decoded, frames_from, pick_stream, stamp_seconds
from cineforge_hf.media.source import MediaSource, Opened, open_media
from cineforge_hf.media.streams import sample_bits

Sound = NDArray[np.float32]
Samples = NDArray[np.int16] | NDArray[np.int32]

JITTER_SECONDS = 0.02
"""Time stamps this near to the expected place are rounding, not a gap."""

PREROLL_SECONDS = 0.5
"""Decoded before a range: MP3's bit reservoir (0.3 s at most), Opus (80 ms), AAC's overlap (two frames)."""

CONTEXT_SECONDS = 0.1
"""Source sound on either side of a range that the resampler sees; its filter is a few milliseconds long."""

_SILENCE_BLOCK = 1 << 16


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
    if start < 0 or (end is not None and end < start):
        raise MediaError("bad_range", f"cannot read the sound from {start} s to {end} s; times are seconds from the film's start")
    with open_media(path) as opened:
        track = pick_stream(opened, "audio", stream)
        native, channels, grid = track.codec_context.sample_rate, track.codec_context.channels, _coarse_grid(opened, track)
    out = rate or native
    first = round(start * out)
    count = None if end is None else round((end - start) * out)
    # Native sample to start from: on the common grid of both rates, with context before it.
    step = native // math.gcd(native, out)
    context = math.ceil(CONTEXT_SECONDS * native) if out != native else 0
    begin = max(0, (first * native // out - context) // step * step)
    stop = None if count is None else (math.ceil((first + count) * native / out) + context)

    pieces = _placed(path, stream, begin / native, grid)
    sound = _timeline(pieces, begin, stop, 1 if mono else channels, mono)
    if out != native:
        sound = _resampled(sound, native, out, 1 if mono else channels)
    sound = _window(sound, first - begin * out // native, count)
    yield from _blocks(sound, max(1, round(block * out)))


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
    blocks = list(iter_sound(path, stream=stream, rate=rate, mono=mono, start=start, end=end, block=60.0))
    if blocks:
        return np.concatenate(blocks, axis=1)
    with open_media(path) as opened:
        return np.zeros((1 if mono else pick_stream(opened, "audio", stream).codec_context.channels, 0), np.float32)


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
        `AudioStream.bits` is 24. n = round(end * rate) - round(start * rate); beyond the sound there is silence.

    Raises:
        MediaError: `bad_range` for unsorted or negative ranges, and see `iter_sound`.
    """
    if any(s < 0 or e < s for s, e in ranges) or any(a[0] > b[0] for a, b in pairwise(ranges)):
        raise MediaError("bad_range", "the ranges to cut must lie in the film and be sorted by start; sort the clips first")
    if not ranges:
        return
    with open_media(path) as opened:
        track = pick_stream(opened, "audio", stream)
        rate, channels, bits = track.codec_context.sample_rate, track.codec_context.channels, sample_bits(track.codec_context)
    edges = [(round(s * rate), round(e * rate)) for s, e in ranges]
    waiting, position = 0, 0
    parts: dict[int, list[Samples]] = {}
    sound = _timeline(_placed(path, stream, 0.0, None), 0, max(e for _, e in edges), channels, mono=False)
    for piece in sound:
        whole = quantise(piece, bits).T
        behind = position + len(whole)
        while waiting < len(edges) and edges[waiting][0] < behind:
            parts[waiting] = []
            waiting += 1
        for number in list(parts):
            first, last = edges[number]
            # A copy, so that a range in flight holds its own samples and not all that was decoded with them.
            parts[number].append(whole[max(0, first - position) : max(0, last - position)].copy())
            if last <= behind:
                yield number, _joined(parts.pop(number), channels, bits), rate
        position = behind
    for number in [*parts, *range(waiting, len(edges))]:  # empty ranges at the very end
        yield number, _joined(parts.get(number, []), channels, bits), rate


def _joined(parts: list[Samples], channels: int, bits: int) -> Samples:
    joined: Samples = np.concatenate([np.zeros((0, channels), np.int16 if bits == 16 else np.int32), *parts])
    return joined


def quantise(sound: Sound, bits: int) -> Samples:
    """Round float sound in [-1, 1) to integers of `bits` bits: clip(round(x * 2**(bits - 1)))."""
    full = float(1 << (bits - 1))
    # float64: float32 cannot hold 2**23 - 1 apart from 2**23 once halves are rounded.
    words = np.clip(np.rint(sound.astype(np.float64) * full), -full, full - 1)
    return words.astype(np.int16) if bits == 16 else words.astype(np.int32)


def downmix(sound: Sound, names: Sequence[str]) -> Sound:
    """Mix to one channel with ITU-R BS.775 weights, normalised so that nothing can clip.

    Args:
        sound: (channels, n).
        names: FFmpeg's channel names, e.g. FL, FR, FC, LFE, BL, BR.

    Returns:
        (1, n). Two channels give their mean; LFE is left out, as in broadcast down-mixes.
    """
    weights = np.array([_weight(name) for name in names], np.float32)
    if not weights.any() or len(weights) != len(sound):
        weights = np.ones(len(sound), np.float32)
    return np.asarray((weights / weights.sum()) @ sound, np.float32)[None, :]


def _weight(name: str) -> float:
    if name.startswith("LFE"):
        return 0.0
    if name == "FC":
        return 1.0
    return math.sqrt(0.5) if name in {"FL", "FR", "DL", "DR"} else 0.5


def _samples(frame: Any) -> Sound:
    """A frame's samples as float32 (channels, n); integers are scaled by a power of two, so exactly (to 24 bits)."""
    raw: NDArray[Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        raw = raw.reshape(-1, frame.layout.nb_channels).T
    if raw.dtype == np.uint8:
        return np.asarray((raw.astype(np.float32) - 128.0) / 128.0, np.float32)
    if raw.dtype.kind == "i":
        return np.asarray(raw.astype(np.float32) * np.float32(2.0 ** (1 - 8 * raw.dtype.itemsize)), np.float32)
    return np.asarray(raw, np.float32)


Grid = tuple[int, int, int]
"""(a sample position, samples per frame, tolerance in samples) of the line that a stream's frames lie on."""


def _coarse_grid(opened: Opened, stream: Any) -> Grid | None:
    """The line of frame positions where time stamps are coarser than a sample, so that a sought frame finds its place."""
    rate = stream.codec_context.sample_rate
    if stream.time_base * rate <= 1:
        return None
    places = []
    for frame, position in _positions(opened, decoded(opened, stream), rate):
        places.append((position, frame.samples))
        if len(places) == 3:  # The first frame may be shortened by codec delay.
            return (places[1][0], places[1][1], math.ceil(stream.time_base * rate)) if places[1][1] == places[2][1] else None
    return None


def _positions(opened: Opened, frames: Iterator[Any], rate: int, grid: Grid | None = None) -> Iterator[tuple[Any, int]]:
    """Each frame with the index of its first sample on the source clock."""
    expected: int | None = None
    for frame in frames:
        if frame.sample_rate != rate:
            raise MediaError(
                "sound_changes_rate", f"{opened.name}: its sound changes from {rate} to {frame.sample_rate} Hz; re-encode it"
            )
        seconds = stamp_seconds(opened, frame)
        stamped = expected or 0 if seconds is None else round(seconds * rate)
        if expected is None:
            if grid is not None and stamped > grid[0] and frame.samples != grid[1]:
                continue  # Opus drops its codec delay after a seek too; such a frame is off the line.
            expected = stamped if grid is None else _on_grid(stamped, grid)
        elif abs(stamped - expected) > JITTER_SECONDS * rate:
            expected = stamped
        yield frame, expected
        expected += frame.samples


def _on_grid(stamped: int, grid: Grid) -> int:
    near = grid[0] + round((stamped - grid[0]) / grid[1]) * grid[1]
    return near if abs(near - stamped) <= grid[2] else stamped


def _placed(path: MediaSource, stream: int | None, seconds: float, grid: Grid | None) -> Iterator[tuple[int, Sound, list[str]]]:
    """Decoded sound from shortly before a time on: (position, samples, channel names)."""
    with closing(frames_from(path, "audio", stream, seconds, PREROLL_SECONDS)) as source:
        first = next(source, None)
        if first is None:
            return
        opened, track, frame = first

        def frames() -> Iterator[Any]:
            yield frame
            for _, _, later in source:
                yield later

        for each, position in _positions(opened, frames(), track.codec_context.sample_rate, grid):
            yield position, _samples(each), [channel.name for channel in each.layout.channels]


def _timeline(
    pieces: Iterator[tuple[int, Sound, list[str]]], begin: int, stop: int | None, channels: int, mono: bool
) -> Iterator[Sound]:
    """Gapless sound from sample `begin` to `stop` (None: the end of the sound): silence in gaps, overlaps dropped."""
    cursor = begin
    for position, samples, names in pieces:
        if stop is not None and cursor >= stop:
            break
        for silence in _silence(min(position, stop if stop is not None else position) - cursor, channels):
            yield silence
            cursor += silence.shape[1]
        part = samples[:, max(0, cursor - position) : None if stop is None else max(0, stop - position)]
        if part.shape[1]:
            cursor += part.shape[1]
            # A track that changes its channels (broadcasts) keeps the number it was announced with.
            yield (
                downmix(part, names)
                if mono
                else part
                if len(part) == channels
                else np.repeat(downmix(part, names), channels, axis=0)
            )
    if stop is not None:
        yield from _silence(stop - cursor, channels)


def _silence(count: int, channels: int) -> Iterator[Sound]:
    for done in range(0, count, _SILENCE_BLOCK):
        yield np.zeros((channels, min(_SILENCE_BLOCK, count - done)), np.float32)


def _resampled(sound: Iterator[Sound], native: int, rate: int, channels: int) -> Iterator[Sound]:
    """Resample with swresample, each channel alone, so that the channel layout does not matter."""
    lanes = [av.AudioResampler(format="fltp", layout="mono", rate=rate) for _ in range(channels)]

    def push(piece: Sound | None) -> Sound:
        done = []
        for number, lane in enumerate(lanes):
            frame = None
            if piece is not None:
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece[number : number + 1]), format="fltp", layout="mono")
                frame.sample_rate = native
            done.append(np.concatenate([np.zeros((1, 0), np.float32), *(f.to_ndarray() for f in lane.resample(frame))], axis=1))
        return np.concatenate(done)

    empty = True
    for piece in sound:
        empty = False
        yield push(piece)
    if not empty:
        yield push(None)


def _window(sound: Iterator[Sound], skip: int, count: int | None) -> Iterator[Sound]:
    """Drop the first `skip` samples and all after the next `count`."""
    for piece in sound:
        part = piece[:, skip:]
        skip = max(0, skip - piece.shape[1])
        if count is not None:
            part = part[:, :count]
            count -= part.shape[1]
        if part.shape[1]:
            yield part
        if count == 0:
            return


def _blocks(sound: Iterator[Sound], size: int) -> Iterator[Sound]:
    """Cut into blocks of `size` samples; the last may be shorter."""
    held: list[Sound] = []
    have = 0
    for piece in sound:
        held.append(piece)
        have += piece.shape[1]
        while have >= size:
            joined = np.concatenate(held, axis=1)
            yield joined[:, :size]
            held, have = [joined[:, size:]], have - size
    if have:
        yield np.concatenate(held, axis=1)
