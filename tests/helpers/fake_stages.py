"""Stages for tests of the kernel: films are text files whose lines are the dialogue, and trouble comes on request.

They stand in for the stages whose names they bear, so that a whole run takes milliseconds.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from cineforge_hf.errors import RowError, SystemicError
from cineforge_hf.processor import EngineInfo, Outcome, Processor, Row
from cineforge_hf.recipe import Recipe


@dataclass
class TextIngest(Processor):
    """Reads the length of a text; `bad` in it is a row error, which a file beside it named `mended` takes away."""

    name: ClassVar[str] = "ingest"
    requires: ClassVar[tuple[str, ...]] = ("source", "sha256")
    optional: ClassVar[tuple[str, ...]] = ("duplicate_of",)

    intro: float = 0.0

    def process(self, rows: list[Row]) -> Sequence[Outcome]:
        return [self._ingest(row) for row in rows]

    def _ingest(self, row: Row) -> Outcome:
        path = Path(row["source"])
        text = path.read_text(encoding="utf-8")
        if row["duplicate_of"]:
            return {"reject_reasons": ["duplicate"]}
        if "bad" in text and not path.with_name("mended").exists():
            return RowError("bad_film", f"{path}: this film is bad; mend it")
        length = 4.0 * len(text.splitlines())
        return {"film_duration": length, "audio_stream": 0, "trim_start": self.intro, "trim_end": length}


@dataclass
class TextTranscribe(Processor):
    """Each line of the text is a cue of three seconds."""

    name: ClassVar[str] = "transcribe"
    requires: ClassVar[tuple[str, ...]] = ("source", "trim_start", "trim_end")

    def process(self, rows: list[Row]) -> Sequence[Outcome]:
        return [{"cues": self._cues(Path(row["source"])), "speech": []} for row in rows]

    def _cues(self, path: Path) -> list[dict[str, Any]]:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [{"start": 4.0 * i + 0.5, "end": 4.0 * i + 3.5, "text": line, "engine": "text"} for i, line in enumerate(lines)]


@dataclass
class TroubleCheck(Processor):
    """Counts letters. `trouble` in a text does what `kind` says; every text seen is appended to `log`.

    Args:
        kind: none, row, raise, systemic, exit, kill.
        log: file that learns of every row, or empty.
        calm: while this file exists there is no trouble.
    """

    name: ClassVar[str] = "check_text"
    requires: ClassVar[tuple[str, ...]] = ("asr_text",)

    kind: str = "none"
    log: str = ""
    calm: str = ""
    threshold: int = 1

    def process(self, rows: list[Row]) -> Sequence[Outcome]:
        return [self._check(row["asr_text"]) for row in rows]

    def _check(self, text: str) -> Outcome:
        if self.log:
            with Path(self.log).open("a", encoding="utf-8") as file:
                file.write(f"{text}\n")
        if "trouble" in text and not (self.calm and Path(self.calm).exists()):
            if self.kind == "row":
                return RowError("troubled", f"{text}: in trouble; wait")
            if self.kind == "raise":
                raise KeyError(text)
            if self.kind == "systemic":
                raise SystemicError("the key was refused; set another")
            if self.kind == "exit":
                os._exit(7)
            if self.kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
        return {"n_latin": len(text) * self.threshold}


@dataclass
class Counting(Processor):
    """A stage that owns `n_latin` and `text_flags`, with an engine whose revision tests change."""

    name: ClassVar[str] = "check_text"
    requires: ClassVar[tuple[str, ...]] = ("asr_text",)
    optional: ClassVar[tuple[str, ...]] = ("title",)

    factor: int = 1
    ratio: float = 0.5
    note: str | None = None
    flags: Sequence[str] = ()
    revision: ClassVar[str] = "r1"

    @property
    def engines(self) -> tuple[EngineInfo, ...]:
        return (EngineInfo("letters", self.revision, "MIT"),)

    def process(self, rows: list[Row]) -> Sequence[Outcome]:
        if any(row["asr_text"] == "explode batch" for row in rows) and len(rows) > 1:
            raise ValueError("one row spoils the batch")
        return [self._count(row["asr_text"]) for row in rows]

    def _count(self, text: str) -> Outcome:
        if text == "bad":
            return RowError("bad_text", "this text is bad; write another")
        if text in ("raise", "explode batch"):
            raise ValueError(text)
        if text == "disk":
            raise OSError(28, "No space left on device", "/somewhere")
        return {"n_latin": self.factor * sum(c.isalpha() for c in text)}


class InlineExecutor:
    """Does jobs in this process, one after the other; what they return comes as from workers."""

    def run(self, jobs: Iterable[Any], on_row: Callable[[int], None] = lambda _: None) -> Iterator[Any]:
        for job in jobs:
            yield job.run(on_row)


def text_recipe(**check: Any) -> Recipe:
    """The offline stages with text instead of media."""
    stages: list[tuple[str, dict[str, Any]]] = [
        ("fake_stages:TextIngest", {}),
        ("fake_stages:TextTranscribe", {}),
        ("segment", {}),
        ("fake_stages:TroubleCheck", check),
        ("cot", {}),
        ("verify", {}),
    ]
    return Recipe("text", "", "en", tuple(stages))


def changed(recipe: Recipe, stage: str, **settings: Any) -> Recipe:
    """The recipe with other settings of the stage whose name ends so."""
    stages = tuple((name, {**old, **settings} if name.endswith(stage) else old) for name, old in recipe.stages)
    return Recipe(recipe.name, recipe.description, recipe.lang, stages)


def write_texts(folder: Path, **texts: str) -> Path:
    """Text films: `write_texts(folder, a="Hello there.")` makes folder/a.mp4."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.mp4").write_text(text, encoding="utf-8")
    return folder
