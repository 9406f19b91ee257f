"""The transformer of the flow: predicts the velocity of a noisy mel, given tokens, voice and time.

Numbers follow the released model, quirks included: the rotary embedding is applied before the heads are split and turns only
as many channels as one head has, so only the first head knows positions; the others learn them from the convolutions in front.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional
from transformers.modeling_layers import GradientCheckpointingLayer

from cineforge_hf.modeling.cinedub.configuration_cinedub import CineDubFlowConfig


class CineDubDiTTimeEmbed(nn.Module):
    """Sinusoids of the time, then a small MLP."""

    def __init__(self, config: CineDubFlowConfig) -> None:
        super().__init__()
        self.size = config.time_embed_size
        self.up_proj = nn.Linear(self.size, config.hidden_size)
        self.down_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, times: torch.Tensor) -> torch.Tensor:
        """Maps times in [0, 1], (n), to (n, hidden)."""
        half = self.size // 2
        steps = torch.arange(half, device=times.device, dtype=torch.float32)
        frequencies = torch.exp(steps * -(math.log(10000) / (half - 1)))
        angles = 1000 * times.float().unsqueeze(1) * frequencies.unsqueeze(0)
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1).to(self.up_proj.weight.dtype)
        return self.down_proj(functional.silu(self.up_proj(waves)))


class CineDubDiTPosition(nn.Module):
    """Two causal grouped convolutions."""

    def __init__(self, config: CineDubFlowConfig) -> None:
        super().__init__()
        size, kernel = config.hidden_size, config.position_kernel_size
        self.left = kernel - 1
        self.convs = nn.ModuleList([nn.Conv1d(size, size, kernel, groups=config.position_groups) for _ in range(2)])

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Maps (batch, frames, hidden) to the same shape."""
        hidden = hidden.transpose(1, 2)
        for conv in self.convs:
            hidden = functional.mish(conv(functional.pad(hidden, (self.left, 0))))
        return hidden.transpose(1, 2)


class CineDubDiTAttention(nn.Module):
    """Self-attention over mel frames."""

    def __init__(self, config: CineDubFlowConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.heads, self.head_dim, self.dropout = config.num_attention_heads, config.head_dim, config.dropout
        self.q_proj = nn.Linear(size, size)
        self.k_proj = nn.Linear(size, size)
        self.v_proj = nn.Linear(size, size)
        self.o_proj = nn.Linear(size, size)

    def forward(
        self, hidden: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor], mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Attends.

        Args:
            hidden: (batch, frames, hidden).
            rotation: cosines and sines of the positions, each (frames, head_dim).
            mask: true where a key is seen, broadcastable to (batch, heads, frames, frames); None if all are.

        Returns:
            (batch, frames, hidden).
        """
        query, key = (self._rotate(proj(hidden), *rotation) for proj in (self.q_proj, self.k_proj))
        query, key, value = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (query, key, self.v_proj(hidden)))
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return functional.dropout(self.o_proj(mixed.transpose(1, 2).flatten(2)), self.dropout, self.training)

    def _rotate(self, flat: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        first, rest = flat.split([self.head_dim, flat.shape[-1] - self.head_dim], dim=-1)
        pairs = first.unflatten(-1, (-1, 2))
        turned = torch.stack([-pairs[..., 1], pairs[..., 0]], dim=-1).flatten(-2)
        return torch.cat([first * cos + turned * sin, rest], dim=-1)


class CineDubDiTMlp(nn.Module):
    """Feed-forward layer."""

    def __init__(self, config: CineDubFlowConfig) -> None:
        super().__init__()
        inner = config.hidden_size * config.mlp_ratio
        self.dropout = config.dropout
        self.up_proj = nn.Linear(config.hidden_size, inner)
        self.down_proj = nn.Linear(inner, config.hidden_size)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Maps (batch, frames, hidden) to the same shape."""
        inner = functional.gelu(self.up_proj(hidden), approximate="tanh")
        return self.down_proj(functional.dropout(inner, self.dropout, self.training))


def _norm(hidden: torch.Tensor) -> torch.Tensor:
    return functional.layer_norm(hidden, hidden.shape[-1:], eps=1e-6)


class CineDubDiTBlock(GradientCheckpointingLayer):
    """Attention and feed-forward, shifted, scaled and gated by the time (AdaLN-zero, Peebles and Xie 2023)."""

    def __init__(self, config: CineDubFlowConfig) -> None:
        super().__init__()
        self.modulation = nn.Linear(config.hidden_size, 6 * config.hidden_size)
        self.attention = CineDubDiTAttention(config)
        self.mlp = CineDubDiTMlp(config)

    def forward(
        self,
        hidden: torch.Tensor,
        modulation: torch.Tensor,
        rotation: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Maps (batch, frames, hidden) to the same shape; `modulation` is this block's, (batch or 1, 1, 6 * hidden)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=-1)
        hidden = hidden + gate1 * self.attention(_norm(hidden) * (1 + scale1) + shift1, rotation, mask)
        return hidden + gate2 * self.mlp(_norm(hidden) * (1 + scale2) + shift2)


class CineDubDiT(nn.Module):
    """The transformer."""

    def __init__(self, config: CineDubFlowConfig) -> None:
        super().__init__()
        self.head_dim, self.theta = config.head_dim, config.rope_theta
        self.time_embed = CineDubDiTTimeEmbed(config)
        self.input_proj = nn.Linear(4 * config.num_mel_bins, config.hidden_size)
        self.position = CineDubDiTPosition(config)
        self.blocks = nn.ModuleList([CineDubDiTBlock(config) for _ in range(config.num_hidden_layers)])
        self.final_modulation = nn.Linear(config.hidden_size, 2 * config.hidden_size)
        self.output_proj = nn.Linear(config.hidden_size, config.num_mel_bins)

    def modulations(self, times: torch.Tensor) -> list[torch.Tensor]:
        """Shifts, scales and gates of every layer, which depend on the time alone.

        The sampler computes them for all its steps at once: these projections hold four tenths of the weights, and reading
        them once instead of once per step is a good part of the time on a CPU.

        Args:
            times: in [0, 1], (n).

        Returns:
            One tensor per block, (n, 1, 6 * hidden), and the last layer's, (n, 1, 2 * hidden).
        """
        embed = functional.silu(self.time_embed(times)).unsqueeze(1)
        return [layer(embed) for layer in (*(block.modulation for block in self.blocks), self.final_modulation)]

    def forward(
        self, noisy: torch.Tensor, conditions: torch.Tensor, modulations: list[torch.Tensor], mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Predicts the velocity.

        Args:
            noisy: the mel on its way, (batch, frames, bins).
            conditions: prompt mel, token and speaker condition side by side, (batch, frames, 3 * bins).
            modulations: from `modulations`, for one time or one per row.
            mask: see `CineDubDiTAttention`.

        Returns:
            (batch, frames, bins).
        """
        dtype = self.input_proj.weight.dtype
        hidden = self.input_proj(torch.cat([noisy.to(dtype), conditions.to(dtype)], dim=-1))
        hidden = hidden + self.position(hidden)
        rotation = self._rotation(hidden)
        for block, modulation in zip(self.blocks, modulations, strict=False):
            hidden = block(hidden, modulation, rotation, mask)
        scale, shift = modulations[-1].chunk(2, dim=-1)
        return self.output_proj(_norm(hidden) * (1 + scale) + shift)

    def _rotation(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # Computed, not kept: a buffer that no checkpoint holds would be left uninitialised by from_pretrained.
        exponents = torch.arange(0, self.head_dim, 2, device=hidden.device, dtype=torch.float32) / self.head_dim
        positions = torch.arange(hidden.shape[1], device=hidden.device, dtype=torch.float32)
        angles = torch.outer(positions, 1.0 / self.theta**exponents).repeat_interleave(2, dim=-1)
        return angles.cos().to(hidden.dtype), angles.sin().to(hidden.dtype)
