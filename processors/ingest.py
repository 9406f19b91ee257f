"""Stage 1: what a film is, which of its sounds is the dialogue, and which part of it counts.

Invariants: sources are only read; trimming is a pair of numbers on the source's clock, and nothing is encoded again.
A film that cannot be used gets one error that names it and the remedy; the others go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from cineforge_hf.errors import RowError, UsageError
from cineforge_hf.media import Probe, choose_audio, probe
from cineforge_hf.processor import Outcome, Processor, Row

# Under one second there is neither a sentence nor a face track; such files are samples, bumpers or broken.
SHORTEST_FILM = 1.0


@dataclass
class Ingest(Processor):
    """Reads the facts of a film, chooses its dialogue stream and its usable part.

    Args:
        lang: language of the dialogue (`zh`, `en` or `auto`) for films whose row does not say; picks the sound stream.
        intro: seconds to skip at the beginning; a film's own `intro` wins.
        outro: seconds to skip at the end; a film's own `outro` wins.

    Row errors: `no_audio_stream`, `no_video_stream`, `too_short`, and those of the media layer (`empty_file`,
    `not_media`, `truncated`, `unreadable`, ...).

    Example:
        >>> from cineforge_hf import Ingest, scan_films
        >>> from datasets import Dataset
        >>> films = Dataset.from_list(scan_films("films/"))  # doctest: +SKIP
        >>> ingest = Ingest(intro=90, outro=120)
        >>> films = films.map(ingest, batched=True, **ingest.map_kwargs(films))  # doctest: +SKIP
    """

    name: ClassVar[str] = "ingest"
    # Without a hash the scan could not read the file, and has said so.
    requires: ClassVar[tuple[str, ...]] = ("source", "sha256")
    optional: ClassVar[tuple[str, ...]] = ("lang", "intro", "outro", "duplicate_of")

    lang: str = "auto"
    intro: float = 0.0
    outro: float = 0.0

    def check(self) -> None:
        """Raises `UsageError` where the lengths to skip are negative or the language is unknown."""
        if self.intro < 0 or self.outro < 0:
            raise UsageError(f"ingest: intro and outro are seconds to skip, 0 or more; got {self.intro} and {self.outro}")
        if self.lang not in ("zh", "en", "auto"):
            raise UsageError(f"ingest: lang is {self.lang!r}; choose zh, en or auto")

    def process(self, rows: list[Row]) -> Sequence[Outcome]:
        """Probes each film; see `Processor.process`."""
        outcomes: list[Outcome] = []
        for row in rows:
            try:
                outcomes.append(self._ingest(row))
            except RowError as error:
                outcomes.append(error)
        return outcomes

    def _ingest(self, row: Row) -> Row:
        if row["duplicate_of"] is not None:
            # Its first copy is in the run; all columns stay null, so that later stages pass over this one.
            return {"reject_reasons": ["duplicate"]}
        path = Path(row["source"])
        facts = probe(path)
        video = facts.video
        if video is None:
            raise RowError("no_video_stream", f"{path}: no picture in this file; give the film, not its sound alone")
        if not facts.audio:
            raise RowError("no_audio_stream", f"{path}: no sound in this file; give a copy of the film with its sound")
        start, end = self._usable(row, path, facts.duration)
        return {
            "film_duration": facts.duration,
            "fps": video.fps_num / video.fps_den,
            "is_vfr": video.is_vfr,
            "width": video.width,
            "height": video.height,
            "rotation": video.rotation,
            "video_codec": video.codec,
            "audio_streams": [_only(asdict(a), _AUDIO_FACTS) for a in facts.audio],
            "audio_stream": self._dialogue(facts, row["lang"]),
            "subtitle_streams": [_only(asdict(s), _SUBTITLE_FACTS) for s in facts.subtitles],
            "trim_start": start,
            "trim_end": end,
        }

    def _dialogue(self, facts: Probe, lang: str | None) -> int:
        return choose_audio(facts, lang if lang in ("zh", "en") else self.lang).index

    def _usable(self, row: Row, path: Path, duration: float) -> tuple[float, float]:
        if duration < SHORTEST_FILM:
            raise RowError("too_short", f"{path}: {duration:.2f} s long, under {SHORTEST_FILM:.0f} s; give the whole film")
        intro = self.intro if row["intro"] is None else row["intro"]
        outro = self.outro if row["outro"] is None else row["outro"]
        if duration - intro - outro < SHORTEST_FILM:
            raise RowError(
                "too_short",
                f"{path}: {duration:.2f} s long, and nothing is left without its first {intro:g} s and last {outro:g} s; "
                "lower intro and outro",
            )
        return float(intro), duration - float(outro)


_AUDIO_FACTS = ("index", "codec", "sample_rate", "channels", "language", "title", "commentary")
_SUBTITLE_FACTS = ("index", "codec", "language", "title", "text")


def _only(facts: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: facts[name] for name in names}
