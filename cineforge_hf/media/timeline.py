"""Decoded sound laid on the source clock, sample by sample.

The sample with index i lies at i / rate seconds on the source clock. The first frame of a stream is placed by its time stamp
and the following ones after it; a stamp is believed again only when it leaves that line by more than `JITTER_SECONDS`: then
a gap becomes silence and an overlap is dropped. Rounded time stamps (Matroska's milliseconds) therefore never tear the sound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import av
import numpy as np

from cineforge_hf.errors import MediaError
from cineforge_hf.media.decode import decoded, frames_from, pick_stream, stamp_seconds
from cineforge_hf.media.mixing import Sound, frame_sound, mix
from cineforge_hf.media.source import MediaSource, Opened, open_media
from cineforge_hf.media.streams import sample_bits

JITTER_SECONDS = 0.02
"""Time stamps this near to the expected place are rounding, not a gap."""

PREROLL_SECONDS = 0.5
"""Decoded before a range: MP3's bit reservoir (0.3 s at most), Opus (80 ms), AAC's overlap (two frames)."""

_SILENCE_BLOCK = 1 << 16

_RESAMPLED_SECONDS = 0.5
"""Resampled at a time: codec frames (20 ms) would cost more in calls than in arithmetic."""


@dataclass(frozen=True)
class Grid:
    """The line that frame positions lie on: `anchor` + k * `frame` samples, seen through stamps rounded by `tolerance`."""

    anchor: int
    frame: int
    tolerance: int

    def snap(self, position: int) -> int:
        """The nearest place on the line, or the position itself where the line does not explain it."""
        near = self.anchor + round((position - self.anchor) / self.frame) * self.frame
        return near if abs(near - position) <= self.tolerance else position


@dataclass(frozen=True)
class Track:
    """A sound track: where it is and what it is made of.

    Attributes:
        path: the film.
        stream: stream number, None for the first.
        rate: Hz.
        channels: number of channels.
        bits: bits to store (16 or 24).
        grid: where frames can begin, if time stamps are coarser than a sample.
    """

    path: MediaSource
    stream: int | None
    rate: int
    channels: int
    bits: int
    grid: Grid | None


def open_track(path: MediaSource, stream: int | None) -> Track:
    """Look at a film's sound track.

    Args:
        path: the film, or its bytes.
        stream: stream number; None for the first.

    Raises:
        MediaError: `no_audio_stream`, or why the file cannot be opened.
    """
    with open_media(path) as opened:
        found = pick_stream(opened, "audio", stream)
        context = found.codec_context
        rate, channels, bits = context.sample_rate, context.channels, sample_bits(context)
        return Track(path, stream, rate, channels, bits, _coarse_grid(opened, found))


def timeline(track: Track, begin: int, stop: int | None, channels: int | None) -> Iterator[Sound]:
    """Gapless sound from sample `begin` to `stop`: silence in gaps, overlaps dropped.

    Args:
        track: the sound track.
        begin: index of the first sample.
        stop: index after the last sample; None for the end of the sound.
        channels: 1 or 2 to mix down; None for the track's own.

    Yields:
        float32 (channels, n) in pieces as they come from the decoder.
    """
    width = channels or track.channels
    cursor = begin
    for position, samples, names in _placed(track, begin / track.rate):
        if stop is not None and cursor >= stop:
            break
        for silence in _silence((position if stop is None else min(position, stop)) - cursor, width):
            yield silence
            cursor += silence.shape[1]
        part = samples[:, max(0, cursor - position) : None if stop is None else max(0, stop - position)]
        if part.shape[1]:
            cursor += part.shape[1]
            # Broadcasts change their channels on the way; the track keeps the number it was announced with.
            yield part if channels is None and len(part) == width else mix(part, names, width)
    if stop is not None:
        yield from _silence(stop - cursor, width)


def _coarse_grid(opened: Opened, stream: Any) -> Grid | None:
    rate = stream.codec_context.sample_rate
    if stream.time_base * rate <= 1:
        return None
    places = []
    for frame, position in _positions(opened, decoded(opened, stream), rate, None):
        places.append((position, frame.samples))
        if len(places) == 3:  # The first frame may be shortened by codec delay.
            (_, (anchor, size), (_, following)) = places
            return Grid(anchor, size, math.ceil(stream.time_base * rate)) if size == following else None
    return None


def _positions(opened: Opened, frames: Iterator[Any], rate: int, grid: Grid | None) -> Iterator[tuple[Any, int]]:
    """Each frame with the index of its first sample."""
    expected: int | None = None
    for frame in frames:
        if frame.sample_rate != rate:
            changed = f"its sound changes from {rate} to {frame.sample_rate} Hz"
            raise MediaError("sound_changes_rate", f"{opened.name}: {changed}; re-encode it")
        seconds = stamp_seconds(opened, frame)
        stamped = (expected or 0) if seconds is None else round(seconds * rate)
        if expected is None:
            if grid is not None and stamped > grid.anchor and frame.samples != grid.frame:
                continue  # Opus drops its codec delay after a seek too; such a frame is off the line.
            expected = stamped if grid is None else grid.snap(stamped)
        elif abs(stamped - expected) > JITTER_SECONDS * rate:
            expected = stamped
        yield frame, expected
        expected += frame.samples


def _placed(track: Track, seconds: float) -> Iterator[tuple[int, Sound, list[str]]]:
    """Decoded sound from shortly before a time on: (position, samples, channel names)."""
    with closing(frames_from(track.path, "audio", track.stream, seconds, PREROLL_SECONDS)) as source:
        first = next(source, None)
        if first is None:
            return
        opened, _, frame = first

        def frames() -> Iterator[Any]:
            yield frame
            for _, _, later in source:
                yield later

        for each, position in _positions(opened, frames(), track.rate, track.grid):
            yield position, frame_sound(each), [channel.name for channel in each.layout.channels]


def _silence(count: int, channels: int) -> Iterator[Sound]:
    for done in range(0, count, _SILENCE_BLOCK):
        yield np.zeros((channels, min(_SILENCE_BLOCK, count - done)), np.float32)


def resampled(sound: Iterator[Sound], native: int, rate: int, channels: int) -> Iterator[Sound]:
    """Resample with swresample, each channel alone, so that the channel layout does not matter.

    The first output sample lies on the first input sample (seen on swresample 6.3: its filter delay is taken out).
    """
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
    for piece in blocks(sound, max(1, int(native * _RESAMPLED_SECONDS))):
        empty = False
        yield push(piece)
    if not empty:
        yield push(None)


def window(sound: Iterator[Sound], skip: int, count: int | None) -> Iterator[Sound]:
    """Drop the first `skip` samples and all after the next `count` (None: nothing more)."""
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


def blocks(sound: Iterator[Sound], size: int) -> Iterator[Sound]:
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
