"""Vocals by repetition, without any weights: REPET-SIM, a median along time for held notes, and a gate.

Music repeats itself and speech does not. For each frame of a spectrogram, the frames most like it show what recurs there
(REPET-SIM: Z. Rafii and B. Pardo, "Music/Voice Separation Using the Similarity Matrix", ISMIR 2012). Held notes recur in
the next frames already, and a median along time finds them better (D. FitzGerald, "Vocal Separation Using Nearest
Neighbours and Median Filtering", ISSC 2012). Both estimates add up to the background's power, and a Wiener filter takes
it out of the mix.

Alone this costs more than it gains on most film sound: speech resembles itself too, and what is wrongly taken from it lies
about 10 dB under it. So a gate estimates, from the mix alone, how much of it is background, and where no gain is expected
the mix passes through unchanged. Two estimates must agree: the quietest frames, since speech pauses for a tenth of any few
seconds (R. Martin, "Noise Power Spectral Density Estimation Based on Optimal Smoothing and Minimum Statistics", IEEE TSAP
2001, in its simplest form); and how much the filter finds, beyond what it finds in speech alone.

Measured as the gain in SI-SDR over the mix (`tests/processors/test_repet.py`, `tests/music.py`). Six clips of real films
against their known vocals: 0.0, 0.0, 1.9, 3.1, 3.9 and 6.5 dB, of which the last four are rumble. The same vocals with made
music at 0 dB, as clips of 4 to 9 s (mean and least of six): loop 4.1 and 2.8, band 3.5 and 2.4, loose band 3.1 and 1.7,
arpeggio 3.3 and 1.8, piano 5.2 and 3.9, strings 8.5 and 6.9; on end as one scene of 33 s, where more repeats: 4.3 to 8.3.
Drums alone gain nothing (0.2): between hits there is no floor, so the gate stays shut. Other films' backgrounds under these
vocals: from 5 dB up at worst -0.5, mean 1.4; at 0 dB at worst -1.3 (a background with remains of speech), mean 3.0. Monotonous
synthetic speech without pauses is what it judges worst.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from cineforge_hf.media.mixing import Sound
from cineforge_hf.processor import EngineInfo
from cineforge_hf.processors.engines.separate.windows import in_windows

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex64]

WINDOW_SECONDS, OVERLAP_SECONDS = 30.0, 4.0
"""Frames are compared within a window, at a cost that grows with its square; 30 s hold some ten bars of music."""
FRAME_SECONDS = 0.128
"""Long enough that a held note is a line and a spoken vowel, whose pitch moves, is a smear."""
HOPS = 4
"""Frames overlap by three quarters."""

NEIGHBOURS = 8
APART_SECONDS = 0.25
"""Between a frame and its neighbours, and among them: below, a vowel would be its own neighbour."""
NEIGHBOUR_QUANTILE = 0.3
"""Of the neighbours' levels. The paper's median takes a third more of the speech for hardly more of the music."""
HELD_SECONDS = 0.25
"""Half the span of the median along time."""

RUMBLE_HERTZ = (50.0, 75.0)
"""Nothing below is speech (a bass voice's fundamental is at 80 Hz); the filter rises between the two."""
RUMBLE_SHARE = 10**-2.5
"""Share of the power that rumble must have to be taken out."""

SEGMENT_SECONDS = 4.0
"""The gate's span: shorter ones may hold no pause, longer ones mix scenes."""
SPEECH_HERTZ = (90.0, 4000.0)
FLOOR_PERCENTILE = 10
FLOOR_BIAS_DB = 3.0
"""How far the quietest tenth of a background lies below its mean (steady noise 1 dB, music 2 to 6)."""
FOUND_IN_SPEECH, FOUND_IN_MUSIC = 0.15, 0.75
"""Share of the power that the filter takes for background in speech alone, and in music alone."""
SPEECH_ERROR_DB = -10.0
"""What the filter takes from speech, relative to it."""
MUSIC_REST_DB = -5.0
"""What the filter leaves of music, relative to it."""
FULL_GAIN_DB = 0.5
"""Expected gain from which the filter works fully; from 0 to here it is faded in."""

_TINY = 1e-12


class RepetEngine:
    """REPET-SIM with a gate; needs numpy alone."""

    @property
    def info(self) -> EngineInfo:
        """Name and revision; there are no weights."""
        return EngineInfo("repet", "1", "Apache-2.0")

    def check(self) -> None:
        """Nothing can be missing."""

    def rate(self, native: int) -> int:
        """Works at any rate."""
        return native

    def separate(self, mix: Iterator[Sound], rate: int) -> Iterator[Sound]:
        """See `SeparationEngine.separate`."""
        yield from in_windows(
            mix, partial(separate_window, rate=rate), round(WINDOW_SECONDS * rate), round(OVERLAP_SECONDS * rate)
        )


def separate_window(mix: Sound, rate: int) -> Sound:
    """The vocals of one window.

    Args:
        mix: (channels, n).
        rate: Hz.

    Returns:
        (channels, n); equal to the mix where the gate is shut and there is no rumble.
    """
    frame = 2 * round(FRAME_SECONDS * rate / 2 / HOPS) * HOPS
    hop = frame // HOPS
    spectra = np.stack([_spectrum(channel, frame, hop) for channel in mix])
    power = np.asarray(np.mean(np.abs(spectra) ** 2, axis=0), np.float32)
    hertz = np.asarray(np.fft.rfftfreq(frame, 1 / rate), np.float64)
    speech = (hertz >= SPEECH_HERTZ[0]) & (hertz < SPEECH_HERTZ[1])
    removed = _gated(power, speech, hop / rate)
    if (rumble := _rumble(power, hertz)) is not None:
        removed = np.maximum(removed, rumble)
    if not removed.any():
        return mix
    return np.stack([channel - _sound(s * removed, frame, hop, len(channel)) for channel, s in zip(mix, spectra, strict=True)])


def expected_gain(background: Doubles) -> Doubles:
    """Gain of the filter in dB where a share of the power is background.

    Of a mix with speech S and background N, the mix itself is off by N, the filtered mix by a part of S and a part of N:
    the gain is 10 log10(N / (S * 10**(SPEECH_ERROR_DB / 10) + N * 10**(MUSIC_REST_DB / 10))), zero at S / N = 8.3 dB.

    Args:
        background: shares N / (S + N), any shape.

    Returns:
        dB, of the same shape.
    """
    noise = np.clip(background, _TINY, 1.0)
    return np.asarray(10 * np.log10(noise / ((1 - noise) * 10 ** (SPEECH_ERROR_DB / 10) + noise * 10 ** (MUSIC_REST_DB / 10))))


def _gated(power: Floats, speech: npt.NDArray[np.bool_], step: float) -> Floats:
    """Share of each bin's amplitude to take out, (frames, bins): the filter's, as far as a gain is expected."""
    levels = power[:, speech].sum(axis=1, dtype=np.float64)
    segments = _segments(len(levels), max(1, round(SEGMENT_SECONDS / step)))
    means = np.array([levels[s].mean() for s in segments]) + _TINY
    floors = np.array([np.percentile(levels[s], FLOOR_PERCENTILE) for s in segments])
    by_floor = floors * 10 ** (FLOOR_BIAS_DB / 10) / means
    if np.all(expected_gain(by_floor) <= 0):
        return np.zeros_like(power)  # The usual case in film dialogue, and much the cheaper.
    share = _background(power, step)
    found = (share * power)[:, speech].sum(axis=1, dtype=np.float64)
    by_filter = (np.array([found[s].mean() for s in segments]) / means - FOUND_IN_SPEECH) / (FOUND_IN_MUSIC - FOUND_IN_SPEECH)
    openings = np.clip(expected_gain(np.minimum(by_floor, by_filter)) / FULL_GAIN_DB, 0.0, 1.0)
    centres = [(s.start + s.stop) / 2 for s in segments]
    opening = np.interp(np.arange(len(levels)), centres, openings).astype(np.float32)
    return np.asarray(opening[:, None] * share, np.float32)


def _segments(count: int, span: int) -> list[slice]:
    """Half-overlapping segments of `span` frames; the last ends with the last frame."""
    last = max(0, count - span)
    starts = [*range(0, last, max(1, span // 2)), last]
    return [slice(start, min(start + span, count)) for start in starts]


def _background(power: Floats, step: float) -> Floats:
    """Share of each bin's amplitude that a Wiener filter takes for background, (frames, bins)."""
    level = np.sqrt(power)
    background = (
        _held(level, max(1, round(HELD_SECONDS / step))) ** 2 + _recurring(level, max(1, round(APART_SECONDS / step))) ** 2
    )
    return np.asarray(np.minimum(background, power) / (power + _TINY), np.float32)


def _held(level: Floats, reach: int) -> Floats:
    """Median of each bin over `reach` frames on both sides, at most the level itself."""
    padded = np.pad(level, ((reach, reach), (0, 0)), mode="symmetric")
    out = np.empty_like(level)
    for at in range(0, len(level), 64):  # In pieces: all windows at once would take 17 times the spectrogram.
        piece = sliding_window_view(padded[at : at + 64 + 2 * reach], 2 * reach + 1, axis=0)
        out[at : at + 64] = np.median(piece, axis=-1)
    return np.minimum(out, level)


def _recurring(level: Floats, apart: int) -> Floats:
    """What recurs: a low quantile of each bin over the frames most like each frame, at most the level itself."""
    unit = level / (np.linalg.norm(level, axis=1, keepdims=True) + _TINY)
    likeness = unit @ unit.T
    out = np.zeros_like(level)
    for at, scores in enumerate(likeness):
        scores[max(0, at - apart) : at + apart + 1] = -1.0
        near: list[int] = []
        while len(near) < NEIGHBOURS and scores[best := int(np.argmax(scores))] > 0:
            near.append(best)
            scores[max(0, best - apart) : best + apart + 1] = -1.0
        if near:
            rank = int(NEIGHBOUR_QUANTILE * (len(near) - 1))
            out[at] = np.partition(level[near], rank, axis=0)[rank]
    return np.minimum(out, level)


def _rumble(power: Floats, hertz: Doubles) -> Floats | None:
    """Share of each bin's amplitude to take out below speech, (1, bins); None where hardly anything is there."""
    low, high = RUMBLE_HERTZ
    share = np.clip((high - hertz) / (high - low), 0.0, 1.0).astype(np.float32)
    total = power.sum(dtype=np.float64)
    if not total or (power * share).sum(dtype=np.float64) < RUMBLE_SHARE * total:
        return None
    return share[None, :]


def _taper(frame: int) -> Floats:
    """Square root of a periodic Hann window: analysis and synthesis together add up to HOPS / 2."""
    return np.sqrt(np.hanning(frame + 1)[:frame]).astype(np.float32)


def _spectrum(sound: Floats, frame: int, hop: int) -> Complexes:
    padded = np.pad(sound, (frame, frame + -len(sound) % hop))
    return np.fft.rfft(sliding_window_view(padded, frame)[::hop] * _taper(frame), axis=1).astype(np.complex64)


def _sound(spectrum: Complexes, frame: int, hop: int, count: int) -> Floats:
    frames = np.fft.irfft(spectrum, frame, axis=1).astype(np.float32) * (_taper(frame) * (2 / HOPS))
    out = np.zeros((len(frames) - 1) * hop + frame, np.float32)
    for number, piece in enumerate(frames):
        out[number * hop : number * hop + frame] += piece
    return out[frame : frame + count]
