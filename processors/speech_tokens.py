"""Stage 12: a clip's speech as tokens, 25 per second, which the dubbing model learns to write.

Invariants: the tokens are those of the vocals where they were separated, else of the mix; their number is the clip's length on
the 25 Hz grid; `speech_tokenizer_id` says which tokenizer made them, so that a model refuses those of another. On a CPU every
clip is computed alone, so that tokens do not depend on what else is in the batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from cineforge_hf import schema
from cineforge_hf.errors import RowError, UsageError
from cineforge_hf.media import open_clip
from cineforge_hf.processor import EngineInfo, Outcome, Processor, Row

_CLIPS_PER_CALL = 8
"""On an accelerator; the largest gain of batching is below this."""

# Published rows carry their sound; the contract has a column only where a stage of this version writes it.
_OWN_SOUND = tuple(name for name in ("vocals", "audio", "video") if name in schema.COLUMNS)


@dataclass
class TokenizeSpeech(Processor):
    """Writes a clip's speech tokens.

    Args:
        model: folder of a speech tokenizer, as `cineforge convert speech_tokenizer_v3.onnx` makes it.

    Row errors: `too_long` over the tokenizer's limit, and those of the media layer.

    Example:
        >>> from cineforge_hf import TokenizeSpeech
        >>> stage = TokenizeSpeech(model="models/speech_tokenizer")
        >>> clips = clips.map(stage, batched=True, **stage.map_kwargs(clips))  # doctest: +SKIP
    """

    name: ClassVar[str] = "speech_tokens"
    requires: ClassVar[tuple[str, ...]] = ("clip_id", "duration")
    optional: ClassVar[tuple[str, ...]] = ("source", "start", "end", "audio_stream", *_OWN_SOUND)

    model: str = ""

    def check(self) -> None:
        """Raises `UsageError` where the model or torch is missing."""
        if not (Path(self.model) / "model.safetensors").is_file() or not self.model:
            found = f"there is none at {self.model!r}" if self.model else "none was given"
            raise UsageError(
                f"speech_tokens: model must be the folder of a speech tokenizer, and {found}; make one with "
                "`cineforge convert speech_tokenizer_v3.onnx --output DIR`"
            )
        try:
            import torch  # noqa: F401
            import transformers  # noqa: F401
        except ImportError as error:
            raise UsageError("speech tokens need torch and transformers: pip install 'cineforge_hf[model]'") from error

    @property
    def engines(self) -> tuple[EngineInfo, ...]:
        """The tokenizer, by the hash of its weights."""
        return (EngineInfo("s3-speech-tokenizer", self._revision, "Apache-2.0"),)

    @cached_property
    def _revision(self) -> str:
        with (Path(self.model) / "model.safetensors").open("rb") as weights:
            return hashlib.file_digest(weights, "sha256").hexdigest()[:12]

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import torch

        from cineforge_hf.modeling.speech_tokenizer import SpeechTokenizerFeatureExtractor, SpeechTokenizerModel

        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        model = SpeechTokenizerModel.from_pretrained(self.model).to(device).eval()
        return model, SpeechTokenizerFeatureExtractor.from_pretrained(self.model)

    def process(self, rows: list[Row]) -> Sequence[Outcome]:
        """Tokenizes each clip; see `Processor.process`."""
        model, _ = self._loaded
        outcomes: list[Outcome] = [None] * len(rows)
        sounds: dict[int, Any] = {}
        for i, row in enumerate(rows):
            try:
                sounds[i] = self._sound(row, model.config.max_seconds)
            except RowError as error:
                outcomes[i] = error
        # Clips of nearly the same length share a call: the least padding.
        order = sorted(sounds, key=lambda i: len(sounds[i]))
        size = 1 if model.device.type == "cpu" else _CLIPS_PER_CALL
        for start in range(0, len(order), size):
            group = order[start : start + size]
            for i, tokens in zip(group, self._tokens([sounds[i] for i in group]), strict=True):
                outcomes[i] = {"speech_tokens": tokens, "speech_tokenizer_id": model.config.speech_tokenizer_id}
        return outcomes

    def _sound(self, row: Row, limit: float) -> Any:
        if row["duration"] > limit:
            seconds = row["duration"]
            raise RowError("too_long", f"{row['clip_id']}: {seconds:.1f} s; the speech tokenizer takes at most {limit:g} s")
        return open_clip(row).sound(16000, of="audio" if row.get("vocals") is None else "vocals")[0]

    def _tokens(self, sounds: list[Any]) -> list[list[int]]:
        import torch

        model, extractor = self._loaded
        features = extractor(sounds, sampling_rate=16000, return_tensors="pt").to(model.device)
        with torch.inference_mode():
            output = model(**features)
        rows = zip(output.codes.tolist(), output.code_lengths.tolist(), strict=True)
        return [codes[:length] for codes, length in rows]
