"""The engine that hears: any speech recogniser of `transformers`, over windows cut in pauses.

Invariants: a window at a time is read, a batch at a time is held; no recogniser hears more than 28 s; every word is on the
film's clock, once; weights are checked for before any work and loaded at the first film.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path

from cineforge_hf.errors import RowError, UsageError
from cineforge_hf.processor import EngineInfo, Row
from cineforge_hf.processors.engines.transcribe.asr_models import Recogniser, fetch, load_recogniser
from cineforge_hf.processors.engines.transcribe.base import Cue, EngineSettings, Transcript
from cineforge_hf.processors.engines.transcribe.phrases import phrases
from cineforge_hf.processors.engines.transcribe.windows import Window, join_windows, window_sounds, windows_of
from cineforge_hf.processors.languages import join_texts, text_language

DEFAULT = "openai/whisper-large-v3-turbo"
"""MIT, 1.6 GB, Chinese and English, with word times of its own."""
LICENCES = {"openai/whisper": "MIT", "Qwen/Qwen3-ASR": "Apache-2.0", "Qwen/Qwen3-ForcedAligner": "Apache-2.0"}
REACH_SECONDS = 5.0
"""Seconds to wait for the Hub."""
DETECT_WINDOWS = 3
"""Longest windows of a film from which its language is told."""


class AsrEngine:
    """Recognises with a model of `transformers`; see `TranscriptionEngine`.

    Args:
        settings: the model and how to run it.
        recogniser: what hears; None to load the settings' model.
    """

    timed_by_sound = True

    def __init__(self, settings: EngineSettings, recogniser: Recogniser | None = None) -> None:
        self._settings = settings if settings.model else EngineSettings(**{**vars(settings), "model": DEFAULT})
        self._given = recogniser

    @property
    def info(self) -> EngineInfo:
        """Name, model with its revision, and licence."""
        model = self._settings.model
        licence = next((known for name, known in LICENCES.items() if model.startswith(name)), "see the model's page")
        aligner = f" + {self._settings.aligner}" if self._settings.aligner else ""
        return EngineInfo("asr", f"{model}@{self._settings.revision or 'main'}{aligner}", licence)

    def check(self) -> None:
        """Raises `UsageError` where packages are missing or the weights are neither here nor within reach."""
        if self._given is not None:
            return
        if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers", "torchaudio")):
            raise UsageError("the engine asr needs torch, torchaudio and transformers: pip install 'cineforge_hf[asr]'")
        for model, revision in ((self._settings.model, self._settings.revision), (self._settings.aligner, "")):
            if model:
                self._reach(model, revision)

    def transcribe(self, row: Row, lang: str) -> Transcript:
        """Recognises a film; see `TranscriptionEngine.transcribe`.

        Raises:
            RowError: `no_speech`.
            SystemicError: the model cannot be loaded.
        """
        windows = windows_of(row)
        words = join_windows(windows, list(self._hear(row, windows, lang)))
        if not words:
            raise RowError("no_speech", f"{Path(row['source']).name}: {self._settings.model} hears no words; check its sound")
        return Transcript(phrases(words), self.info.revision, words)

    def detect(self, row: Row) -> str:
        """The language of a film's speech from its longest windows: `zh`, `en`, or `auto` where nothing is said."""
        windows = sorted(windows_of(row), key=lambda w: w.start - w.end)[:DETECT_WINDOWS]
        heard = [word.text for words in self._hear(row, windows, "auto") for word in words]
        return text_language(join_texts(heard)) or "auto"

    def _hear(self, row: Row, windows: list[Window], lang: str) -> Iterator[list[Cue]]:
        pairs = zip(windows, window_sounds(row, windows), strict=True)
        while group := list(islice(pairs, self._settings.batch_size)):
            for (window, _), words in zip(group, self._recogniser.hear([sound for _, sound in group], lang), strict=True):
                yield [Cue(round(window.start + w.start, 3), round(window.start + w.end, 3), w.text) for w in words]

    @cached_property
    def _recogniser(self) -> Recogniser:
        return self._given or load_recogniser(self._settings)

    def _reach(self, model: str, revision: str) -> None:
        """Look for a model's config, which costs a second where the weights cost minutes."""
        if Path(model).is_dir():
            if not (Path(model) / "config.json").is_file():
                raise UsageError(f"transcribe: {model} holds no config.json; give the folder that `save_pretrained` wrote")
            return
        import huggingface_hub
        from huggingface_hub import constants
        from huggingface_hub.utils import build_hf_headers  # Public, but not re-exported.

        weights = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
        cached = [huggingface_hub.try_to_load_from_cache(model, name, revision=revision or None) for name in weights]
        if any(isinstance(place, str) for place in cached):
            return
        why = "HF_HUB_OFFLINE is set"
        if not constants.HF_HUB_OFFLINE:
            try:
                # One question without the library's retries, which take half a minute where there is no network.
                url = huggingface_hub.hf_hub_url(model, "config.json", revision=revision or None)
                headers = build_hf_headers()
                answer = huggingface_hub.get_session().head(url, headers=headers, timeout=REACH_SECONDS, follow_redirects=True)
                if answer.status_code == 200:
                    return
                why = f"the Hub answers {answer.status_code}"
            except Exception as error:  # Whatever is between here and the Hub, the remedy is the same.
                why = str(error) or type(error).__name__
        missing = EngineSettings(model=model, revision=revision)
        raise UsageError(f"transcribe: cannot reach {model} ({why}); {fetch(missing)}")
