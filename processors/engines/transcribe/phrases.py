"""Words with times become cues: phrases as long as a subtitle, cut where sentences end or somebody pauses.

Invariants: pure; every word is in exactly one cue; cues are in order and do not overlap.
"""

from __future__ import annotations

from collections.abc import Sequence

from cineforge_hf.processors.engines.transcribe.base import Cue
from cineforge_hf.processors.languages import join_texts

PAUSE = 0.6
"""Seconds of silence that end a cue: speakers seldom pause as long within a clause."""
LONGEST = 7.0
"""Seconds per cue, as subtitlers have it; then the next pause of `SHORT_PAUSE` ends it, and at twice as many seconds any word."""
SHORT_PAUSE = 0.2
"""Seconds: a breath."""

_ENDS = tuple(".!?。！？…")


def phrases(words: Sequence[Cue]) -> list[Cue]:
    """Group words into cues.

    Args:
        words: in order of time.
    """
    groups: list[list[Cue]] = []
    for word in words:
        last = groups[-1] if groups else None
        if last is None or _ends(last, word):
            groups.append([word])
        else:
            last.append(word)
    return [Cue(g[0].start, max(g[-1].end, g[0].start + 0.01), join_texts(w.text for w in g), g[0].engine) for g in groups]


def _ends(group: list[Cue], word: Cue) -> bool:
    pause, length = word.start - group[-1].end, word.end - group[0].start
    if pause >= PAUSE or length > 2 * LONGEST or word.engine != group[-1].engine:
        return True
    return group[-1].text.endswith(_ENDS) or (length > LONGEST and pause >= SHORT_PAUSE)
