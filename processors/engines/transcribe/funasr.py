"""FunASR's recognisers (Paraformer, SenseVoice), as FunCineForge uses them for Chinese; an optional extra, since it is heavy.

The package brings its own model hub. Sound is given to it window by window, so that its own voice detection is not needed and
memory does not grow with the film.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from cineforge_hf.errors import RowError, SystemicError, UsageError
from cineforge_hf.processor import EngineInfo, Row
from cineforge_hf.processors.engines.transcribe.base import Cue, EngineSettings, Transcript
from cineforge_hf.processors.engines.transcribe.phrases import phrases
from cineforge_hf.processors.engines.transcribe.windows import Window, join_windows, window_sounds, windows_of
from cineforge_hf.processors.engines.transcribe.words import timed_words
from cineforge_hf.processors.engines.vad.silero import RATE, Floats
from cineforge_hf.processors.languages import CJK

DEFAULT = "paraformer-zh"
PUNCTUATION = "ct-punc"
"""Its model that puts stops and commas, without which no sentence ends."""

_UNITS = re.compile(f"[{CJK}]|[^\\s{CJK}]+")


class FunAsrEngine:
    """Recognises with FunASR; see `TranscriptionEngine`.

    Args:
        settings: `model` is one of FunASR's names or a local folder.
    """

    timed_by_sound = True

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings

    @property
    def info(self) -> EngineInfo:
        """Name, model and licence."""
        model = self._settings.model or DEFAULT
        return EngineInfo("funasr", f"{model}@{self._settings.revision or 'newest'}", "FunASR model licence (see its page)")

    def check(self) -> None:
        """Raises `UsageError` where the package is missing."""
        if importlib.util.find_spec("funasr") is None:
            raise UsageError("the engine funasr is not installed: pip install 'cineforge_hf[funasr]'")

    def transcribe(self, row: Row, lang: str) -> Transcript:
        """Recognises a film; see `TranscriptionEngine.transcribe`.

        Raises:
            RowError: `no_speech`.
            SystemicError: the model cannot be loaded.
        """
        windows = windows_of(row)
        sounds = window_sounds(row, windows)
        heard = [list(self._words(window, sound)) for window, sound in zip(windows, sounds, strict=True)]
        words = join_windows(windows, heard)
        if not words:
            raise RowError("no_speech", f"{Path(row['source']).name}: funasr hears no words in it; check its sound")
        return Transcript(phrases(words), self.info.revision, words)

    def _words(self, window: Window, sound: Floats) -> Iterator[Cue]:
        for result in self._model.generate(input=sound, fs=RATE, disable_pbar=True):
            # Times in milliseconds, one for each character or word, without the punctuation of the text.
            times = [(start / 1000, end / 1000) for start, end in result.get("timestamp") or ()]
            yield from timed_words(_UNITS.findall(result.get("text", "")), times, window.start, window.end)

    @cached_property
    def _model(self) -> Any:
        self.check()
        from funasr import AutoModel

        revision = {"model_revision": self._settings.revision} if self._settings.revision else {}
        device = "cpu" if self._settings.device == "auto" and not _has_gpu() else self._settings.device.replace("auto", "cuda")
        try:
            return AutoModel(
                model=self._settings.model or DEFAULT, punc_model=PUNCTUATION, device=device, disable_update=True, **revision
            )
        except (OSError, RuntimeError, ValueError, AssertionError) as error:
            name = self._settings.model or DEFAULT
            raise SystemicError(
                f"funasr cannot load {name} ({error}); download it to a folder and give its path as model"
            ) from error


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())
