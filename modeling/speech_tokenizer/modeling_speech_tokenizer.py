"""S3 speech tokenizer v3: log-mel spectrogram at 100 Hz to speech tokens at 25 Hz.

Two strided convolutions, a transformer whose attention has a convolutional memory of the values beside it (FSMN), and finite
scalar quantisation (Mentzer et al. 2023): a token is a number of 8 digits in base 3. Rows may differ in length: padding changes
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import ModelOutput

from cineforge_hf.modeling.speech_tokenizer.configuration_speech_tokenizer import SpeechTokenizerConfig

# Keeps tanh off the borders of the outermost levels; the float32 value that the published graph holds.
_SHRINK = 0.9990000128746033


@dataclass
class SpeechTokenizerOutput(ModelOutput):
    """Output of `SpeechTokenizerModel`.

    Args:
        codes: speech tokens, (batch, tokens), -1 on padding.
        code_lengths: valid tokens, (batch).
        hidden_states: of the encoder's last layer, (batch, tokens, hidden).
    """

    codes: torch.LongTensor | None = None
    code_lengths: torch.LongTensor | None = None
    hidden_states: torch.FloatTensor | None = None


class SpeechTokenizerAttention(nn.Module):
    """Self-attention plus a depthwise convolution of the values."""

    def __init__(self, config: SpeechTokenizerConfig) -> None:
        super().__init__()
        size, kernel = config.hidden_size, config.memory_kernel_size
        self.heads = config.num_attention_heads
        self.q_proj = nn.Linear(size, size)
        self.k_proj = nn.Linear(size, size, bias=False)
        self.v_proj = nn.Linear(size, size)
        self.o_proj = nn.Linear(size, size)
        self.memory = nn.Conv1d(size, size, kernel, padding=kernel // 2, groups=size, bias=False)

    def forward(self, hidden: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor], valid: torch.Tensor) -> torch.Tensor:
        """Attends.

        Args:
            hidden: (batch, tokens, hidden).
            rotation: cosines and sines of the positions, each (tokens, head_dim).
            valid: true on real tokens, (batch, tokens).

        Returns:
            (batch, tokens, hidden).
        """
        query, key, value = (
            proj(hidden).unflatten(-1, (self.heads, -1)).transpose(1, 2) for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = _rotate(query, *rotation), _rotate(key, *rotation)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=valid[:, None, None, :])
        values = value.transpose(1, 2).flatten(2) * valid.unsqueeze(-1)
        memory = self.memory(values.transpose(1, 2)).transpose(1, 2) + values
        return self.o_proj(mixed.transpose(1, 2).flatten(2)) + memory * valid.unsqueeze(-1)


def _rotate(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat([-second, first], dim=-1) * sin


class SpeechTokenizerLayer(GradientCheckpointingLayer):
    """Attention and feed-forward, each after a LayerNorm."""

    def __init__(self, config: SpeechTokenizerConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.attention_norm = nn.LayerNorm(size)
        self.attention = SpeechTokenizerAttention(config)
        self.mlp_norm = nn.LayerNorm(size)
        self.up_proj = nn.Linear(size, 4 * size)
        self.down_proj = nn.Linear(4 * size, size)

    def forward(self, hidden: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor], valid: torch.Tensor) -> torch.Tensor:
        """Maps (batch, tokens, hidden) to the same shape."""
        hidden = hidden + self.attention(self.attention_norm(hidden), rotation, valid)
        return hidden + self.down_proj(functional.gelu(self.up_proj(self.mlp_norm(hidden))))


class SpeechTokenizerModel(PreTrainedModel):
    """The speech tokenizer.

    Example:
        >>> model = SpeechTokenizerModel(SpeechTokenizerConfig(hidden_size=64, num_attention_heads=2, num_hidden_layers=2)).eval()
        >>> model(torch.zeros(1, 200, 128)).codes.shape
        torch.Size([1, 50])
    """

    config_class = SpeechTokenizerConfig
    base_model_prefix = "speech_tokenizer"
    main_input_name = "input_features"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["SpeechTokenizerLayer"]  # noqa: RUF012 - declared so by transformers

    def __init__(self, config: SpeechTokenizerConfig) -> None:
        super().__init__(config)
        size = config.hidden_size
        self.conv1 = nn.Conv1d(config.num_mel_bins, size, 3, stride=2, padding=1)
        self.conv2 = nn.Conv1d(size, size, 3, stride=2, padding=1)
        self.layers = nn.ModuleList([SpeechTokenizerLayer(config) for _ in range(config.num_hidden_layers)])
        self.code_proj = nn.Linear(size, config.code_dims)
        self.post_init()

    def forward(self, input_features: torch.Tensor, feature_lengths: torch.Tensor | None = None) -> SpeechTokenizerOutput:
        """Tokenizes speech.

        Args:
            input_features: Whisper's log-mel, (batch, frames, bins), 100 frames per second.
            feature_lengths: valid frames, (batch); all by default.

        Returns:
            Tokens and their numbers.

        Raises:
            ValueError: the audio is longer than `max_seconds`.
        """
        batch, frames = input_features.shape[:2]
        if frames > self.config.max_seconds * 4 * self.config.token_rate:
            raise ValueError(f"{frames / 100:.1f} s of audio; the tokenizer takes at most {self.config.max_seconds:g} s at once")
        if feature_lengths is None:
            feature_lengths = torch.full((batch,), frames, device=input_features.device)
        hidden, lengths = input_features.to(self.dtype).transpose(1, 2), feature_lengths
        for conv in (self.conv1, self.conv2):
            hidden = functional.gelu(conv(hidden * _valid(lengths, hidden.shape[-1]).unsqueeze(1)))
            lengths = (lengths - 1) // 2 + 1
        hidden = hidden.transpose(1, 2)
        valid, rotation = _valid(lengths, hidden.shape[1]), self._rotation(hidden)
        for layer in self.layers:
            hidden = layer(hidden, rotation, valid)
        codes = self._quantize(hidden).masked_fill(~valid, -1)
        return SpeechTokenizerOutput(codes=codes, code_lengths=lengths, hidden_states=hidden)

    def _quantize(self, hidden: torch.Tensor) -> torch.Tensor:
        half = self.config.code_levels // 2
        digits = (self.code_proj(hidden).float().tanh() * _SHRINK * half).round().long() + half
        weights = self.config.code_levels ** torch.arange(self.config.code_dims, device=hidden.device)
        return (digits * weights).sum(-1)

    def _rotation(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # Computed, not kept: a buffer that no checkpoint holds would be left uninitialised by from_pretrained.
        size = self.config.hidden_size // self.config.num_attention_heads
        exponents = torch.arange(0, size, 2, device=hidden.device, dtype=torch.float32) / size
        positions = torch.arange(hidden.shape[1], device=hidden.device, dtype=torch.float32)
        angles = torch.outer(positions, 1.0 / 10000.0**exponents).repeat(1, 2)
        return angles.cos().to(hidden.dtype), angles.sin().to(hidden.dtype)


def _valid(lengths: torch.Tensor, size: int) -> torch.Tensor:
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


__all__ = ["SpeechTokenizerModel", "SpeechTokenizerOutput"]
