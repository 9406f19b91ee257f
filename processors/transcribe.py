"""Stage 3: a film's dialogue with its times on the film's own clock.

Invariants:
- Text comes from an engine and is never changed here; times that do not come from the sound are checked against the voice
  activity, and moved only where that fits clearly better.
- The film's sound is read once, in a stream; memory does not grow with its length.
- Cues are moved first and then cut to the usable part, so that a shifted subtitle loses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import ClassVar

import numpy as np

from cineforge_hf.errors import RowError, UsageError
from cineforge_hf.media import iter_sound
from cineforge_hf.processor import EngineInfo, Outcome, Processor, Row
from cineforge_hf.processors.engines.transcribe.alignment import Alignment, agreement, align_cues
from cineforge_hf.processors.engines.transcribe.base import Cue, EngineSettings, TranscriptionEngine, load_engine
from cineforge_hf.processors.engines.vad.silero import RATE, Floats, SileroVAD, Span, finest_spans, speech_spans

# A cue may stick out of the usable part by this much (its pause, or the aligner's error) before its words are cut off.
EDGE_TOLERANCE = 0.3

DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass
class Transcribe(Processor):
    """Finds a film's dialogue and its voice activity.

    Args:
        lang: language of the dialogue (`zh`, `en` or `auto`) for films whose row does not say.
        engine: where the dialogue comes from. `subtitles`: files beside the film and text streams inside it; `ocr`:
            subtitles burnt into the picture; `asr`: a speech recogniser of transformers; `funasr` and `pocketsphinx`:
            others; `auto`: each of them in this order, where those before it leave speech uncovered.
        align: whether subtitles that run early, late, fast or slow are moved to where people speak.
        min_match: agreement of cues and voice activity, 0 to 1, below which the film is rejected as
            `weak_subtitle_match`. Subtitles that belong to a film reach 0.6 to 0.9, others 0.3 to 0.5.
        model: speech recogniser for `asr`, `funasr` and `auto`: repository on the Hub or local folder; empty for the default.
        revision: its branch, tag or commit on the Hub.
        aligner: model that gives times to words, for recognisers that give none.
        dtype: `auto`, `float32`, `bfloat16` or `float16`.
        batch_size: windows of sound that a recogniser hears at once.

    Row errors: `no_subtitles`, `subtitle_language`, `no_cues`, `subtitle_format`, `subtitle_encoding`,
    `no_burnt_in_subtitles`, `no_speech`, `no_dialogue`, `unsupported_language`, and those of the media layer.

    Example:
        >>> from cineforge_hf import Ingest, Transcribe, scan_films
        >>> from datasets import Dataset
        >>> films = Dataset.from_list(scan_films("films/", lang="en"))  # doctest: +SKIP
        >>> for stage in (Ingest(), Transcribe()):  # doctest: +SKIP
        ...     films = films.map(stage, batched=True, **stage.map_kwargs(films))
    """

    name: ClassVar[str] = "transcribe"
    requires: ClassVar[tuple[str, ...]] = ("source", "film_duration", "audio_stream", "trim_start", "trim_end")
    optional: ClassVar[tuple[str, ...]] = ("lang", "subtitles", "subtitle_streams", "audio_streams")

    lang: str = "auto"
    engine: str = "subtitles"
    align: bool = True
    min_match: float = 0.5
    model: str = ""
    revision: str = ""
    aligner: str = ""
    dtype: str = "auto"
    batch_size: int = 8

    def check(self) -> None:
        """Raises `UsageError` for unknown settings and missing packages."""
        if self.lang not in ("zh", "en", "auto"):
            raise UsageError(f"transcribe: lang is {self.lang!r}; choose zh, en or auto")
        if not 0 <= self.min_match <= 1:
            raise UsageError(f"transcribe: min_match is {self.min_match}; it is between 0 and 1")
        if self.dtype not in DTYPES:
            raise UsageError(f"transcribe: dtype is {self.dtype!r}; choose {', '.join(DTYPES)}")
        if self.batch_size < 1:
            raise UsageError(f"transcribe: batch_size is {self.batch_size}; it is 1 or more")
        self._engine.check()
        self._vad.check()

    @property
    def engines(self) -> tuple[EngineInfo, ...]:
        """The transcription engine and the voice activity engine."""
        return (self._engine.info, self._vad.info)

    def process(self, rows: list[Row]) -> Sequence[Outcome]:
        """Transcribes each film; see `Processor.process`."""
        outcomes: list[Outcome] = []
        for row in rows:
            try:
                outcomes.append(self._transcribe(row))
            except RowError as error:
                outcomes.append(error)
        return outcomes

    def _transcribe(self, row: Row) -> Row:
        lang = row["lang"] if row["lang"] in ("zh", "en") else self.lang
        voice = cache(lambda: self._voice(row))
        transcript = self._engine.transcribe({**row, "voice": voice}, lang)
        alignment = transcript.alignment
        if self.align and not self._engine.timed_by_sound:
            spans = [(cue.start, cue.end) for cue in transcript.cues]
            alignment = align_cues(spans, finest_spans(voice()), row["film_duration"])
        usable = (row["trim_start"], row["trim_end"])
        moving = Alignment() if self._engine.timed_by_sound else alignment
        cues = _usable(transcript.cues, moving, usable)
        words = None if transcript.words is None else _usable(transcript.words, moving, usable)
        speech = [(max(s, usable[0]), min(e, usable[1])) for s, e in speech_spans(voice()) if e > usable[0] and s < usable[1]]
        match = agreement([(cue.start, cue.end) for cue in cues], speech)
        return {
            "cues": _to_column(cues, self._engine.info.name),
            "film_words": None if words is None else _to_column(words, self._engine.info.name),
            "speech": [{"start": round(start, 3), "end": round(end, 3)} for start, end in speech],
            "subtitle_source": transcript.source,
            "subtitle_offset": alignment.offset,
            "subtitle_rate": alignment.rate,
            "subtitle_match": match,
            "reject_reasons": ["weak_subtitle_match"] if match < self.min_match else [],
        }

    def _voice(self, row: Row) -> Floats:
        # The whole film, not only its usable part: where nobody speaks says as much about a shift as where somebody does.
        blocks = iter_sound(row["source"], stream=row["audio_stream"], rate=RATE, mono=True, end=row["film_duration"])
        return np.concatenate([np.zeros(0, np.float32), *self._vad.probabilities(blocks)])

    @cached_property
    def _engine(self) -> TranscriptionEngine:
        settings = EngineSettings(self.model, self.revision, self.aligner, self.dtype, self.device, self.batch_size)
        return load_engine(self.engine, settings)

    @cached_property
    def _vad(self) -> SileroVAD:
        return SileroVAD()


def _usable(cues: Sequence[Cue], alignment: Alignment, usable: Span) -> list[Cue]:
    """Cues on the film's clock that lie in its usable part."""
    kept = []
    for cue in cues:
        start, end = alignment.apply(cue.start), alignment.apply(cue.end)
        inside = replace(cue, start=round(max(start, usable[0]), 3), end=round(min(end, usable[1]), 3))
        outside = (end - start) - (inside.end - inside.start)
        if inside.end > inside.start and outside <= EDGE_TOLERANCE:
            kept.append(inside)
    return kept


def _to_column(cues: Sequence[Cue], engine: str) -> list[Row]:
    return [{"start": cue.start, "end": cue.end, "text": cue.text, "engine": cue.engine or engine} for cue in cues]
