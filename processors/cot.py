"""Stage 13: the corrected transcript and what is known of its speakers.

This version has the engine `skip` alone: it takes the transcript as it was found. Everything that only listening could tell
(turns, emotion, clue) stays null, and `provenance` says `skip`, so that such rows are never taken for corrected ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from cineforge_hf.errors import UsageError
from cineforge_hf.processor import EngineInfo, Outcome, Processor, Row

ENGINES = ("skip",)


@dataclass
class CorrectWithCoT(Processor):
    """Fills the result columns from the evidence.

    Args:
        engine: `skip` copies `asr_text` to `text`.

    Example:
        >>> from cineforge_hf import CorrectWithCoT
        >>> CorrectWithCoT()({"asr_text": ["Good morning."]})["text"]
        ['Good morning.']
    """

    name: ClassVar[str] = "cot"
    requires: ClassVar[tuple[str, ...]] = ("asr_text",)

    engine: str = "skip"

    def check(self) -> None:
        """Raises `UsageError` for an unknown engine."""
        if self.engine not in ENGINES:
            raise UsageError(f"cot: no engine {self.engine!r}; choose {', '.join(ENGINES)}")

    @property
    def engines(self) -> tuple[EngineInfo, ...]:
        """The engine's name, for provenance and the stage key."""
        return (EngineInfo(self.engine, "", "Apache-2.0"),)

    def process(self, rows: list[Row]) -> Sequence[Outcome]:
        """Copies the evidence; see `Processor.process`."""
        self.check()
        return [{"text": row["asr_text"]} for row in rows]
