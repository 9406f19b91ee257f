"""Alignment on simulated films: turns of speech with pauses inside, cues with ragged edges, some of either missing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cineforge_hf.processors.engines.transcribe.alignment import RATES, Alignment, agreement, align_cues

Spans = list[tuple[float, float]]


def simulate(seed: int, turns: int, jitter: float) -> tuple[Spans, Spans, float]:
    """Cues, speech and length of a film with this many turns; most pauses are short, some are scenes without words."""
    rng = np.random.default_rng(seed)
    cues, speech, time = [], [], rng.uniform(2, 30)
    for _ in range(turns):
        end = time + float(np.clip(rng.lognormal(0.8, 0.6), 0.6, 8))
        if rng.random() > 0.05:
            piece = time
            while piece < end - 0.1:
                stop = min(end, piece + rng.lognormal(0.6, 0.6))
                speech.append((piece, stop))
                piece = stop + rng.uniform(0.1, 0.4)
        if rng.random() > 0.05:
            cues.append((time + rng.normal(0, jitter), end + rng.normal(0, jitter)))
        time = end + (rng.uniform(0.1, 0.8) if rng.random() < 0.6 else rng.lognormal(1.2, 1))
    tidy = [(max(0.0, a), b) for a, b in cues if b > a + 0.1]
    tidy = [(a, min(b, following[0])) for (a, b), following in zip(tidy, [*tidy[1:], (np.inf, 0)], strict=True)]
    return [c for c in tidy if c[1] > c[0]], speech, time + 20


def moved(cues: Spans, rate: float, offset: float) -> Spans:
    return [(rate * a + offset, rate * b + offset) for a, b in cues]


def largest_error(found: Alignment, shifted: Spans, cues: Spans) -> float:
    return float(np.abs(found.rate * np.array(shifted) + found.offset - np.array(cues)).max())


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(12, 80), st.sampled_from([0.0, 0.05, 0.1]))
def test_a_right_subtitle_is_never_moved(seed: int, turns: int, jitter: float) -> None:
    cues, speech, duration = simulate(seed, turns, jitter)
    assert align_cues(cues, speech, duration) == Alignment()


@pytest.mark.parametrize("rate", RATES[:5])
@pytest.mark.parametrize("offset", [-20.0, -0.6, 0.0, 3.7])
def test_a_wrong_subtitle_is_put_right(rate: float, offset: float) -> None:
    cues, speech, duration = simulate(7, 40, 0.05)
    shifted = moved(cues, rate, offset)
    assert largest_error(align_cues(shifted, speech, duration), shifted, cues) < 0.15


def test_a_rate_of_one_in_a_thousand_shows_in_a_long_film() -> None:
    cues, speech, duration = simulate(3, 700, 0.1)
    shifted = moved(cues, RATES[5], 2.0)
    found = align_cues(shifted, speech, duration)
    assert found.rate == RATES[6]
    assert largest_error(found, shifted, cues) < 0.15


def test_evenly_spaced_cues_fit_everywhere_and_stay() -> None:
    spans = [(3.0 * i, 3.0 * i + 2) for i in range(1, 40)]
    assert align_cues(spans, spans, 130.0) == Alignment()


@pytest.mark.parametrize(("cues", "speech"), [([], [(0, 1)]), ([(0, 1)], []), ([(0, 1), (2, 3)], [(5, 6)])])
def test_little_evidence_changes_nothing(cues: Spans, speech: Spans) -> None:
    assert align_cues(cues, speech, 20.0) == Alignment()


def test_another_films_subtitle_agrees_less() -> None:
    cues, speech, _ = simulate(1, 60, 0.1)
    other, _, _ = simulate(2, 60, 0.1)
    assert agreement(cues, speech) > 0.8
    assert agreement(other, speech) < 0.6
    assert agreement([], speech) == agreement(cues, []) == 0.0
    assert agreement(speech, speech) == pytest.approx(1.0)
