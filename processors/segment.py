"""Stage 4: films become clips, one for each sentence, as times on the source's clock; nothing is cut yet.

Invariants:
- Text is never split inside a cue, and never lost: every cue of the film is in exactly one clip.
- Clips do not share text, are in order, and lie inside the usable part of the film on the 25 Hz grid.
- A clip that is too short or too long is a row with a reason, not a gap in the data.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from cineforge_hf.errors import RowError, UsageError
from cineforge_hf.processor import Outcome, Processor, Row
from cineforge_hf.processors.boundaries import Span, clip_end, clip_start
from cineforge_hf.processors.languages import join_texts
from cineforge_hf.processors.sentences import Joining, Piece, sentences

# Float noise of times that were written in hundredths.
_EPSILON = 1e-6


@dataclass
class SegmentClips(Processor):
    """Cuts a film's transcript into clips of whole sentences.

    Args:
        min_seconds: shortest clip; a shorter sentence joins a neighbour where the pause allows, else it is rejected.
        max_seconds: longest clip; a longer single cue is rejected.
        max_pause: seconds of silence that no clip spans.
        padding: seconds of pause to keep on both sides, at most to the middle of the pause.
        merge_seconds: sentences shorter than this take in the next one, as FunCineForge does for English (4.0); 0 for off.

    Reject reasons: `too_short`, `too_long`. Row error: `no_speech`.

    Example:
        >>> from cineforge_hf import SegmentClips
        >>> cues = [
        ...     {"start": 1.0, "end": 3.0, "text": "I saw Mr.", "engine": "subtitles"},
        ...     {"start": 3.1, "end": 4.0, "text": "Smith.", "engine": "subtitles"},
        ... ]
        >>> film = {"film_id": ["f"], "cues": [cues], "trim_start": [0.0], "trim_end": [9.0]}
        >>> clips = SegmentClips()(film)
        >>> clips["clip_id"], clips["start"], clips["end"], clips["asr_text"]
        (['f-0000092-0000412'], [0.92], [4.12], ['I saw Mr. Smith.'])
    """

    name: ClassVar[str] = "segment"
    explodes: ClassVar[bool] = True
    requires: ClassVar[tuple[str, ...]] = ("film_id", "cues", "trim_start", "trim_end")
    optional: ClassVar[tuple[str, ...]] = ("film_words", "speech", "title")

    min_seconds: float = 2.0
    max_seconds: float = 60.0
    max_pause: float = 1.0
    padding: float = 0.1
    merge_seconds: float = 0.0

    def check(self) -> None:
        """Raises `UsageError` where the lengths contradict each other."""
        if not 0 <= self.min_seconds < self.max_seconds:
            raise UsageError(f"segment: min_seconds {self.min_seconds} must be less than max_seconds {self.max_seconds}")
        if self.max_pause < 0 or self.padding < 0 or self.merge_seconds < 0:
            raise UsageError("segment: max_pause, padding and merge_seconds are seconds, 0 or more")

    def process(self, rows: list[Row]) -> Sequence[Outcome]:
        """Makes a list of clip rows of each film; see `Processor.process`."""
        return [self._clips(row) for row in rows]

    def _clips(self, row: Row) -> list[Row] | RowError:
        film = _Film(row)
        if not film.pieces:
            who = row["title"] or row["film_id"]
            return RowError("no_speech", f"{who}: nothing is said in its usable part; check its subtitles, intro and outro")
        groups = sentences(film.pieces, Joining(self.min_seconds, self.max_seconds, self.max_pause, self.merge_seconds))
        clips = []
        for i, group in enumerate(groups):
            before = groups[i - 1][-1].end if i else None
            after = groups[i + 1][0].start if i + 1 < len(groups) else None
            start = clip_start(group[0].start, before, self.padding, film.speech, row["trim_start"])
            end = clip_end(group[-1].end, after, self.padding, film.speech, row["trim_end"])
            clips.append(self._clip(film, group, start, end))
        return clips

    def _clip(self, film: _Film, group: list[Piece], start: float, end: float) -> Row:
        duration = round(end - start, 2)
        speech = [(_within(s - start, duration), _within(e - start, duration)) for s, e in film.speech_in(start, end)]
        clip: Row = {
            "clip_id": f"{film.film_id}-{round(start * 100):07d}-{round(end * 100):07d}",
            "start": start,
            "end": end,
            "duration": duration,
            "asr_text": join_texts(p.text for p in group),
            "words": _relative(group, start, duration) if film.has_words else None,
            "clip_cues": _relative(film.cues_of(group), start, duration),
            "clip_speech": [{"start": s, "end": e} for s, e in speech],
        }
        if duration < self.min_seconds - _EPSILON:
            clip["reject_reasons"] = ["too_short"]
        elif duration > self.max_seconds + _EPSILON:
            clip["reject_reasons"] = ["too_long"]
        return clip


class _Film:
    """A film's evidence, ready to be cut into clips."""

    def __init__(self, row: Row) -> None:
        self.film_id = row["film_id"]
        self.cues = _pieces(row["cues"])
        words = _pieces(row["film_words"])
        self.has_words = bool(words)
        self.pieces = words or self.cues
        self.speech: list[Span] = [(s["start"], s["end"]) for s in row["speech"] or []]
        self._middles = [(cue.start + cue.end) / 2 for cue in self.cues]

    def cues_of(self, group: list[Piece]) -> list[Piece]:
        """Cues whose middle is in the group's time; the group itself where cues are the pieces."""
        if not self.has_words:
            return group
        return self.cues[bisect_left(self._middles, group[0].start) : bisect_right(self._middles, group[-1].end)]

    def speech_in(self, start: float, end: float) -> Iterator[Span]:
        """Voice activity that touches a range."""
        first = max(0, bisect_right(self.speech, (start, start)) - 1)
        for i in range(first, len(self.speech)):
            span = self.speech[i]
            if span[0] >= end:
                return
            if span[1] > start:
                yield span


def _pieces(column: list[dict[str, Any]] | None) -> list[Piece]:
    return [Piece(p["start"], p["end"], p["text"], p["engine"]) for p in column or []]


def _relative(pieces: list[Piece], start: float, duration: float) -> list[dict[str, Any]]:
    return [
        {
            "start": _within(p.start - start, duration),
            "end": _within(p.end - start, duration),
            "text": p.text,
            "engine": p.engine,
        }
        for p in pieces
    ]


def _within(seconds: float, duration: float) -> float:
    return round(min(max(seconds, 0.0), duration), 3)
