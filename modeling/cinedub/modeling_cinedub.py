"""The dubbing model: a Qwen2 backbone that writes speech tokens, and the parts that make them audible.

The prompt is one sequence over four id spaces, told apart by `token_type_ids`: text, time/speaker, codec, and face rows.
Generated ids are codec ids. All parts load with one `from_pretrained`; `flow` and `vocoder` are described in their files.

Invariants: no embedding has a padding index, so every row learns (speech token 0 is an ordinary token); nothing that a
checkpoint does not hold is kept in a buffer, because `from_pretrained` would leave it uninitialised.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import torch
from torch import nn
from transformers import Cache, PreTrainedModel, Qwen2Model
from transformers.utils import ModelOutput

from cineforge_hf.modeling.campplus.modeling_campplus import CampPlusModel
from cineforge_hf.modeling.cinedub.configuration_cinedub import CineDubConfig
from cineforge_hf.modeling.cinedub.generation_cinedub import CineDubGenerationMixin, default_generation_config
from cineforge_hf.modeling.cinedub.modeling_cinedub_flow import CineDubFlowModel
from cineforge_hf.modeling.cinedub.modeling_cinedub_vocoder import CineDubVocoder


class TokenType(IntEnum):
    """Which table a position of the prompt is looked up in."""

    TEXT = 0
    TIMESPK = 1
    CODEC = 2
    FACE = 3


@dataclass
class CineDubOutput(ModelOutput):
    """Output of the language model.

    Args:
        loss: mean cross-entropy over the labels, where labels were given.
        logits: scores of the codec ids, (batch, positions, codec_vocab_size).
        past_key_values: the cache, where asked for.
        hidden_states: of every layer, where asked for.
        attentions: of every layer, where asked for.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


class CineDubPreTrainedModel(PreTrainedModel):
    """What the model's classes have in common."""

    config_class = CineDubConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = False
    _no_split_modules = ["Qwen2DecoderLayer", "CineDubDiTBlock", "CineDubVocoder", "CampPlusModel"]  # noqa: RUF012
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012


class CineDubForConditionalGeneration(CineDubPreTrainedModel, CineDubGenerationMixin):
    """Fun-CineForge's dubbing model.

    Example:
        >>> model = CineDubForConditionalGeneration.from_pretrained("models/cinedub")
        >>> processor = CineDubProcessor.from_pretrained("models/cinedub")
        >>> inputs = processor(text="Hello.", scene="monologue", duration=2.0, voices=voice, sampling_rate=16000)
        >>> speech = model.generate_speech(**inputs, seed=0)
        >>> speech.waveforms[0].shape
        torch.Size([48000])
    """

    def __init__(self, config: CineDubConfig) -> None:
        super().__init__(config)
        hidden = config.text_config.hidden_size
        self.language_model = Qwen2Model(config.text_config)
        self.codec_embed = nn.Embedding(config.codec_vocab_size, hidden)
        self.timespk_embed = nn.Embedding(config.timespk_vocab_size, hidden)
        self.face_proj = nn.Linear(config.face_size, hidden)
        self.codec_head = nn.Linear(hidden, config.codec_vocab_size, bias=False)
        self.flow = CineDubFlowModel(config.flow_config)
        self.vocoder = CineDubVocoder(config.vocoder_config)
        self.speaker_encoder = CampPlusModel(config.speaker_config)
        self.generation_config = default_generation_config(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The codec table: what generated ids are looked up in."""
        return self.codec_embed

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the codec table."""
        self.codec_embed = value

    def get_output_embeddings(self) -> nn.Module:
        """The head over codec ids."""
        return self.codec_head

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Replaces the head over codec ids."""
        self.codec_head = value

    def embed_prompt(
        self, input_ids: torch.Tensor, token_type_ids: torch.Tensor | None = None, face_values: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Embeds ids of mixed spaces.

        Args:
            input_ids: (batch, positions); negative ids (unknown gender or age) are looked up as row 0.
            token_type_ids: (batch, positions) of `TokenType`; all codec by default.
            face_values: face track, (batch, frames, face_size), placed in order on the face positions; zeros where no face is.

        Returns:
            (batch, positions, hidden).
        """
        ids = input_ids.clamp(min=0)
        if token_type_ids is None:
            return self.codec_embed(ids)
        # An id is looked up in every table, as row 0 where it belongs to another: no data-dependent shapes.
        embeds = self.codec_embed(ids.where(token_type_ids == TokenType.CODEC, 0))
        text = self.language_model.embed_tokens(ids.where(token_type_ids == TokenType.TEXT, 0))
        embeds = torch.where((token_type_ids == TokenType.TEXT).unsqueeze(-1), text, embeds)
        times = self.timespk_embed(ids.where(token_type_ids == TokenType.TIMESPK, 0))
        embeds = torch.where((token_type_ids == TokenType.TIMESPK).unsqueeze(-1), times, embeds)
        if face_values is None:
            return embeds
        is_face = token_type_ids == TokenType.FACE
        faces = self.face_proj(face_values.to(self.face_proj.weight.dtype))
        rows = (is_face.cumsum(1) - 1).clamp(0, faces.shape[1] - 1)
        faces = faces.gather(1, rows.unsqueeze(-1).expand(-1, -1, faces.shape[-1]))
        return torch.where(is_face.unsqueeze(-1), faces, embeds)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        face_values: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Any,
    ) -> CineDubOutput:
        """Scores the next codec id at every position.

        Args:
            input_ids: (batch, positions) in mixed spaces; codec ids where `token_type_ids` is None.
            attention_mask: (batch, positions), 0 on padding.
            token_type_ids: (batch, positions) of `TokenType`.
            face_values: (batch, frames, face_size).
            position_ids: (batch, positions); counted from the first real position by default where a mask is given.
            past_key_values: cache of earlier positions.
            inputs_embeds: (batch, positions, hidden) in place of the ids.
            labels: codec ids with -100 where nothing is to be learnt, (batch, positions); shifted inside.
            use_cache: whether to return a cache.
            logits_to_keep: how many of the last positions to score; all by default.
            kwargs: passed on to the backbone and the loss.

        Returns:
            Loss and scores.

        Raises:
            ValueError: neither or both of ids and embeddings were given.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.embed_prompt(input_ids, token_type_ids, face_values)
        if position_ids is None and past_key_values is None and attention_mask is not None and attention_mask.ndim == 2:
            position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
        return_dict = kwargs.pop("return_dict", True)
        loss_kwargs = {"num_items_in_batch": kwargs.pop("num_items_in_batch", None)}
        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **kwargs,
        )
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.codec_head(outputs.last_hidden_state[:, keep])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.codec_vocab_size, **loss_kwargs)
        result = CineDubOutput(loss, logits, outputs.past_key_values, outputs.hidden_states, outputs.attentions)
        return result if return_dict else result.to_tuple()


__all__ = ["CineDubForConditionalGeneration", "CineDubOutput", "CineDubPreTrainedModel", "TokenType"]
