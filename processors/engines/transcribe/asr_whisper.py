"""Whisper through its class: one call per batch, with the word times of its cross-attention.

Windows are shorter than the 30 s that Whisper hears at once, so that its own long-form loop, which may run in circles on noise,
is never entered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cineforge_hf.errors import UsageError
from cineforge_hf.processors.engines.transcribe.asr_models import TOKENS_PER_SECOND, place_and_type
from cineforge_hf.processors.engines.transcribe.base import Cue, EngineSettings
from cineforge_hf.processors.engines.transcribe.windows import LONGEST
from cineforge_hf.processors.engines.transcribe.words import spoken
from cineforge_hf.processors.engines.vad.silero import RATE, Floats
from cineforge_hf.processors.languages import count_scripts

_INCOMPLETE = "\ufffd"


class WhisperRecogniser:
    """Whisper; see `Recogniser`.

    Args:
        settings: the model and how to run it.
        place: keyword arguments for `from_pretrained`.
    """

    def __init__(self, settings: EngineSettings, place: dict[str, str]) -> None:
        from transformers import AutoProcessor, WhisperForConditionalGeneration

        self._device, self._dtype = place_and_type(settings)
        self._processor: Any = AutoProcessor.from_pretrained(settings.model, **place)
        loaded = WhisperForConditionalGeneration.from_pretrained(settings.model, dtype=self._dtype, **place)
        self._model: Any = loaded.to(self._device).eval()
        self._batch = settings.batch_size
        if not getattr(self._model.generation_config, "alignment_heads", None):
            raise UsageError(
                f"transcribe: {settings.model} names no alignment_heads, so that its words have no times; name an `aligner`, a "
                "CTC model of the language, e.g. facebook/wav2vec2-base-960h"
            )

    def hear(self, sounds: Sequence[Floats], lang: str) -> list[list[Cue]]:
        """Words of each window; see `Recogniser.hear`."""
        heard: list[list[Cue]] = []
        for first in range(0, len(sounds), self._batch):
            heard += self._hear(sounds[first : first + self._batch], lang)
        return heard

    def _hear(self, sounds: Sequence[Floats], lang: str) -> list[list[Cue]]:
        import torch

        inputs = self._processor(list(sounds), sampling_rate=RATE, return_tensors="pt", return_attention_mask=True)
        with torch.inference_mode():
            found = self._model.generate(
                inputs["input_features"].to(self._device, self._dtype),
                attention_mask=inputs["attention_mask"].to(self._device),
                return_timestamps=False,
                return_token_timestamps=True,
                **self._options(lang),
            )
        tokenizer = self._processor.tokenizer
        special = set(tokenizer.all_special_ids) | set(range(tokenizer.convert_tokens_to_ids("<|endoftext|>"), len(tokenizer)))
        return [
            token_words(tokens.tolist(), times.tolist(), tokenizer.decode, special, len(sound) / RATE)
            for tokens, times, sound in zip(found["sequences"], found["token_timestamps"], sounds, strict=True)
        ]

    def _options(self, lang: str) -> dict[str, Any]:
        room = self._model.config.max_target_positions - 8
        options: dict[str, Any] = {"max_new_tokens": min(round(TOKENS_PER_SECOND * LONGEST), room)}
        # An English-only Whisper refuses a language.
        if getattr(self._model.generation_config, "is_multilingual", False):
            options["task"] = "transcribe"
            if lang != "auto":
                options["language"] = lang
        return options


def token_words(
    tokens: Sequence[int], times: Sequence[float], decode: Callable[[list[int]], str], special: set[int], duration: float
) -> list[Cue]:
    """Words with times from Whisper's tokens.

    A token begins where the one before it ends. Tokens may hold a part of a character (Chinese in bytes), a part of a word, or
    punctuation; a word begins at a space or a Chinese character.

    Args:
        tokens: numbers, with special ones.
        times: seconds at which each token ends.
        decode: gives the text of tokens.
        special: numbers of the tokens without text.
        duration: seconds of the sound.
    """
    words: list[Cue] = []
    held: list[int] = []
    begun = 0.0
    for i, token in enumerate(tokens):
        if token in special:
            continue
        if not held:
            begun = times[i - 1] if i else 0.0
        held.append(token)
        text = decode(held)
        if _INCOMPLETE in text:
            continue
        held = []
        start, end = (min(max(at, 0.0), duration) for at in (begun, times[i]))
        for piece in _pieces(text):
            _append(words, piece, start, max(start, end))
    return [Cue(round(w.start, 3), round(w.end, 3), w.text.strip()) for w in words if spoken(w.text)]


def _pieces(text: str) -> list[str]:
    """Chinese characters apart, everything else together."""
    pieces: list[str] = []
    for character in text:
        if pieces and not count_scripts(character).cjk and not count_scripts(pieces[-1]).cjk:
            pieces[-1] += character
        else:
            pieces.append(character)
    return pieces


def _append(words: list[Cue], piece: str, start: float, end: float) -> None:
    """A new word, or more of the last one."""
    begins = piece[0].isspace() or bool(count_scripts(piece).cjk)
    last = words[-1] if words else None
    continues = last is not None and not begins and (not spoken(piece) or not count_scripts(last.text[-1]).cjk)
    if last is not None and continues:
        words[-1] = Cue(last.start, max(last.end, end) if spoken(piece) else last.end, last.text + piece)
    elif piece.strip():
        words.append(Cue(max(start, last.end) if last is not None else start, end if last is None else max(end, last.end), piece))
