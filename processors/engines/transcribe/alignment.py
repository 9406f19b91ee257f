"""Subtitles that run early, late, fast or slow: finding the shift and the rate that fit the film's speech.

A subtitle file made for another copy differs by a constant (another logo in front) and by a rate (23.976, 24 and 25 frames
per second turned into each other). Both are found by comparing cues with voice activity:

1. For each possible rate, one FFT cross-correlation scores every offset at once.
2. The best offsets are refined on the exact times, without a grid.
3. The smallest change that scores clearly better than a smaller one is taken; none at all where nothing is clearly better.

A score is the mean of three agreements: of time (F1 of cue time and speech time), of cue starts with speech onsets, and of cue
ends with speech ends. Time finds the place in the film, edges make it exact where people talk without a pause.

Invariants: pure and deterministic; a subtitle that fits is never moved; corrected time = rate * time + offset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Span = tuple[float, float]

_NTSC = 24000 / 1001
RATES = (1.0, 25 / _NTSC, _NTSC / 25, 25 / 24, 24 / 25, 24 / _NTSC, _NTSC / 24)
"""Rates of film, PAL and NTSC turned into each other; 23.976 is 24000/1001 exactly."""

MAX_OFFSET = 180.0
"""Seconds. Other copies begin with other logos, recaps or warnings; more than three minutes apart is another edit."""
TOLERATED_SHIFT = 0.2
"""Seconds by which cues may be off anywhere before a change is considered: the care of a good subtitler."""
SHORTEST_DRIFT = 0.5
"""Seconds from the first to the last cue; a rate that changes less is drowned by the cues' ragged edges."""
MIN_CUES = 3
"""Fewer cues fit many places of a film."""
STEP = 0.02
"""Seconds per sample of the cross-correlation."""
EDGE_REACH = 0.4
"""Seconds between a cue's edge and a speech edge at which they have nothing to do with each other."""
TIME_WEIGHT = 1 / 3
"""Weight of the agreement of time in the score; the edges have the rest."""
REFINE_REACH = 0.6
"""Seconds around a peak of the cross-correlation that are searched again, exactly."""
PEAKS = 4
"""Peaks per rate that are refined."""
TIE = 0.005
"""Difference of scores that decides between two changes."""


@dataclass(frozen=True)
class Alignment:
    """How cues have to move: corrected time = rate * time + offset.

    Args:
        rate: factor for the cues' times.
        offset: seconds added after scaling.
    """

    rate: float = 1.0
    offset: float = 0.0

    def apply(self, seconds: float) -> float:
        """A cue's time on the film's clock."""
        return self.rate * seconds + self.offset


def align_cues(cues: Sequence[Span], speech: Sequence[Span], duration: float) -> Alignment:
    """Finds rate and offset of cues against voice activity.

    Args:
        cues: (start, end) in seconds, sorted.
        speech: (start, end) of voice activity over the whole film, seconds, sorted, without overlap. The finer its pauses,
            the better: the shortest ones lie between two speakers, where cues end too.
        duration: length of the film in seconds.

    Returns:
        The alignment; the identity where no change is clearly better.
    """
    if len(cues) < MIN_CUES or not len(speech):
        return Alignment()
    fit = _Fit(np.asarray(cues, float), np.asarray(speech, float))
    chosen, gain_needed = Alignment(), clear_gain(len(cues))
    chosen_score = fit.score(chosen)
    for candidate in sorted(_candidates(fit, duration), key=fit.largest_shift):
        score = fit.score(candidate)
        if fit.largest_shift(candidate) > TOLERATED_SHIFT and score > chosen_score + gain_needed:
            # Once something has to move, a larger change only has to be better than a smaller one.
            chosen, chosen_score, gain_needed = candidate, score, TIE
    return chosen


def clear_gain(cues: int) -> float:
    """Gain of the score that a change needs, from the number of cues.

    In simulated films (turns, pauses, missing and foreign cues, ragged edges) right subtitles gained at most 0.15 from a
    wrong change with 5 to 8 cues, 0.03 with 40 and nothing with 150; wrong ones gained 0.15 to 0.3 from the right change.
    """
    return 0.03 + 0.8 / cues


def agreement(cues: Sequence[Span], speech: Sequence[Span]) -> float:
    """F1 of cue time and speech time, 0 to 1; both sorted and without overlap."""
    if not len(cues) or not len(speech):
        return 0.0
    return float(_Fit(np.asarray(cues, float), np.asarray(speech, float)).times(1.0, np.zeros(1))[0])


def _candidates(fit: _Fit, duration: float) -> list[Alignment]:
    """The best offset for each rate that can be told from no change over the film's length."""
    candidates = []
    for rate in RATES:
        if rate != 1.0 and fit.drift(rate) < SHORTEST_DRIFT:
            continue
        refined = [Alignment(rate, fit.refine(rate, offset)) for offset in _peaks(fit, rate, duration)]
        candidates.append(max(refined, key=fit.score))
    return candidates


def _peaks(fit: _Fit, rate: float, duration: float) -> list[float]:
    """Offsets of the highest peaks of the score on a grid, by cross-correlation."""
    cues = fit.cues * rate
    lags = round(MAX_OFFSET / STEP)
    length = round((max(duration, cues[-1, 1], fit.speech[-1, 1]) + MAX_OFFSET) / STEP) + 2
    size = 1 << (length + lags).bit_length()
    overlap = _correlate(_boxes(cues, size), _boxes(fit.speech, size))
    total = (cues[:, 1] - cues[:, 0]).sum() + fit.speech_total
    score = TIME_WEIGHT * 2 * STEP * overlap / total
    for side in (0, 1):
        edges = _correlate(_impulses(cues[:, side], size), _tents(fit.speech[:, side], size))
        score = score + (1 - TIME_WEIGHT) / 2 * edges / len(cues)
    near = np.concatenate([score[-lags:], score[: lags + 1]])
    offsets = np.arange(-lags, lags + 1) * STEP
    found = []
    for _ in range(PEAKS):
        i = int(np.argmax(near))
        found.append(float(offsets[i]))
        near[max(0, i - round(1.0 / STEP)) : i + round(1.0 / STEP)] = -np.inf
    return found


def _correlate(first: Floats, second: Floats) -> Floats:
    """Circular cross-correlation: element k is the sum of first[t] * second[t + k]."""
    return np.fft.irfft(np.conj(np.fft.rfft(first)) * np.fft.rfft(second), len(first))


def _boxes(spans: Floats, size: int) -> Floats:
    edges = np.zeros(size + 1)
    np.add.at(edges, np.rint(spans[:, 0] / STEP).astype(int).clip(0, size), 1.0)
    np.add.at(edges, np.rint(spans[:, 1] / STEP).astype(int).clip(0, size), -1.0)
    return np.minimum(np.cumsum(edges[:size]), 1.0)


def _impulses(times: Floats, size: int) -> Floats:
    signal = np.zeros(size)
    np.add.at(signal, np.rint(times / STEP).astype(int).clip(0, size - 1), 1.0)
    return signal


def _tents(times: Floats, size: int) -> Floats:
    signal = np.zeros(size)
    reach = round(EDGE_REACH / STEP)
    places = np.rint(times / STEP).astype(int)
    for shift in range(-reach, reach + 1):
        at = places + shift
        at = at[(at >= 0) & (at < size)]
        signal[at] = np.maximum(signal[at], 1 - abs(shift) / reach)
    return signal


class _Fit:
    """Scores of changes for one film, on exact times."""

    def __init__(self, cues: Floats, speech: Floats) -> None:
        """Takes cues and speech as arrays of shape (n, 2)."""
        self.cues = cues
        self.speech = speech
        self.speech_total = float((speech[:, 1] - speech[:, 0]).sum())
        self._knots = speech.reshape(-1)
        # Seconds of speech before each edge: linear in between, so that overlaps are two interpolations.
        self._before = np.concatenate([[0.0], np.cumsum(np.diff(self._knots) * (np.arange(len(self._knots) - 1) % 2 == 0))])

    def largest_shift(self, alignment: Alignment) -> float:
        """Seconds by which a change moves the cue that it moves most."""
        edges = self.cues[[0, -1]]
        return float(np.abs((alignment.rate - 1) * edges + alignment.offset).max())

    def drift(self, rate: float) -> float:
        """Seconds by which a rate moves the last cue against the first."""
        return float(abs(rate - 1) * (self.cues[-1, 1] - self.cues[0, 0]))

    def score(self, alignment: Alignment) -> float:
        """Weighted mean of the agreement of time, of starts and of ends, 0 to 1."""
        return float(self.scores(alignment.rate, np.array([alignment.offset]))[0])

    def scores(self, rate: float, offsets: Floats) -> Floats:
        """Score of every offset, shape (offsets,)."""
        starts = rate * self.cues[:, 0] + offsets[:, None]
        ends = rate * self.cues[:, 1] + offsets[:, None]
        edges = (_nearness(starts, self.speech[:, 0]) + _nearness(ends, self.speech[:, 1])) / 2
        return TIME_WEIGHT * self.times(rate, offsets) + (1 - TIME_WEIGHT) * edges

    def times(self, rate: float, offsets: Floats) -> Floats:
        """F1 of cue time and speech time for every offset, shape (offsets,)."""
        starts = np.interp(rate * self.cues[:, 0] + offsets[:, None], self._knots, self._before)
        ends = np.interp(rate * self.cues[:, 1] + offsets[:, None], self._knots, self._before)
        cued = rate * float((self.cues[:, 1] - self.cues[:, 0]).sum())
        return np.asarray(2 * (ends - starts).sum(axis=1) / (cued + self.speech_total))

    def refine(self, rate: float, offset: float) -> float:
        """The best offset near one on the grid, in hundredths of a second."""
        for reach, step in ((REFINE_REACH, 0.05), (0.05, 0.01)):
            around = np.asarray(offset + np.arange(-round(reach / step), round(reach / step) + 1) * step, np.float64)
            offset = float(around[int(np.argmax(self.scores(rate, around)))])
        return round(offset, 2)


def _nearness(times: Floats, edges: Floats) -> Floats:
    """Mean over the last axis of 1 at an edge, falling to 0 at `EDGE_REACH` from the nearest."""
    padded = np.concatenate([[-np.inf], edges, [np.inf]])
    right = np.searchsorted(padded, times)
    nearest = np.minimum(padded[right] - times, times - padded[right - 1])
    return np.asarray(np.maximum(0.0, 1 - nearest / EDGE_REACH).mean(axis=-1))
