"""From what was read on the screen to lines of dialogue: votes among readings, and what is no subtitle is left out.

Invariants: pure; the order of time is kept; a row is dropped for where it stands and how long it stays, never for what it says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cineforge_hf.processors.engines.transcribe.ocr_reader import WIDTH, TextRow
from cineforge_hf.processors.engines.transcribe.ocr_tracking import Shown, same_text, text_of

SHORTEST = 0.3
"""Seconds: what is shown for less cannot be read by viewers, and is a texture that passes by."""
LONGEST = 12.0
"""Seconds for which no line of dialogue stays; logos and station names do."""
CENTRED = 0.06
"""Share of the width by which the middle of a centred row is off, at most."""
ASIDE = 0.15
"""Share of the width from which a row is beside the centred ones."""
MOST_ROWS = 4
"""More rows are a card."""
BREAK = 0.25
"""Seconds that a line may be lost, behind a flash of light, and still be the same line."""


@dataclass(frozen=True)
class ScreenLine:
    """One line of subtitles as it was shown.

    Args:
        start: seconds.
        end: seconds.
        rows: its rows from top to bottom.
    """

    start: float
    end: float
    rows: list[TextRow]


def screen_lines(shown: Sequence[Shown], duration: float) -> list[ScreenLine]:
    """Tell the subtitles among what was shown.

    Args:
        shown: what the tracker found, in order of time.
        duration: seconds of the film.

    Returns:
        The lines, in order of time.
    """
    voted = [ScreenLine(s.start, s.end, _vote(s.readings)) for s in _rejoined(shown)]
    static = _static_rows(voted, duration)
    centred = _are_centred(voted)
    lines = []
    for line in voted:
        rows = [row for row in line.rows if _place(row) not in static and not (centred and abs(_offset(row)) > ASIDE)]
        if rows and len(rows) <= MOST_ROWS and line.end - line.start >= SHORTEST:
            lines.append(ScreenLine(line.start, line.end, rows))
    return _merged(lines)


def _rejoined(shown: Sequence[Shown]) -> list[Shown]:
    """Pieces of one line that the picture behind it broke up."""
    joined: list[Shown] = []
    for piece in shown:
        last = joined[-1] if joined else None
        if last is not None and piece.start - last.end <= BREAK and same_text(_best_text(last), _best_text(piece)):
            joined[-1] = Shown(last.start, piece.end, last.readings + piece.readings)
        else:
            joined.append(piece)
    return joined


def _best_text(shown: Shown) -> str:
    return text_of(_vote(shown.readings))


def _vote(readings: list[list[TextRow]]) -> list[TextRow]:
    """The reading whose text has the highest sum of confidences; the most confident of those with that text."""
    votes: defaultdict[str, float] = defaultdict(float)
    for rows in readings:
        votes[text_of(rows)] += _confidence(rows)
    winner = max(votes, key=lambda text: votes[text])
    return max((rows for rows in readings if text_of(rows) == winner), key=_confidence)


def _confidence(rows: list[TextRow]) -> float:
    return float(np.mean([row.score for row in rows])) if rows else 0.0


def _merged(lines: list[ScreenLine]) -> list[ScreenLine]:
    """A line that another text joined or left is one line, once the other text is gone."""
    merged: list[ScreenLine] = []
    for line in lines:
        last = merged[-1] if merged else None
        if last is not None and line.start - last.end <= BREAK and same_text(text_of(last.rows), text_of(line.rows)):
            merged[-1] = ScreenLine(last.start, line.end, max(last.rows, line.rows, key=_confidence))
        else:
            merged.append(line)
    return merged


def _place(row: TextRow) -> tuple[str, int, int]:
    return row.text, round(row.middle / 8), round((row.left + row.right) / 16)


def _static_rows(lines: list[ScreenLine], duration: float) -> set[tuple[str, int, int]]:
    """Rows that stay while lines come and go."""
    spans: dict[tuple[str, int, int], list[float]] = {}
    static = set()
    for line in lines:
        for row in line.rows:
            place = _place(row)
            span = spans.get(place)
            if span is None or line.start - span[1] > BREAK:
                span = spans[place] = [line.start, line.end]
            span[1] = line.end
            aside = abs(_offset(row)) > ASIDE
            if span[1] - span[0] > LONGEST or (aside and span[1] - span[0] > 0.9 * duration):
                static.add(place)
    return static


def _are_centred(lines: list[ScreenLine]) -> bool:
    rows = [row for line in lines for row in line.rows]
    return bool(rows) and sum(abs(_offset(row)) <= CENTRED for row in rows) >= 0.5 * len(rows)


def _offset(row: TextRow) -> float:
    """From the middle of the picture to the row's, as a share of the width."""
    return (row.left + row.right) / 2 / WIDTH - 0.5
