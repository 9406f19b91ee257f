"""Units of text and times become words: where both agree they are paired, punctuation joins the word before it.

Invariants: pure; no letter of the text is lost, whatever times a model gives.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from cineforge_hf.processors.engines.transcribe.base import Cue

Span = tuple[float, float]


def spoken(unit: str) -> bool:
    """Whether a unit of text has a sound: a letter or a digit."""
    return any(character.isalnum() for character in unit)


def timed_words(units: Sequence[str], times: Sequence[Span], start: float, end: float) -> Iterator[Cue]:
    """Pair the units of a text with times.

    Args:
        units: words, characters and punctuation, in order.
        times: (start, end) in seconds within the window, for each unit that has a sound.
        start: the window's start on the source's clock, seconds.
        end: the window's end.

    Yields:
        Words on the source's clock, inside the window. Where there are more or fewer times than words, they share the time that
        is there by their length.
    """
    words: list[str] = []
    lead = ""
    for unit in units:
        if spoken(unit):
            words.append(lead + unit)
            lead = ""
        elif words:
            words[-1] += unit
        else:
            lead += unit
    if not words:
        return
    spans = list(times) if len(times) == len(words) else list(_shared(words, times, end - start))
    last = start
    for word, (begin, stop) in zip(words, spans, strict=True):
        first = min(max(start + begin, last), end)
        last = min(max(start + stop, first), end)
        yield Cue(round(first, 3), round(last, 3), word)


def words_of(text: str, units: Sequence[str]) -> list[str]:
    """Cut a text into as many words as there are units, punctuation kept.

    Args:
        text: as recognised.
        units: its words in order, as an aligner has them, without punctuation.

    Returns:
        Pieces of the text, one for each unit; joined they are the text without its spaces. The units themselves where they
        cannot be found in the text.
    """
    places, at = [], 0
    for unit in units:
        place = text.find(unit, at)
        if place < 0:
            return list(units)
        places.append(place)
        at = place + len(unit)
    if not places:
        return []
    edges = [0, *places[1:], len(text)]
    return ["".join(text[a:b].split()) for a, b in itertools.pairwise(edges)]


def _shared(words: Sequence[str], times: Sequence[Span], duration: float) -> Iterator[Span]:
    first, last = (times[0][0], times[-1][1]) if times else (0.0, duration)
    total, done = sum(map(len, words)), 0
    for word in words:
        yield first + (last - first) * done / total, first + (last - first) * (done + len(word)) / total
        done += len(word)
