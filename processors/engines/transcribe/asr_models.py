"""Speech recognisers of `transformers` behind one call: windows of sound in, words with times out.

Whisper (`asr_whisper.py`) and Qwen3-ASR through their classes; CTC models, and any other whose text gets its times from an
aligner (`asr_align.py`), through the library's pipeline.

Invariants: weights come through `from_pretrained` (Hub id with revision, or local folder), never from code in a repository
(`trust_remote_code` stays off); nothing is kept between calls; times are seconds from the start of each window.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from cineforge_hf.errors import SystemicError, UsageError
from cineforge_hf.processors.engines.transcribe.asr_align import Aligner, even_words, load_aligner
from cineforge_hf.processors.engines.transcribe.base import Cue, EngineSettings
from cineforge_hf.processors.engines.vad.silero import RATE, Floats

TOKENS_PER_SECOND = 12
"""New tokens that a window may take: fast speech has 6 to 8. It bounds what a model says that runs in circles."""

_NAMES = {"zh": "Chinese", "en": "English"}


class Recogniser(Protocol):
    """Recognises windows of sound."""

    def hear(self, sounds: Sequence[Floats], lang: str) -> list[list[Cue]]:
        """Words of each window.

        Args:
            sounds: float32 (n,) at 16 kHz each, at most 30 s.
            lang: `zh`, `en`, or `auto` for the model to tell.

        Returns:
            Words with seconds from the window's start.
        """


def load_recogniser(settings: EngineSettings) -> Recogniser:
    """Load a model, and its aligner where it needs one.

    Raises:
        UsageError: the model has no word times and no aligner was named.
        SystemicError: the weights cannot be loaded.
    """
    from transformers import AutoConfig

    place = {"revision": settings.revision} if settings.revision and not Path(settings.model).is_dir() else {}
    try:
        config = AutoConfig.from_pretrained(settings.model, **place)
        if config.model_type == "qwen3_asr":
            return QwenRecogniser(settings, place)
        if config.model_type == "whisper" and not settings.aligner:
            from cineforge_hf.processors.engines.transcribe.asr_whisper import WhisperRecogniser

            return WhisperRecogniser(settings, place)
        return PipelineRecogniser(settings, place)
    except (OSError, ValueError) as error:
        raise SystemicError(f"transcribe: cannot load {settings.model}: {error}; {fetch(settings)}") from error


def fetch(settings: EngineSettings) -> str:
    """The command that brings the weights."""
    revision = f" --revision {settings.revision}" if settings.revision else ""
    return f"fetch it with `hf download {settings.model}{revision}`, or give `model` a local folder"


def place_and_type(settings: EngineSettings) -> tuple[str, Any]:
    """The device and the torch dtype for a model: bfloat16 on a GPU, float32 elsewhere, where nothing is asked for.

    Raises:
        UsageError: the device is not there.
    """
    import torch

    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"transcribe: device is {device!r}, and torch sees no GPU; use device=cpu")
    if settings.dtype == "auto":
        return device, torch.bfloat16 if device.startswith("cuda") and torch.cuda.is_bf16_supported() else torch.float32
    return device, getattr(torch, settings.dtype)


class PipelineRecogniser:
    """CTC models, which the pipeline gives word times for; others with an aligner.

    Args:
        settings: the model and how to run it.
        place: keyword arguments for `from_pretrained`.
    """

    def __init__(self, settings: EngineSettings, place: dict[str, str]) -> None:
        from transformers import pipeline

        device, dtype = place_and_type(settings)
        self._pipeline = pipeline(
            "automatic-speech-recognition", model=settings.model, device=device, dtype=dtype, trust_remote_code=False, **place
        )
        self._batch = settings.batch_size
        self._timed = self._pipeline.type in {"ctc", "ctc_with_lm"}
        self._aligner: Aligner | None = None
        if not self._timed:
            if not settings.aligner:
                raise UsageError(
                    f"transcribe: {settings.model} gives no times to its words; name an `aligner`, a CTC model of the language, "
                    "e.g. facebook/wav2vec2-base-960h"
                )
            self._aligner = load_aligner(settings)

    def hear(self, sounds: Sequence[Floats], lang: str) -> list[list[Cue]]:
        """Words of each window; see `Recogniser.hear`."""
        inputs = [{"raw": sound, "sampling_rate": RATE} for sound in sounds]
        options: dict[str, Any] = {"batch_size": self._batch}
        if self._timed:
            options["return_timestamps"] = "word"
        results = self._pipeline(inputs, **options)
        if self._aligner is not None:
            return self._aligner.align(sounds, [result["text"].strip() for result in results], lang)
        return [
            pipeline_words(result.get("chunks") or [], len(sound) / RATE) for result, sound in zip(results, sounds, strict=True)
        ]


def pipeline_words(chunks: Sequence[dict[str, Any]], duration: float) -> list[Cue]:
    """The pipeline's word chunks as words in order; a time that it leaves open is the next word's, or the end of the sound.

    Args:
        chunks: [{"text", "timestamp": (start, end)}] in seconds; either may be None.
        duration: seconds of the sound.
    """
    words: list[Cue] = []
    for i, chunk in enumerate(chunks):
        text = chunk["text"].strip()
        if not text:
            continue
        start, end = chunk["timestamp"]
        last = words[-1].end if words else 0.0
        start = last if start is None else min(max(start, last), duration)
        following = next((c["timestamp"][0] for c in chunks[i + 1 :] if c["timestamp"][0] is not None), duration)
        end = min(max(following if end is None else end, start), duration)
        words.append(Cue(round(start, 3), round(end, 3), text))
    return words


class QwenRecogniser:
    """Qwen3-ASR, with its forced aligner or a CTC model for the times.

    Args:
        settings: the model and how to run it; without an aligner a window's words share its speech evenly.
        place: keyword arguments for `from_pretrained`.
    """

    def __init__(self, settings: EngineSettings, place: dict[str, str]) -> None:
        from transformers import AutoProcessor, Qwen3ASRForConditionalGeneration

        self._device, self._dtype = place_and_type(settings)
        self._processor: Any = AutoProcessor.from_pretrained(settings.model, **place)
        loaded = Qwen3ASRForConditionalGeneration.from_pretrained(settings.model, dtype=self._dtype, **place)
        self._model: Any = loaded.to(self._device).eval()
        self._batch = settings.batch_size
        self._aligner = load_aligner(settings) if settings.aligner else None

    def hear(self, sounds: Sequence[Floats], lang: str) -> list[list[Cue]]:
        """Words of each window; see `Recogniser.hear`."""
        texts: list[str] = []
        for first in range(0, len(sounds), self._batch):
            texts += self._texts(sounds[first : first + self._batch], lang)
        if self._aligner is None:
            return [list(even_words(text, len(sound) / RATE)) for text, sound in zip(texts, sounds, strict=True)]
        return self._aligner.align(sounds, texts, lang)

    def _texts(self, sounds: Sequence[Floats], lang: str) -> list[str]:
        import torch

        language = [_NAMES.get(lang)] * len(sounds) if lang in _NAMES else None
        inputs = self._processor.apply_transcription_request(audio=list(sounds), language=language)
        inputs = inputs.to(self._device, self._dtype)
        longest = max(len(sound) for sound in sounds) / RATE
        with torch.inference_mode():
            tokens = self._model.generate(**inputs, max_new_tokens=max(8, round(TOKENS_PER_SECOND * longest)), do_sample=False)
        said = tokens[:, inputs["input_ids"].shape[1] :]
        texts: list[str] = self._processor.decode(said, return_format="transcription_only")
        return [text.strip() for text in texts]
