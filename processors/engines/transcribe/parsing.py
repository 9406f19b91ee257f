"""Subtitle text of any format to cues with times that make sense.

Real subtitle files have cues that end before they start, that repeat, overlap or stand in the wrong order. None of that
is worth losing a film: `repair_cues` mends times and never touches text, except that a repeated cue counts once.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass

import pysubs2
from pysubs2.exceptions import Pysubs2Error

from cineforge_hf.errors import RowError
from cineforge_hf.processors.languages import join_texts

# A cue without a length gets this one, or what is left before the next: reading speed is about 15 letters a second.
SHORTEST_CUE = 0.3
SECONDS_PER_LETTER = 1 / 15
# Two cues with the same text and less than this between them are one (roll-up captions, styled duplicates).
REPEAT_GAP = 0.1

_ARROW = re.compile(r"^[^\n]*-->[^\n]*$", re.MULTILINE)
_VTT_BLOCK = re.compile(r"(?:^|\n)(?:NOTE|STYLE|REGION)\b[^\n]*(?:\n[^\n]+)*(?=\n|$)")
_SHORT_STAMP = re.compile(r"(?<![\d:])(\d{1,2}:\d{2}[.,]\d{1,3})(?!\d)")
_STAMP_SPACES = re.compile(r"(?<=\d)\s*([:,.])\s*(?=\d)")


@dataclass(frozen=True)
class RawCue:
    """A cue as it stands in a file: seconds, and text with its markup."""

    start: float
    end: float
    text: str


def parse_subtitles(text: str, name: str) -> tuple[list[RawCue], bool]:
    """Reads SubRip, WebVTT or (Advanced) SubStation Alpha.

    Args:
        text: the file's text.
        name: the file's name, for messages.

    Returns:
        Its cues in the file's order, and whether it is SubStation Alpha. Comments are left out.

    Raises:
        RowError: not a subtitle format that we know (`subtitle_format`).
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")
    ass = "[script info]" in text[:2000].lower() or "[events]" in text.lower()
    if not ass:
        text = _plain_numbers(text)
    # Named, not guessed: pysubs2 refuses SubStation Alpha without styles, and guesses a format where there are no cues.
    kind = ("ssa" if "[v4 styles]" in text.lower() else "ass") if ass else "srt"
    options = {} if ass else {"keep_html_tags": True}
    try:
        with warnings.catch_warnings():
            # Of fields that hold no text (layer, margins), which it then leaves at their defaults.
            warnings.simplefilter("ignore", RuntimeWarning)
            subs = pysubs2.SSAFile.from_string(text, format_=kind, **options)
    except (Pysubs2Error, ValueError, KeyError, IndexError) as error:
        raise RowError("subtitle_format", f"{name}: not SRT, WebVTT or ASS text ({error}); convert it to SRT") from error
    return [RawCue(e.start / 1000, e.end / 1000, e.text) for e in subs.events if e.type != "Comment"], ass


def _plain_numbers(text: str) -> str:
    """SRT and WebVTT as one format: every time line with hours and preceded by a number on a line of its own.

    Parsers take the number before a time line for an index and drop it; a cue's name (WebVTT) or `12  spk0` would become
    text of the cue before, and a cue that ends in the line `42` at the end of the file would lose it.
    """
    if text.lstrip("\ufeff \n").startswith("WEBVTT"):
        text = _VTT_BLOCK.sub("\n", text)
    lines = text.split("\n")
    out: list[str] = []
    for line in lines:
        if _ARROW.match(line):
            blank_above = len(out) < 2 or not out[-2].strip()
            if out and out[-1].strip() and (blank_above or re.fullmatch(r"\s*\d+(?:\s+spk\d+)?\s*", out[-1])):
                out.pop()
            line = _SHORT_STAMP.sub(r"0:\1", _STAMP_SPACES.sub(r"\1", line))
            out += ["", "0", line]
        else:
            out.append(line)
    return "\n".join([*out, "", "0", ""])


def repair_cues(cues: list[RawCue]) -> list[RawCue]:
    """Cues in order of time, each with a length, none over the next, repeated ones joined.

    Text is already clean; cues without text are dropped.
    """
    cues = sorted((c for c in cues if c.text), key=lambda c: (c.start, c.end))
    repaired: list[RawCue] = []
    for cue in cues:
        end = cue.end if cue.end > cue.start else cue.start + max(SHORTEST_CUE, len(cue.text) * SECONDS_PER_LETTER)
        cue = RawCue(cue.start, end, cue.text)
        last = repaired[-1] if repaired else None
        if last and last.text == cue.text and cue.start - last.end < REPEAT_GAP:
            repaired[-1] = RawCue(last.start, max(last.end, cue.end), last.text)
        elif last and cue.start - last.start < 0.01:
            # Two lines of one moment, as separate events: one cue.
            repaired[-1] = RawCue(last.start, max(last.end, cue.end), join_lines(last.text, cue.text))
        else:
            if last and last.end > cue.start:
                repaired[-1] = RawCue(last.start, cue.start, last.text)
            repaired.append(cue)
    return repaired


def join_lines(first: str, second: str) -> str:
    """Two texts that are on the screen together, as one; a text that holds the other stands for both."""
    if second in first or first in second:
        return max(first, second, key=len)
    return join_texts([first, second])
