"""English without any download: CMU Pocketsphinx with the model that its wheel carries.

It knows 130,000 words and takes whatever it hears for one of them. Its words are wrong more often than right on film sound (the
rate is in `benchmarks/transcription.py`), but their times are good; it is the last resort of `auto`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cineforge_hf.errors import RowError, UsageError
from cineforge_hf.processor import EngineInfo, Row
from cineforge_hf.processors.engines.transcribe.base import Cue, Transcript
from cineforge_hf.processors.engines.transcribe.phrases import phrases
from cineforge_hf.processors.engines.transcribe.windows import join_windows, window_sounds, windows_of
from cineforge_hf.processors.engines.vad.silero import Floats

FRAMES_PER_SECOND = 100
"""Of the decoder, as its feature extraction is set by default."""


class PocketsphinxEngine:
    """Recognises English; see `TranscriptionEngine`."""

    timed_by_sound = True

    @property
    def info(self) -> EngineInfo:
        """Name, version and licence."""
        try:
            revision = importlib.metadata.version("pocketsphinx")
        except importlib.metadata.PackageNotFoundError:
            revision = "missing"
        return EngineInfo("pocketsphinx", revision, "BSD-2-Clause")

    def check(self) -> None:
        """Raises `UsageError` where the package is missing."""
        if importlib.util.find_spec("pocketsphinx") is None:
            raise UsageError("the engine pocketsphinx is not installed: pip install 'cineforge_hf[pocketsphinx]'")

    def transcribe(self, row: Row, lang: str) -> Transcript:
        """Recognises a film in English; see `TranscriptionEngine.transcribe`.

        Raises:
            RowError: `unsupported_language` for Chinese, `no_speech`.
        """
        film = Path(row["source"])
        if lang == "zh":
            raise RowError(
                "unsupported_language", f"{film.name}: pocketsphinx knows English alone; put {film.stem}.zh.srt beside it"
            )
        windows = windows_of(row)
        heard = [
            list(self._words(sound, window.start)) for window, sound in zip(windows, window_sounds(row, windows), strict=True)
        ]
        words = join_windows(windows, heard)
        if not words:
            raise RowError("no_speech", f"{film.name}: pocketsphinx hears no English in it; check its language and its sound")
        return Transcript(phrases(words), "pocketsphinx en-us", words)

    def _words(self, sound: Floats, start: float) -> Iterator[Cue]:
        """Words of a window, on the source's clock."""
        decoder = self._decoder
        # A fresh mean of the cepstra for every window, so that windows do not depend on those before them.
        decoder.reinit_feat()
        decoder.start_utt()
        decoder.process_raw(_as_pcm(sound), full_utt=True)
        decoder.end_utt()
        for piece in decoder.seg() or ():
            word = str(piece.word).split("(")[0]
            if word and not word.startswith(("<", "[", "+")):
                first, last = piece.start_frame / FRAMES_PER_SECOND, (piece.end_frame + 1) / FRAMES_PER_SECOND
                yield Cue(round(start + first, 3), round(start + last, 3), word)

    @cached_property
    def _decoder(self) -> Any:
        self.check()
        from pocketsphinx import Decoder

        return Decoder(samprate=16000.0, loglevel="FATAL")


def _as_pcm(sound: Floats) -> bytes:
    peak = float(np.abs(sound).max(initial=0.0))
    # Quiet films are brought to the level that the model was trained at.
    scaled = sound * (0.5 / peak) if peak > 1e-4 else sound
    return np.clip(scaled * 32767, -32768, 32767).astype("<i2").tobytes()
