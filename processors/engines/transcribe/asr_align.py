"""Times for the words of a text that is known: forced alignment, with a CTC model or with Qwen's aligner.

A CTC model says for every 20 ms which letter it hears; `torchaudio.functional.forced_align` finds the path through them that
spells the text. Letters that a model's alphabet lacks (digits, 中文 for an English model) get the time between their neighbours.

Invariants: as many words out as the text has, in order, inside the window; the text is not changed.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from cineforge_hf.processors.engines.transcribe.base import Cue, EngineSettings
from cineforge_hf.processors.engines.transcribe.words import Span, timed_words, words_of
from cineforge_hf.processors.engines.vad.silero import RATE, Floats
from cineforge_hf.processors.languages import CJK

_UNITS = re.compile(f"[{CJK}]|[^\\s{CJK}]+")


class Aligner(Protocol):
    """Gives times to the words of known texts."""

    def align(self, sounds: Sequence[Floats], texts: Sequence[str], lang: str) -> list[list[Cue]]:
        """Words of each window, seconds from its start.

        Args:
            sounds: float32 (n,) at 16 kHz each.
            texts: what is said in each.
            lang: `zh`, `en` or `auto`.
        """


def units_of(text: str) -> list[str]:
    """Words and characters of a text, punctuation apart.

    >>> units_of("It cost 3.50, 是的。")
    ['It', 'cost', '3.50,', '是', '的', '。']
    """
    return _UNITS.findall(text)


def even_words(text: str, duration: float) -> Iterator[Cue]:
    """Words that share a window by their length, where nothing tells their times."""
    return timed_words(units_of(text), (), 0.0, duration)


def load_aligner(settings: EngineSettings) -> Aligner:
    """Load the aligner that the settings name.

    Raises:
        OSError: its weights cannot be loaded.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(settings.aligner)
    return QwenAligner(settings) if config.model_type == "qwen3_asr" else CtcAligner(settings)


class CtcAligner:
    """Forced alignment with a CTC model.

    Args:
        settings: `aligner` is the model.
    """

    def __init__(self, settings: EngineSettings) -> None:
        from transformers import AutoModelForCTC, AutoProcessor

        from cineforge_hf.processors.engines.transcribe.asr_models import place_and_type

        self._device, _ = place_and_type(settings)
        self._processor: Any = AutoProcessor.from_pretrained(settings.aligner)
        # float32: an alignment adds up thousands of log probabilities.
        self._model: Any = AutoModelForCTC.from_pretrained(settings.aligner).to(self._device).float().eval()
        self._vocabulary: dict[str, int] = self._processor.tokenizer.get_vocab()
        self._blank = int(self._processor.tokenizer.pad_token_id)

    def align(self, sounds: Sequence[Floats], texts: Sequence[str], lang: str) -> list[list[Cue]]:
        """Words of each window; see `Aligner.align`."""
        return [self._align(sound, text) for sound, text in zip(sounds, texts, strict=True)]

    def _align(self, sound: Floats, text: str) -> list[Cue]:
        import torch

        duration = len(sound) / RATE
        units = units_of(text)
        tokens, owners = spell(units, self._vocabulary, self._blank)
        if not tokens:
            return list(even_words(text, duration))
        inputs = self._processor(sound, sampling_rate=RATE, return_tensors="pt").to(self._device)
        with torch.inference_mode():
            logits = self._model(**inputs).logits[0].float()
        return align_units(torch.log_softmax(logits, dim=-1).cpu(), units, tokens, owners, self._blank, duration)


def spell(units: Sequence[str], vocabulary: dict[str, int], blank: int) -> tuple[list[int], list[int]]:
    """Letters of a text in a model's alphabet.

    Args:
        units: words.
        vocabulary: from letter to number.
        blank: number of CTC's blank.

    Returns:
        The numbers of the letters, and for each the number of its unit; what the alphabet lacks is left out.
    """
    separator = vocabulary.get("|")
    tokens: list[int] = []
    owners: list[int] = []
    for number, unit in enumerate(units):
        letters = [_letter(letter, vocabulary) for letter in unit]
        known = [letter for letter in letters if letter is not None and letter != blank]
        if known and tokens and separator is not None:
            tokens.append(separator)
            owners.append(-1)
        tokens += known
        owners += [number] * len(known)
    return tokens, owners


def _letter(letter: str, vocabulary: dict[str, int]) -> int | None:
    return next((vocabulary[form] for form in (letter, letter.upper(), letter.lower()) if form in vocabulary), None)


def align_units(
    log_probs: Any, units: Sequence[str], tokens: list[int], owners: list[int], blank: int, duration: float
) -> list[Cue]:
    """Words with times from the log probabilities of a CTC model.

    Args:
        log_probs: torch tensor (frames, alphabet).
        units: words.
        tokens: see `spell`.
        owners: see `spell`.
        blank: number of CTC's blank.
        duration: seconds that the frames cover.

    Returns:
        The words; sharing the window by their length where the text has more letters than there are frames.
    """
    import torch
    from torchaudio.functional import forced_align

    repeated = sum(a == b for a, b in itertools.pairwise(tokens))
    if len(tokens) + repeated > len(log_probs):
        return list(timed_words(units, (), 0.0, duration))
    path, _ = forced_align(log_probs[None], torch.tensor([tokens], dtype=torch.int32), blank=blank)
    seconds = duration / len(log_probs)
    spans: dict[int, Span] = {}
    for (first, last), owner in zip(_runs(path[0].tolist(), blank), owners, strict=True):
        if owner >= 0:
            start = spans[owner][0] if owner in spans else first * seconds
            spans[owner] = (start, (last + 1) * seconds)
    return list(timed_words(units, _filled(units, spans, duration), 0.0, duration))


def _runs(path: list[int], blank: int) -> Iterator[tuple[int, int]]:
    """First and last frame of each letter on a path."""
    first = 0
    for frame, token in enumerate(path):
        if frame and token != path[frame - 1]:
            first = frame
        if token != blank and (frame + 1 == len(path) or path[frame + 1] != token):
            yield first, frame


def _filled(units: Sequence[str], spans: dict[int, Span], duration: float) -> list[Span]:
    """A span for each unit that has a sound; those without one take the time between their neighbours."""
    from cineforge_hf.processors.engines.transcribe.words import spoken

    sounding = [number for number, unit in enumerate(units) if spoken(unit)]
    filled: list[Span] = []
    for place, number in enumerate(sounding):
        if number in spans:
            filled.append(spans[number])
            continue
        run = 1
        while place + run < len(sounding) and sounding[place + run] not in spans:
            run += 1
        after = spans[sounding[place + run]][0] if place + run < len(sounding) else duration
        before = filled[-1][1] if filled else 0.0
        filled.append((before, before + max(0.0, after - before) / run))
    return filled


class QwenAligner:
    """Qwen3-ForcedAligner: one pass that marks the start and end of every word.

    Args:
        settings: `aligner` is the model.
    """

    def __init__(self, settings: EngineSettings) -> None:
        from transformers import AutoProcessor, Qwen3ASRForTokenClassification

        from cineforge_hf.processors.engines.transcribe.asr_models import place_and_type

        self._device, self._dtype = place_and_type(settings)
        self._processor: Any = AutoProcessor.from_pretrained(settings.aligner)
        loaded = Qwen3ASRForTokenClassification.from_pretrained(settings.aligner, dtype=self._dtype)
        self._model: Any = loaded.to(self._device).eval()

    def align(self, sounds: Sequence[Floats], texts: Sequence[str], lang: str) -> list[list[Cue]]:
        """Words of each window; see `Aligner.align`."""
        return [self._align(sound, text) for sound, text in zip(sounds, texts, strict=True)]

    def _align(self, sound: Floats, text: str) -> list[Cue]:
        import torch

        duration = len(sound) / RATE
        if not self._processor.split_words_for_alignment(text):
            return list(even_words(text, duration))
        inputs, words = self._processor.prepare_forced_aligner_inputs(audio=[sound], transcript=[text])
        inputs = inputs.to(self._device, self._dtype)
        with torch.inference_mode():
            logits = self._model(**inputs).logits
        found = self._processor.decode_forced_alignment(
            logits, inputs["input_ids"], words, timestamp_token_id=self._model.config.timestamp_token_id
        )[0]
        pieces = words_of(text, [word["text"] for word in found])
        times = [(float(word["start_time"]), float(word["end_time"])) for word in found]
        return list(timed_words(pieces, times, 0.0, duration))
