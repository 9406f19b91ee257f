"""Generation of speech tokens, and of speech from them.

`generate` decodes as the released model does; its rules live in `generation_config.json`. `generate_speech` goes on to the
waveform and, unless told otherwise, adds what dubbing needs: speech as long as the picture, ids of the codebook only, one
voice per turn.

Every row of a batch draws from its own random generator, so a record gives the same tokens alone and in any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, GenerationMixin, LogitsProcessor, LogitsProcessorList
from transformers.utils import ModelOutput

from cineforge_hf.modeling.campplus.modeling_campplus import CampPlusModel
from cineforge_hf.modeling.cinedub.configuration_cinedub import CineDubConfig
from cineforge_hf.modeling.cinedub.modeling_cinedub_flow import CineDubFlowModel
from cineforge_hf.modeling.cinedub.modeling_cinedub_vocoder import CineDubVocoder

# The released decoding settings; entries of `generation_config.json` and arguments of `generate` override them.
RULES: dict[str, Any] = {
    "repetition_aware": True,
    "ras_top_p": 0.8,
    "ras_top_k": 25,
    "ras_window": 10,
    "ras_tau": 0.1,
    "match_length": False,
    "codebook_only": False,
}
_VOICE_INPUTS = ("speaker_embeds", "speaker_features", "speaker_feature_lengths", "speaker_frames")


def default_generation_config(config: CineDubConfig) -> GenerationConfig:
    """The released decoding settings: repetition-aware sampling, 50 to 1500 tokens."""
    return GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        min_new_tokens=50,
        max_new_tokens=1500,
        **RULES,
    )


class RepetitionAwareSampler(LogitsProcessor):
    """Repetition-aware sampling (VALL-E 2, Chen et al. 2024), as the released model draws.

    A candidate is drawn from the nucleus; if it occurs too often among the latest tokens, it is drawn again from the whole
    distribution. The chosen id gets score 0 and all others minus infinity, so that any choice made afterwards is this one.

    Args:
        top_p: candidates are kept while the mass before them is below this.
        top_k: at most so many candidates.
        window: how many of the latest tokens are looked at.
        tau: share of the window from which a candidate counts as repeated.
        seeds: seed of each row's random generator.
    """

    def __init__(self, top_p: float, top_k: int, window: int, tau: float, seeds: Sequence[int]) -> None:
        self.top_p, self.top_k, self.window, self.tau = top_p, top_k, window, tau
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Draws one id per row; `input_ids` are the tokens so far, (rows, tokens), `scores` (rows, ids)."""
        probabilities = scores.float().softmax(-1)
        mass, ids = probabilities.topk(min(self.top_k, scores.shape[-1]))
        before = mass.cumsum(-1).roll(1, -1)
        before[:, 0] = 0.0
        kept = (before < self.top_p).sum(-1).tolist()
        # Drawing on the CPU gives every device the same sequence; only the candidates travel.
        mass, ids, recent = mass.cpu(), ids.cpu(), input_ids[:, -self.window :].cpu()
        chosen = torch.empty(len(kept), 1, dtype=torch.long)
        for row, (count, generator) in enumerate(zip(kept, self.generators, strict=True)):
            drawn = torch.multinomial(mass[row, :count], 1, replacement=True, generator=generator)
            chosen[row] = ids[row, drawn]
            if int((recent[row] == chosen[row]).sum()) >= self.window * self.tau:
                chosen[row] = torch.multinomial(probabilities[row].cpu(), 1, replacement=True, generator=generator)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen.to(scores.device), 0.0)


class LengthControl(LogitsProcessor):
    """Ends every row after exactly its number of tokens, so that the speech ends with the picture.

    Args:
        lengths: tokens of each row, (rows).
        eos_token_id: the id that ends a row.
    """

    def __init__(self, lengths: torch.Tensor, eos_token_id: int) -> None:
        self.lengths, self.eos_token_id = lengths, eos_token_id

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Forbids the end before a row's length and everything else at it."""
        ends = (self.lengths.to(scores.device) <= input_ids.shape[1]).unsqueeze(-1)
        is_eos = torch.arange(scores.shape[-1], device=scores.device) == self.eos_token_id
        return scores.masked_fill(ends != is_eos, -torch.inf)


class CodebookOnly(LogitsProcessor):
    """Forbids the codec's special ids other than the end, which have no sound.

    Args:
        codebook_size: ids below it are speech.
        eos_token_id: the id that ends a row.
    """

    def __init__(self, codebook_size: int, eos_token_id: int) -> None:
        self.codebook_size, self.eos_token_id = codebook_size, eos_token_id

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Masks the special ids."""
        ids = torch.arange(scores.shape[-1], device=scores.device)
        return scores.masked_fill((ids >= self.codebook_size) & (ids != self.eos_token_id), -torch.inf)


@dataclass
class CineDubSpeech(ModelOutput):
    """Output of `generate_speech`, one entry per record.

    Args:
        waveforms: at the vocoder's sampling rate, each (samples).
        codes: speech tokens, each (tokens).
    """

    waveforms: list[torch.Tensor] | None = None
    codes: list[torch.Tensor] | None = None


class CineDubGenerationMixin(GenerationMixin):
    """`generate` and `generate_speech` of the dubbing model."""

    config: CineDubConfig
    device: torch.device
    flow: CineDubFlowModel
    vocoder: CineDubVocoder
    speaker_encoder: CampPlusModel
    embed_prompt: Callable[..., torch.Tensor]

    @torch.no_grad()
    def generate(
        self,
        input_ids: torch.Tensor | None = None,
        *,
        token_type_ids: torch.Tensor | None = None,
        face_values: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Writes speech tokens.

        Args:
            input_ids: prompts in mixed spaces, padded on the left, (batch, positions).
            token_type_ids: their `TokenType`.
            face_values: face tracks, (batch, frames, face_size).
            inputs_embeds: embedded prompts in place of the three above.
            attention_mask: 0 on padding.
            kwargs: arguments of `GenerationMixin.generate`, and: `seed`, an int for all rows or one per row; the entries of
                `RULES`; `speech_lengths`, the tokens of each row where `match_length` is set.

        Returns:
            The new ids, (batch, tokens), ended by EOS and filled with the padding id; or what `return_dict_in_generate` asks for.

        Raises:
            ValueError: no prompt was given, or an argument is unknown.
        """
        if inputs_embeds is None:
            if input_ids is None or token_type_ids is None:
                raise ValueError("generate needs input_ids with token_type_ids, as the processor makes them, or inputs_embeds")
            inputs_embeds = self.embed_prompt(input_ids, token_type_ids, face_values)
        kwargs = {key: value for key, value in kwargs.items() if key not in _VOICE_INPUTS}
        return super().generate(inputs_embeds=inputs_embeds, attention_mask=attention_mask, **kwargs)

    def _prepare_generation_config(
        self, generation_config: GenerationConfig | None, **kwargs: Any
    ) -> tuple[GenerationConfig, dict[str, Any]]:
        rules = {name: kwargs.pop(name) for name in RULES if name in kwargs}
        seed, lengths = kwargs.pop("seed", None), kwargs.pop("speech_lengths", None)
        prepared, model_kwargs = super()._prepare_generation_config(generation_config, **kwargs)
        for name, default in RULES.items():
            setattr(prepared, name, rules.get(name, getattr(prepared, name, default)))
        prepared.seed, prepared.speech_lengths = seed, lengths
        if prepared.match_length:
            if lengths is None:
                raise ValueError("match_length needs speech_lengths, the number of speech tokens of each record")
            prepared.min_new_tokens = None
            prepared.min_length = 0
            prepared.max_new_tokens = int(lengths.max()) + 1
        return prepared, model_kwargs

    def _get_logits_processor(self, generation_config: GenerationConfig, *args: Any, **kwargs: Any) -> LogitsProcessorList:
        processors = super()._get_logits_processor(generation_config, *args, **kwargs)
        copies, eos = generation_config.num_return_sequences or 1, self.config.eos_token_id
        if generation_config.codebook_only:
            processors.append(CodebookOnly(self.config.codebook_size, eos))
        if generation_config.match_length:
            lengths = torch.as_tensor(generation_config.speech_lengths).repeat_interleave(copies)
            processors.append(LengthControl(lengths, eos))
        if generation_config.do_sample and generation_config.repetition_aware:
            seeds = _row_seeds(generation_config.seed, kwargs["encoder_input_ids"].shape[0], copies)
            top_p, top_k, window, tau = (
                getattr(generation_config, f"ras_{name}") for name in ("top_p", "top_k", "window", "tau")
            )
            processors.append(RepetitionAwareSampler(top_p, top_k, window, tau, seeds))
        return processors

    def split_codes(self, sequences: torch.Tensor) -> list[torch.Tensor]:
        """Cuts every row of `generate`'s result before its EOS.

        Args:
            sequences: (batch, tokens).

        Returns:
            The tokens of each row; special ids other than EOS are still in them.
        """
        rows = []
        for row in sequences:
            ends = (row == self.config.eos_token_id).nonzero()
            rows.append(row[: int(ends[0])] if len(ends) else row)
        return rows

    @torch.no_grad()
    def generate_speech(
        self,
        input_ids: torch.Tensor,
        *,
        speech_lengths: torch.Tensor | None = None,
        speaker_embeds: torch.Tensor | None = None,
        speaker_features: torch.Tensor | None = None,
        speaker_feature_lengths: torch.Tensor | None = None,
        speaker_frames: torch.Tensor | None = None,
        mask_type: int = 0,
        **kwargs: Any,
    ) -> CineDubSpeech:
        """Dubs records: speech tokens, mel, waveform.

        Args:
            input_ids: prompts as the processor makes them, (batch, positions).
            speech_lengths: speech tokens that fit the picture, (batch).
            speaker_embeds: x-vectors, (batch, voices, size).
            speaker_features: filterbanks of the reference voices in their place, (batch, voices, frames, bins).
            speaker_feature_lengths: their valid frames, (batch, voices); 0 for a voice that is not there.
            speaker_frames: which voice speaks at each token, (batch, tokens); the first one by default.
            mask_type: attention mask of the flow, an index of its `causal_blocks`.
            kwargs: arguments of `generate`. `match_length` (where `speech_lengths` is given) and `codebook_only` are on by
                default here.

        Returns:
            Waveforms and speech tokens. A record for which nothing was generated has an empty waveform.

        Raises:
            ValueError: no voice was given.
        """
        kwargs.setdefault("match_length", speech_lengths is not None)
        kwargs.setdefault("codebook_only", True)
        kwargs |= {"return_dict_in_generate": False, "speech_lengths": speech_lengths}
        if speaker_embeds is None:
            if speaker_features is None:
                raise ValueError("generate_speech needs speaker_embeds or speaker_features, the voice to speak with")
            speaker_embeds = self.embed_voices(speaker_features, speaker_feature_lengths)
        rows = self.split_codes(self.generate(input_ids, **kwargs))
        codes = [row[row < self.config.codebook_size] for row in rows]
        copies = len(codes) // len(speaker_embeds)
        speaker_embeds = speaker_embeds.repeat_interleave(copies, 0)
        if speaker_frames is not None:
            speaker_frames = speaker_frames.repeat_interleave(copies, 0)
        return CineDubSpeech(self.decode_codes(codes, speaker_embeds, speaker_frames, mask_type), codes)

    def embed_voices(self, features: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Computes x-vectors of reference voices.

        Args:
            features: filterbanks, (batch, voices, frames, bins).
            lengths: valid frames, (batch, voices); 0 for a voice that is not there.

        Returns:
            (batch, voices, size); zeros for a voice that is not there.
        """
        batch, voices = features.shape[:2]
        embeds = features.new_zeros(batch * voices, self.config.speaker_config.embed_size)
        flat = lengths.flatten() if lengths is not None else torch.full((batch * voices,), features.shape[2])
        there = flat > 0
        embeds[there] = self.speaker_encoder(features.flatten(0, 1)[there], flat[there]).embeddings.to(embeds.dtype)
        return embeds.unflatten(0, (batch, voices))

    @torch.no_grad()
    def decode_codes(
        self,
        codes: Sequence[torch.Tensor],
        speaker_embeds: torch.Tensor,
        speaker_frames: torch.Tensor | None = None,
        mask_type: int = 0,
    ) -> list[torch.Tensor]:
        """Makes speech tokens audible.

        Args:
            codes: speech tokens of each record, below `codebook_size`.
            speaker_embeds: x-vectors, (batch, voices, size).
            speaker_frames: which voice speaks at each token, (batch, tokens).
            mask_type: attention mask of the flow.

        Returns:
            The waveforms, each (samples).
        """
        lengths = torch.tensor([len(row) for row in codes], device=self.device)
        waves = [torch.zeros(0, device=self.device) for _ in codes]
        there = lengths.nonzero().flatten()
        if not len(there):
            return waves
        padded = torch.nn.utils.rnn.pad_sequence([codes[i].to(self.device) for i in there], batch_first=True, padding_value=-1)
        frames = None if speaker_frames is None else speaker_frames[there]
        mel = self.flow.sample(padded, lengths[there], speaker_embeds[there], frames, mask_type=mask_type)
        made, samples = self.vocoder(mel, lengths[there] * self.config.flow_config.mel_per_token)
        for i, wave, length in zip(there.tolist(), made, samples.tolist(), strict=True):
            waves[i] = wave[:length]
        return waves


def _row_seeds(seed: int | Sequence[int] | None, records: int, copies: int) -> list[int]:
    """One seed per row; copies of a record get consecutive ones."""
    if seed is None:
        seeds = torch.randint(2**31, (records,)).tolist()
    elif isinstance(seed, int):
        seeds = [seed] * records
    else:
        seeds = [int(s) for s in seed]
        if len(seeds) != records:
            raise ValueError(f"{len(seeds)} seeds for {records} records")
    return [s + copy for s in seeds for copy in range(copies)]
