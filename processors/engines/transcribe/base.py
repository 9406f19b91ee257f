"""What every transcription engine is: a film's row in, cues (and perhaps words) on the source's clock out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from cineforge_hf.errors import UsageError
from cineforge_hf.processor import EngineInfo, Row
from cineforge_hf.processors.engines.transcribe.alignment import Alignment
from cineforge_hf.processors.engines.vad.silero import Floats


@dataclass(frozen=True)
class Cue:
    """A piece of transcript with its time.

    Args:
        start: seconds on the source's clock.
        end: seconds on the source's clock, after `start`.
        text: what is said.
        engine: which engine found it, where a transcript has several; None for the transcript's own.
    """

    start: float
    end: float
    text: str
    engine: str | None = None


@dataclass(frozen=True)
class Transcript:
    """What an engine found in a film.

    Args:
        cues: in order of time, without overlap.
        source: where it came from, e.g. a file's name.
        words: words with times, where the engine knows them.
        alignment: how its cues were moved, where the engine has done so itself.
    """

    cues: list[Cue]
    source: str
    words: list[Cue] | None = field(default=None)
    alignment: Alignment = field(default=Alignment())


Voice = Callable[[], Floats]
"""Probability of speech for every 32 ms of the film, computed when first asked for."""


@dataclass(frozen=True)
class EngineSettings:
    """What a recipe may say about a model.

    Args:
        model: repository on the Hub or a local folder; empty for the engine's default.
        revision: branch, tag or commit on the Hub; empty for the newest.
        aligner: model that gives times to the words of models that give none; repository or folder.
        dtype: `auto`, `float32`, `bfloat16` or `float16`.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        batch_size: windows of sound per call.
    """

    model: str = ""
    revision: str = ""
    aligner: str = ""
    dtype: str = "auto"
    device: str = "auto"
    batch_size: int = 8


class TranscriptionEngine(Protocol):
    """A way to get a film's dialogue.

    Attributes:
        info: its name, version and licence.
        timed_by_sound: whether its times need no alignment, since they come from this very film; otherwise the stage aligns.
    """

    @property
    def info(self) -> EngineInfo:
        """Name, version and licence."""

    @property
    def timed_by_sound(self) -> bool:
        """Whether the times are those of this very film."""

    def check(self) -> None:
        """Raises `UsageError` where a package, weights or a key are missing."""

    def transcribe(self, row: Row, lang: str) -> Transcript:
        """Finds the dialogue of one film.

        Args:
            row: the film's row, with the columns that `Transcribe` reads, and under `voice` a `Voice`.
            lang: `zh`, `en` or `auto`.

        Raises:
            RowError: this film has no dialogue that the engine can read.
        """


ENGINES = ("auto", "subtitles", "ocr", "asr", "funasr", "pocketsphinx")


def load_engine(name: str, settings: EngineSettings | None = None) -> TranscriptionEngine:
    """The engine of that name.

    Args:
        name: one of `ENGINES`.
        settings: for the engines with models.

    Raises:
        UsageError: no such engine.
    """
    settings = settings or EngineSettings()
    if name == "subtitles":
        from cineforge_hf.processors.engines.transcribe.subtitles import SubtitleEngine

        return SubtitleEngine()
    if name == "ocr":
        from cineforge_hf.processors.engines.transcribe.ocr import BurntInEngine

        return BurntInEngine()
    if name == "pocketsphinx":
        from cineforge_hf.processors.engines.transcribe.pocketsphinx import PocketsphinxEngine

        return PocketsphinxEngine()
    if name == "asr":
        from cineforge_hf.processors.engines.transcribe.asr import AsrEngine

        return AsrEngine(settings)
    if name == "funasr":
        from cineforge_hf.processors.engines.transcribe.funasr import FunAsrEngine

        return FunAsrEngine(settings)
    if name == "auto":
        from cineforge_hf.processors.engines.transcribe.auto import AutoEngine

        return AutoEngine(settings)
    raise UsageError(f"transcribe: no engine {name!r}; choose {', '.join(ENGINES)}")
