"""What every transcription engine is: a film's row in, cues (and perhaps words) on the source's clock out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from cineforge_hf.errors import UsageError
from cineforge_hf.processor import EngineInfo, Row


@dataclass(frozen=True)
class Cue:
    """A piece of transcript with its time.

    Args:
        start: seconds on the source's clock.
        end: seconds on the source's clock, after `start`.
        text: what is said.
    """

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Transcript:
    """What an engine found in a film.

    Args:
        cues: in order of time, without overlap.
        source: where it came from, e.g. a file's name.
        words: words with times, where the engine knows them.
    """

    cues: list[Cue]
    source: str
    words: list[Cue] | None = field(default=None)


class TranscriptionEngine(Protocol):
    """A way to get a film's dialogue.

    Attributes:
        info: its name, version and licence.
        timed_by_sound: whether its times come from the film's own sound; otherwise the stage aligns them.
    """

    info: EngineInfo
    timed_by_sound: bool

    def check(self) -> None:
        """Raises `UsageError` where a package or key is missing."""

    def transcribe(self, row: Row, lang: str) -> Transcript:
        """Finds the dialogue of one film.

        Args:
            row: the film's row, with the columns that `Transcribe` reads.
            lang: `zh`, `en` or `auto`.

        Raises:
            RowError: this film has no dialogue that the engine can read.
        """


def load_engine(name: str) -> TranscriptionEngine:
    """The engine of that name.

    Raises:
        UsageError: no such engine.
    """
    if name == "subtitles":
        from cineforge_hf.processors.engines.transcribe.subtitles import SubtitleEngine

        return SubtitleEngine()
    if name == "ocr":
        from cineforge_hf.processors.engines.transcribe.ocr import BurntInEngine

        return BurntInEngine()
    raise UsageError(f"transcribe: no engine {name!r}; choose subtitles, ocr")
