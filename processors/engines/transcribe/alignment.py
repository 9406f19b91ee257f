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
MIN_CUES = 3
"""Fewer cues fit many places of a film."""
STEP = 0.02
"""Seconds per sample of the cross-correlation."""
EDGE_REACH = 0.4
"""Seconds between a cue's edge and a speech edge at which they have nothing to do with each other."""
REFINE_REACH = 0.6
"""Seconds around a peak of the cross-correlation that are searched again, exactly."""
PEAKS = 4
"""Peaks per rate that are refined."""


@dataclass(frozen=True)
class Alignment:
    """How cues have to move, and how well they then fit.

    Args:
        rate: factor for the cues' times.
        offset: seconds added after scaling.
        match: F1 of cue time and speech time after the change, 0 to 1.
    """

    rate: float
    offset: float
    match: float

    @property
    def is_identity(self) -> bool:
        """Whether cues stay where they are."""
        return self.rate == 1.0 and self.offset == 0.0


def align_cues(cues: Sequence[Span], speech: Sequence[Span], duration: float, *, change: bool = True) -> Alignment:
    """Finds rate and offset of cues against voice activity.

    Args:
        cues: (start, end) in seconds, sorted.
        speech: (start, end) of voice activity over the whole film, seconds, sorted, without overlap.
        duration: length of the film in seconds.
        change: False to measure the match alone.

    Returns:
        The alignment; the identity where no change is clearly better.
    """
    if not cues or not speech:
        return Alignment(1.0, 0.0, 0.0)
    fit = _Fit(np.asarray(cues, float), np.asarray(speech, float))
    best = (1.0, 0.0)
    if change and len(cues) >= MIN_CUES:
        best = _least_change(fit, _candidates(fit, duration))
    return Alignment(*best, match=fit.match(*best))


def _least_change(fit: _Fit, candidates: list[tuple[float, float]]) -> tuple[float, float]:
    """The smallest change that no larger one beats clearly."""
    margin = clear_margin(len(fit.cues))
    chosen = (1.0, 0.0)
    scored = sorted((fit.largest_shift(*c), c, fit.score(*c)) for c in candidates)
    chosen_score = fit.score(*chosen)
    for shift, candidate, score in scored:
        if shift > TOLERATED_SHIFT and score > chosen_score + margin:
            chosen, chosen_score = candidate, score
            margin = SMALL_MARGIN
    return chosen


SMALL_MARGIN = 0.005


def clear_margin(cues: int) -> float:
    """Gain of the score that a change needs: few cues fit better elsewhere by chance."""
    return 0.03 + 0.3 / cues


def _candidates(fit: _Fit, duration: float) -> list[tuple[float, float]]:
    found = []
    for rate in RATES:
        peaks = _peaks(fit, rate, duration)
        refined = [fit.refine(rate, offset) for offset in peaks]
        found.append((rate, max(refined, key=lambda o: fit.score(rate, o))))
    return found


def _peaks(fit: _Fit, rate: float, duration: float) -> list[float]:
    """Offsets of the highest peaks of the score on a grid, by cross-correlation."""
    cues = fit.cues * rate
    lags = round(MAX_OFFSET / STEP)
    length = round((max(duration, cues[-1, 1], fit.speech[-1, 1]) + MAX_OFFSET) / STEP) + 2
    size = 1 << (length + lags).bit_length()
    overlap = _correlate(_boxes(cues, size), _boxes(fit.speech, size))
    total = (cues[:, 1] - cues[:, 0]).sum() + fit.speech_total
    score = 2 * STEP * overlap / total
    for side in (0, 1):
        score = score + _correlate(_impulses(cues[:, side], size), _tents(fit.speech[:, side], size)) / len(cues)
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
        self.cues = cues
        self.speech = speech
        self.speech_total = float((speech[:, 1] - speech[:, 0]).sum())
        self._knots = speech.reshape(-1)
        # Seconds of speech before each edge: linear in between, so that overlaps are two interpolations.
        self._before = np.concatenate([[0.0], np.cumsum(np.diff(self._knots) * (np.arange(len(self._knots) - 1) % 2 == 0))])

    def largest_shift(self, rate: float, offset: float) -> float:
        """Seconds by which a change moves the cue that it moves most."""
        edges = self.cues[[0, -1]]
        return float(np.abs((rate - 1) * edges + offset).max())

    def match(self, rate: float, offset: float) -> float:
        """F1 of cue time and speech time."""
        cues = rate * self.cues + offset
        heard = np.interp(cues, self._knots, self._before)
        overlap = float((heard[:, 1] - heard[:, 0]).sum())
        return 2 * overlap / (float((cues[:, 1] - cues[:, 0]).sum()) + self.speech_total)

    def score(self, rate: float, offset: float) -> float:
        """Mean of the agreement of time, of starts and of ends, 0 to 1."""
        cues = rate * self.cues + offset
        starts = _nearness(cues[:, 0], self.speech[:, 0])
        ends = _nearness(cues[:, 1], self.speech[:, 1])
        return (self.match(rate, offset) + starts + ends) / 3

    def refine(self, rate: float, offset: float) -> float:
        """The best offset near one on the grid."""
        around = np.linspace(offset - REFINE_REACH, offset + REFINE_REACH, 121)
        scores = [self.score(rate, o) for o in around]
        return float(around[int(np.argmax(scores))])


def _nearness(times: Floats, edges: Floats) -> float:
    """Mean over the times of 1 at an edge, falling to 0 at `EDGE_REACH` from the nearest."""
    right = np.searchsorted(edges, times).clip(1, len(edges) - 1) if len(edges) > 1 else np.zeros(len(times), int)
    nearest = np.minimum(np.abs(edges[right] - times), np.abs(edges[right - 1] - times))
    return float(np.maximum(0.0, 1 - nearest / EDGE_REACH).mean())
