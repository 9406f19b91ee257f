"""The engine that takes the best source a film has, and fills what it leaves with the next.

In order: subtitles beside the film or inside it, a speech recogniser where one can be loaded, subtitles burnt into the picture,
pocketsphinx for English. The first gives what people wrote for this film; each later one is asked only where more speech than
`MUCH` is left without text, and only its cues there are taken.

Invariants: every cue names the engine that it is from; text in another language than the speech's is never used, and the source
says so; a source that fails is no error while another one works.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from cineforge_hf.errors import RowError, UsageError
from cineforge_hf.media.streams import AudioStream
from cineforge_hf.media.tracks import speaks
from cineforge_hf.processor import EngineInfo, Row
from cineforge_hf.processors.engines.transcribe.alignment import Alignment, agreement, align_cues
from cineforge_hf.processors.engines.transcribe.base import Cue, EngineSettings, Transcript, TranscriptionEngine, load_engine
from cineforge_hf.processors.engines.transcribe.windows import voice_of
from cineforge_hf.processors.engines.vad.silero import Span, finest_spans, speech_spans

ORDER = ("subtitles", "asr", "ocr", "pocketsphinx")
MUCH = 0.05
"""Share of the speech left without text that is worth another source; less is laughter, songs and crowds."""
GAP = 1.0
"""Seconds: a shorter gap between texts is a ragged edge."""
BELONGS = 0.5
"""Agreement of cues and speech below which they are of another film or cut; see `Transcribe.min_match`."""

_FIXES = {
    "asr": "give `model` a recogniser of the Hub or a local folder",
    "ocr": "pip install 'cineforge_hf[ocr]'",
    "pocketsphinx": "pip install 'cineforge_hf[pocketsphinx]'",
}


class AutoEngine:
    """Combines the other engines; see `TranscriptionEngine`.

    Args:
        settings: for the recogniser.
        load: finds an engine by name; for tests.
    """

    timed_by_sound = True

    def __init__(
        self, settings: EngineSettings, load: Callable[[str, EngineSettings], TranscriptionEngine] = load_engine
    ) -> None:
        self._settings = settings
        self._load = load

    @property
    def info(self) -> EngineInfo:
        """Which sources can be used here, and their versions."""
        parts = [self._engines[name].info for name in self._engines]
        return EngineInfo("auto", ", ".join(f"{p.name} {p.revision}" for p in parts), ", ".join(p.licence for p in parts))

    def check(self) -> None:
        """Nothing is needed: what is missing is passed over, and named where nothing else is left."""

    def transcribe(self, row: Row, lang: str) -> Transcript:
        """The dialogue from the best source, filled by the next; see `TranscriptionEngine.transcribe`.

        Raises:
            RowError: `no_dialogue` where no source has any; it names what was tried and what helps.
        """
        film = Path(row["source"])
        lang = self._spoken(row, lang)
        usable = (row["trim_start"], row["trim_end"])
        speech = _inside(speech_spans(voice_of(row)), usable)
        taken: list[tuple[str, Transcript]] = []
        notes: list[str] = []
        cues: list[Cue] = []
        for name, engine in self._engines.items():
            missing = uncovered(speech, cues)
            if cues and _length(missing) <= MUCH * _length(speech):
                break
            try:
                found = self._from(engine, row, lang, speech)
            except RowError as error:
                notes.append(f"{name}: {error.message.removeprefix(f'{film.name}: ')}")
                continue
            new = [replace(cue, engine=name) for cue in found.cues if not cues or _fills(cue, cues, missing)]
            if new:
                taken.append((name, replace(found, cues=new)))
                cues = sorted(cues + new, key=lambda cue: cue.start)
                lang = lang if lang != "auto" else self._language_of(found)
        if not taken:
            raise RowError("no_dialogue", _nothing(film, lang, notes, self._missing))
        return _combined(taken, cues, notes)

    @cached_property
    def _engines(self) -> dict[str, TranscriptionEngine]:
        """The engines that work here, in order."""
        self._missing: dict[str, str] = {}
        working = {}
        for name in ORDER:
            engine = self._load(name, self._settings)
            try:
                engine.check()
                working[name] = engine
            except UsageError as error:
                self._missing[name] = str(error)
        return working

    def _spoken(self, row: Row, lang: str) -> str:
        """The language of the speech: as asked for, as the sound stream's tag has it, as a recogniser hears it, or `auto`."""
        if lang != "auto":
            return lang
        for stream in row.get("audio_streams") or ():
            if stream["index"] == row["audio_stream"]:
                tagged = next((language for language in ("zh", "en") if speaks(_tags(stream), language)), None)
                if tagged is not None:
                    return tagged
        detect = getattr(self._engines.get("asr"), "detect", None)
        return str(detect(row)) if detect is not None else "auto"

    def _language_of(self, found: Transcript) -> str:
        from cineforge_hf.processors.languages import join_texts, text_language

        return text_language(join_texts(cue.text for cue in found.cues)) or "auto"

    def _from(self, engine: TranscriptionEngine, row: Row, lang: str, speech: list[Span]) -> Transcript:
        """What one engine has, on the film's clock, if it is of this film."""
        found = engine.transcribe(row, lang)
        if engine.timed_by_sound:
            return found
        alignment = align_cues([(c.start, c.end) for c in found.cues], finest_spans(voice_of(row)), row["film_duration"])
        cues = [_moved(cue, alignment) for cue in found.cues]
        match = agreement([(c.start, c.end) for c in cues], speech)
        if match < BELONGS:
            raise RowError("weak_subtitle_match", f"{found.source} does not fit the speech ({match:.2f} of 1)")
        return Transcript(cues, found.source, found.words, alignment)


def uncovered(speech: Sequence[Span], cues: Sequence[Cue]) -> list[Span]:
    """Speech that no cue covers, without gaps shorter than `GAP`; all in seconds, sorted."""
    rest: list[Span] = []
    for start, end in speech:
        for cue in cues:
            if cue.end <= start or cue.start >= end:
                continue
            if cue.start > start:
                rest.append((start, cue.start))
            start = max(start, cue.end)
        if end > start:
            rest.append((start, end))
    return [(start, end) for start, end in rest if end - start >= GAP]


def _fills(cue: Cue, cues: Sequence[Cue], missing: Sequence[Span]) -> bool:
    """Whether a cue lies where text is missing, and on no text that is there."""
    length = cue.end - cue.start
    free = sum(max(0.0, min(cue.end, end) - max(cue.start, start)) for start, end in missing)
    taken = sum(max(0.0, min(cue.end, other.end) - max(cue.start, other.start)) for other in cues)
    return free > 0 and taken <= 0.2 * length


def _combined(taken: list[tuple[str, Transcript]], cues: list[Cue], notes: list[str]) -> Transcript:
    source = "; ".join([*(f"{name}: {found.source}" for name, found in taken), *(f"passed over {note}" for note in notes)])
    words = None
    if all(found.words is not None for _, found in taken):
        # Words are the finer truth only where all cues have them.
        spans = {name: [(cue.start, cue.end) for cue in found.cues] for name, found in taken}
        words = sorted(
            (
                replace(word, engine=name)
                for name, found in taken
                for word in found.words or ()
                if any(start <= (word.start + word.end) / 2 <= end for start, end in spans[name])
            ),
            key=lambda word: word.start,
        )
    alignment = next((found.alignment for name, found in taken if name == "subtitles"), Alignment())
    return Transcript(_apart(cues), source, words, alignment)


def _apart(cues: list[Cue]) -> list[Cue]:
    """Cues of different engines that touch are cut at the later one's start."""
    apart: list[Cue] = []
    for cue in cues:
        if apart and cue.start < apart[-1].end:
            apart[-1] = replace(apart[-1], end=max(apart[-1].start + 0.01, cue.start))
        apart.append(cue)
    return apart


def _moved(cue: Cue, alignment: Alignment) -> Cue:
    return replace(cue, start=max(0.0, alignment.apply(cue.start)), end=max(0.01, alignment.apply(cue.end)))


def _inside(spans: Sequence[Span], usable: Span) -> list[Span]:
    return [(max(s, usable[0]), min(e, usable[1])) for s, e in spans if e > usable[0] and s < usable[1]]


def _length(spans: Sequence[Span]) -> float:
    return sum(end - start for start, end in spans)


def _tags(stream: Row) -> AudioStream:
    """The stream's language and title, in the form that `speaks` reads."""
    return AudioStream(stream["index"], "", 0, 0, "", stream["language"], stream["title"], False, False, 0.0, 0.0, 16)


def _nothing(film: Path, lang: str, notes: list[str], missing: dict[str, str]) -> str:
    tried = "; ".join([*notes, *(f"{name} is not there ({_FIXES.get(name, why)})" for name, why in missing.items())])
    expected = f"{film.stem}.srt" if lang == "auto" else f"{film.stem}.{lang}.srt"
    return f"{film.name}: no dialogue to be had; {tried}; put {expected} beside the film"
