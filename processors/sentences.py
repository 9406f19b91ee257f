"""Sentences from timed pieces of text: where a sentence ends, and which pieces belong together.

A piece is a subtitle cue or a word; it is never split, since nothing says when its middle was spoken.

Invariants: order is kept, every piece is in exactly one group, and no group spans a pause longer than `max_pause` or more
time than `max_seconds`, unless one piece alone does.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from cineforge_hf.processors.languages import spoken_units

# In subtitles without punctuation pauses decide: closer pieces are one sentence, until it is long enough.
RUN_ON_PAUSE = 0.3
RUN_ON_SECONDS = 10.0
# Below this share of pieces that end a sentence, a text counts as having no punctuation (raw recognition, most Chinese
# subtitles). Real dialogue with punctuation has 0.3 and more for cues, about 0.1 for words.
PUNCTUATED_SHARE = 0.03
# The ancestor's merge rule also stops at this many words.
MERGE_WORDS = 500

_CLOSERS = "\"'”’»›)]}）】』」》〉"
_TITLES = "mr mrs ms mx dr prof st sgt lt col gen capt cpt cmdr adm maj rev hon gov sen rep pres fr messrs mme mlle"
_SHORT_FORMS = "vs e.g i.e etc cf viz approx dept est fig vol pp p.s"
_ABBREVIATIONS = frozenset(f"{_TITLES} {_SHORT_FORMS}".split())
_NUMBER_ABBREVIATIONS = frozenset(["no", "nos", "art", "sec", "ch", "op"])
_INITIALS = re.compile(r"(?:[A-Za-z]\.)+")


@dataclass(frozen=True)
class Piece:
    """A cue or a word.

    Args:
        start: seconds.
        end: seconds.
        text: what is said.
        engine: who heard it.
    """

    start: float
    end: float
    text: str
    engine: str | None = None


@dataclass(frozen=True)
class Joining:
    """How pieces become sentences.

    Args:
        min_seconds: shorter groups are joined with a neighbour where the pause allows.
        max_seconds: longest group.
        max_pause: seconds of silence that no group spans.
        merge_seconds: groups shorter than this take in the next one (the ancestor's rule: 4.0); 0 for off.
    """

    min_seconds: float = 2.0
    max_seconds: float = 60.0
    max_pause: float = 1.0
    merge_seconds: float = field(default=0.0)


def ends_sentence(text: str, following: str = "") -> bool:
    """Whether a sentence ends with this text, given what follows.

    >>> ends_sentence("Hello."), ends_sentence("I saw Mr."), ends_sentence("It cost 3."), ends_sentence("好吗？”")
    (True, False, True, True)
    >>> ends_sentence("I was...", "...going home"), ends_sentence("in the U.S.", "Army")
    (False, False)
    """
    text = text.rstrip().rstrip(_CLOSERS).rstrip()
    following = following.lstrip("\"'“‘«（(【「『- ")
    if not text:
        return False
    if text[-1] in "!?。！？；;" or text.endswith("……"):
        return True
    if text.endswith(("...", "…")):
        # Trails off, or goes on in the next piece: subtitles show that by a small letter or another ellipsis.
        return not (following.startswith(("...", "…")) or following[:1].islower())
    if not text.endswith((".", "．")):
        return False
    last = text.split()[-1].lstrip("\"'“‘(（").lower()
    word = last[:-1]
    if word in _ABBREVIATIONS or following[:1].islower():
        return False
    if word in _NUMBER_ABBREVIATIONS:
        return not following[:1].isdigit()
    # Initials and acronyms: "J. Smith" and "U.S. Army" go on; at the end of a text they end it. "I." is a word.
    return not (_INITIALS.fullmatch(last) and word != "i" and following)


def sentences(pieces: Sequence[Piece], joining: Joining) -> list[list[Piece]]:
    """Groups pieces to sentences.

    Args:
        pieces: in order of time.
        joining: the rules.

    Returns:
        Non-empty groups, in order.
    """
    if not pieces:
        return []
    groups = _split_at_ends(pieces, joining.max_pause)
    groups = [part for group in groups for part in _split_long(group, joining.max_seconds)]
    if joining.merge_seconds > 0:
        groups = _merge_forward(groups, joining)
    return _join_short(groups, joining)


def _split_at_ends(pieces: Sequence[Piece], max_pause: float) -> list[list[Piece]]:
    ends = [ends_sentence(a.text, b.text) for a, b in itertools.pairwise(pieces)]
    punctuated = sum(ends) + ends_sentence(pieces[-1].text) >= PUNCTUATED_SHARE * len(pieces)
    groups = [[pieces[0]]]
    for ended, last, piece in zip(ends, pieces, pieces[1:], strict=False):
        pause = piece.start - last.end
        run_on = not punctuated and (pause > RUN_ON_PAUSE or piece.end - groups[-1][0].start > RUN_ON_SECONDS)
        if ended or pause > max_pause or run_on:
            groups.append([piece])
        else:
            groups[-1].append(piece)
    return groups


def _split_long(group: list[Piece], max_seconds: float) -> list[list[Piece]]:
    """Cuts a group at its longest pauses until every part is short enough or a single piece."""
    parts, waiting = [], [group]
    while waiting:
        part = waiting.pop()
        if len(part) == 1 or _length(part) <= max_seconds:
            parts.append(part)
            continue
        middle = (part[0].start + part[-1].end) / 2
        # Of equal pauses the one nearest to the middle, so that abutting cues are cut in halves and not peeled.
        cut = max(range(1, len(part)), key=lambda i: (round(part[i].start - part[i - 1].end, 2), -abs(part[i].start - middle)))
        waiting += [part[cut:], part[:cut]]
    return parts


def _merge_forward(groups: list[list[Piece]], joining: Joining) -> list[list[Piece]]:
    merged = [list(groups[0])]
    words = sum(spoken_units(p.text) for p in groups[0])
    for group in groups[1:]:
        more = sum(spoken_units(p.text) for p in group)
        if _length(merged[-1]) < joining.merge_seconds and words + more <= MERGE_WORDS and _can_join(merged[-1], group, joining):
            merged[-1] += group
            words += more
        else:
            merged.append(list(group))
            words = more
    return merged


def _join_short(groups: list[list[Piece]], joining: Joining) -> list[list[Piece]]:
    """Joins groups under `min_seconds` with the nearer neighbour where the pause and the length allow."""
    joined: list[list[Piece]] = []
    for i, group in enumerate(groups):
        before = joined[-1] if joined else None
        after = groups[i + 1] if i + 1 < len(groups) else None
        if before is not None and _can_join(before, group, joining) and _wants(before, group, after, joining):
            before += group
        else:
            joined.append(list(group))
    return joined


def _wants(before: list[Piece], group: list[Piece], after: list[Piece] | None, joining: Joining) -> bool:
    # The one before was too short for itself, and nothing before it would have it.
    if _length(before) < joining.min_seconds:
        return True
    if _length(group) >= joining.min_seconds:
        return False
    # A short group goes to the nearer neighbour; to the one before where both are equally near.
    if after is None or not _can_join(group, after, joining):
        return True
    return group[0].start - before[-1].end <= after[0].start - group[-1].end + 1e-6


def _can_join(first: list[Piece], second: list[Piece], joining: Joining) -> bool:
    pause = second[0].start - first[-1].end
    return pause <= joining.max_pause and second[-1].end - first[0].start <= joining.max_seconds


def _length(group: Sequence[Piece]) -> float:
    return group[-1].end - group[0].start
