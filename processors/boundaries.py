"""Where a clip begins and ends, given its text, its neighbours and the voice activity.

Invariants: a boundary lies in the pause beside the text, never beyond the middle of it, so that clips do not share sound;
it is a multiple of 0.04 s, the frame of the 25 Hz clock, inside the usable part of the film.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

GRID = 0.04
"""Seconds per frame at 25 Hz."""
SPEECH_REACH = 0.12
"""Seconds by which running speech may carry a boundary beyond the text's edge. Subtitles begin a little late and end a little
early; but what sounds on for longer is as often the next speaker, laughter or music."""
_EPSILON = 1e-6

Span = tuple[float, float]


def clip_start(text_start: float, text_before: float | None, padding: float, speech: Sequence[Span], earliest: float) -> float:
    """Start of a clip on the grid.

    Args:
        text_start: where its text begins, seconds.
        text_before: where the text before ends; None for the first.
        padding: seconds of pause to keep.
        speech: voice activity, sorted, on the same clock.
        earliest: start of the usable part.

    Returns:
        Seconds, a multiple of 0.04, at or after `earliest`.
    """
    lowest = earliest if text_before is None else max(earliest, min(text_start, (text_before + text_start) / 2))
    running = _speech_at(text_start, speech)
    reach = max(padding, min(text_start - running[0], SPEECH_REACH)) if running else padding
    return on_grid(max(lowest, text_start - reach), earliest, math.inf)


def clip_end(text_end: float, text_after: float | None, padding: float, speech: Sequence[Span], latest: float) -> float:
    """End of a clip on the grid; the mirror image of `clip_start`."""
    highest = latest if text_after is None else min(latest, max(text_end, (text_end + text_after) / 2))
    running = _speech_at(text_end, speech)
    reach = max(padding, min(running[1] - text_end, SPEECH_REACH)) if running else padding
    return on_grid(min(highest, text_end + reach), -math.inf, latest)


def on_grid(seconds: float, earliest: float, latest: float) -> float:
    """The nearest multiple of 0.04 s that is not before `earliest` nor after `latest`, without float noise.

    >>> on_grid(10.03, 0, 60), on_grid(10.03, 10.01, 60), on_grid(43.86, 0, 43.85)
    (10.04, 10.04, 43.84)
    """
    frame = math.floor(seconds / GRID + 0.5 + _EPSILON)
    if frame * GRID < earliest - _EPSILON:
        frame = math.ceil((earliest - _EPSILON) / GRID)
    if frame * GRID > latest + _EPSILON:
        frame = math.floor((latest + _EPSILON) / GRID)
    return round(frame * GRID, 2)


def _speech_at(time: float, speech: Sequence[Span]) -> Span | None:
    i = bisect_right(speech, (time, math.inf)) - 1
    return speech[i] if i >= 0 and speech[i][0] <= time <= speech[i][1] else None
