"""Flow matching: speech tokens and a voice to a log-mel spectrogram.

`sample` integrates the learnt velocity from a fixed noise to the mel (conditional flow matching, Lipman et al. 2023, with
classifier-free guidance); `forward` is the training loss. Rows may differ in length: padding changes nothing.

Invariants: the noise is one table drawn from a seed on the CPU, so a record sounds the same on every device, alone and in a
batch; the state of the integration is float32 whatever the weights are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from cineforge_hf.modeling.cinedub.configuration_cinedub import CineDubFlowConfig
from cineforge_hf.modeling.cinedub.modeling_cinedub_dit import CineDubDiT


@dataclass
class CineDubFlowOutput(ModelOutput):
    """Output of the flow's training.

    Args:
        loss: mean squared error of the velocity over the predicted frames.
        velocity: the prediction, (batch, frames, bins).
    """

    loss: torch.FloatTensor | None = None
    velocity: torch.FloatTensor | None = None


@lru_cache(maxsize=2)
def _noise_table(seed: int, frames: int, bins: int) -> torch.Tensor:
    return torch.randn(1, frames, bins, generator=torch.Generator().manual_seed(seed))


class CineDubLookahead(nn.Module):
    """Lets every token see the next few ones, then two before it."""

    def __init__(self, config: CineDubFlowConfig) -> None:
        super().__init__()
        self.frames = config.lookahead_frames
        self.expand = nn.Conv1d(config.num_mel_bins, config.lookahead_size, self.frames + 1)
        self.reduce = nn.Conv1d(config.lookahead_size, config.num_mel_bins, 3)

    def forward(self, embeds: torch.Tensor, following: torch.Tensor | None = None) -> torch.Tensor:
        """Maps (batch, tokens, bins) to the same shape.

        Args:
            embeds: embedded tokens, zeros on padding.
            following: the embedded tokens that come next while streaming, (batch, lookahead, bins); zeros by default.
        """
        hidden = functional.pad(embeds, (0, 0, 0, self.frames)) if following is None else torch.cat([embeds, following], 1)
        hidden = functional.leaky_relu(self.expand(hidden.transpose(1, 2)))
        return self.reduce(functional.pad(hidden, (2, 0))).transpose(1, 2) + embeds


class CineDubFlowModel(PreTrainedModel):
    """The flow.

    Example:
        >>> flow = CineDubFlowModel(CineDubFlowConfig(num_hidden_layers=2)).eval()
        >>> flow.sample(torch.zeros(1, 10, dtype=torch.long), torch.tensor([10]), torch.randn(1, 1, 192)).shape
        torch.Size([1, 20, 80])
    """

    config_class = CineDubFlowConfig
    base_model_prefix = "flow"
    main_input_name = "codes"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["CineDubDiTBlock"]  # noqa: RUF012 - declared so by transformers

    def __init__(self, config: CineDubFlowConfig) -> None:
        super().__init__(config)
        self.code_embed = nn.Embedding(config.codebook_size, config.num_mel_bins)
        self.lookahead = CineDubLookahead(config)
        self.speaker_proj = nn.Linear(config.speaker_embed_size, config.num_mel_bins)
        self.dit = CineDubDiT(config)
        self.post_init()

    def embed_codes(self, codes: torch.Tensor, finalize: bool = True) -> torch.Tensor:
        """Makes the token condition.

        Args:
            codes: speech tokens, negative on padding, (batch, tokens).
            finalize: false while streaming: the last `lookahead_frames` tokens only serve as context.

        Returns:
            (batch, frames, bins).
        """
        embeds = self.code_embed(codes.clamp(min=0)) * (codes >= 0).unsqueeze(-1)
        if finalize:
            hidden = self.lookahead(embeds)
        else:
            split = codes.shape[1] - self.config.lookahead_frames
            hidden = self.lookahead(embeds[:, :split], embeds[:, split:])
        hidden = hidden * (codes[:, : hidden.shape[1]] >= 0).unsqueeze(-1)
        return hidden.repeat_interleave(self.config.mel_per_token, dim=1)

    def embed_speakers(
        self, speaker_embeds: torch.Tensor, frames: int, speaker_frames: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Makes the speaker condition.

        Args:
            speaker_embeds: x-vectors, (batch, voices, size); rows with values that are not finite count as zero.
            frames: mel frames.
            speaker_frames: which voice speaks at each token, (batch, tokens); held at the end where it is too short. The first
                voice speaks throughout by default.

        Returns:
            (batch, frames, bins).
        """
        finite = speaker_embeds.isfinite().all(-1, keepdim=True)
        unit = functional.normalize(torch.where(finite, speaker_embeds, 0.0).float(), dim=-1)
        voices = self.speaker_proj(unit.to(self.speaker_proj.weight.dtype))
        if speaker_frames is None:
            return voices[:, :1].expand(-1, frames, -1)
        index = speaker_frames.to(voices.device).repeat_interleave(self.config.mel_per_token, dim=1)[:, :frames]
        if index.shape[1] < frames:
            index = torch.cat([index, index[:, -1:].expand(-1, frames - index.shape[1])], dim=1)
        return voices.gather(1, index.unsqueeze(-1).expand(-1, -1, voices.shape[-1]))

    def attention_mask(self, lengths: torch.Tensor, frames: int, blocks: torch.Tensor) -> torch.Tensor | None:
        """Which keys each query sees: valid ones up to the end of its block.

        Args:
            lengths: valid mel frames, (batch).
            frames: mel frames with padding.
            blocks: block length of each row, -1 for full attention, (batch).

        Returns:
            (batch, 1, frames, frames), true where seen; None where everything is.
        """
        keys = torch.arange(frames, device=lengths.device)
        mask = None
        if bool((lengths < frames).any()):
            mask = (keys < lengths.unsqueeze(1))[:, None, None, :]
        if bool((blocks > 0).any()):
            size = torch.where(blocks > 0, blocks, frames).unsqueeze(1)
            ends = (keys.unsqueeze(0) // size + 1) * size
            causal = (keys < ends.unsqueeze(-1)).unsqueeze(1)
            mask = causal if mask is None else mask & causal
        return mask

    @torch.no_grad()
    def sample(
        self,
        codes: torch.Tensor,
        code_lengths: torch.Tensor,
        speaker_embeds: torch.Tensor,
        speaker_frames: torch.Tensor | None = None,
        *,
        mask_type: int = 0,
        finalize: bool = True,
        num_steps: int | None = None,
        guidance_scale: float | None = None,
    ) -> torch.Tensor:
        """Makes the mel by Euler steps, spaced by a cosine so that the first ones are short.

        Args:
            codes: speech tokens, (batch, tokens); ids of padding do not matter.
            code_lengths: valid tokens, (batch).
            speaker_embeds: x-vectors, (batch, voices, size).
            speaker_frames: which voice speaks at each token, (batch, tokens).
            mask_type: attention mask, an index of `causal_blocks`.
            finalize: false while streaming, for one record; see `embed_codes`.
            num_steps: Euler steps; the configuration's by default.
            guidance_scale: likewise.

        Returns:
            Log-mel, (batch, frames, bins), zeros after each row's `mel_per_token * code_lengths` frames.

        Raises:
            ValueError: the mask is unknown, a token is outside the codebook, or a streamed chunk is too short.
        """
        self._check(codes, code_lengths, mask_type, finalize)
        tokens = torch.arange(codes.shape[1], device=codes.device)
        codes = codes.where(tokens < code_lengths.unsqueeze(1), -1)
        mu = self.embed_codes(codes, finalize)
        frames = mu.shape[1]
        lengths = (code_lengths * self.config.mel_per_token).clamp(max=frames)
        speakers = self.embed_speakers(speaker_embeds, frames, speaker_frames)
        conditions = torch.cat([torch.zeros_like(mu), mu, speakers.to(mu.dtype)], dim=-1)
        conditions = torch.cat([conditions, torch.zeros_like(conditions)])
        blocks = torch.full_like(lengths, self.config.causal_blocks[mask_type])
        mask = self.attention_mask(lengths, frames, blocks)
        mask = None if mask is None else torch.cat([mask, mask])

        steps = self.config.num_steps if num_steps is None else num_steps
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        grid = 1 - torch.cos(torch.linspace(0, 1, steps + 1) * 0.5 * torch.pi)
        times, spans = _euler_times(grid)
        modulations = self.dit.modulations(times.to(mu.device))
        table = _noise_table(self.config.noise_seed, max(self.config.noise_frames, frames), self.config.num_mel_bins)
        mel = table[:, :frames].to(mu.device).expand(len(codes), -1, -1)
        for step in range(steps):
            velocity = self.dit(torch.cat([mel, mel]), conditions, [m[step : step + 1] for m in modulations], mask)
            with_conditions, without = velocity.float().chunk(2)
            mel = mel + spans[step] * ((1.0 + scale) * with_conditions - scale * without)
        return mel * (torch.arange(frames, device=mel.device) < lengths.unsqueeze(1)).unsqueeze(-1)

    def _check(self, codes: torch.Tensor, code_lengths: torch.Tensor, mask_type: int, finalize: bool) -> None:
        if not 0 <= mask_type < len(self.config.causal_blocks):
            raise ValueError(f"mask_type {mask_type} must be 0 to {len(self.config.causal_blocks) - 1}")
        if int(codes.max()) >= self.config.codebook_size:
            raise ValueError(f"speech token {int(codes.max())} is outside the codebook of {self.config.codebook_size}")
        if not finalize and (len(codes) > 1 or int(code_lengths[0]) <= self.config.lookahead_frames):
            raise ValueError(f"streaming takes one record with more than {self.config.lookahead_frames} tokens")

    def forward(
        self,
        codes: torch.Tensor,
        code_lengths: torch.Tensor,
        mel: torch.Tensor,
        speaker_embeds: torch.Tensor,
        speaker_frames: torch.Tensor | None = None,
    ) -> CineDubFlowOutput:
        """Training loss: the squared error of the velocity at a random time, over the frames after a random prompt.

        A share of the samples, `condition_dropout`, learns without conditions; each sample draws one of `causal_blocks`.

        Args:
            codes: speech tokens, (batch, tokens).
            code_lengths: valid tokens, (batch).
            mel: log-mel of the same speech, (batch, mel_per_token * tokens, bins).
            speaker_embeds: x-vectors, (batch, voices, size).
            speaker_frames: which voice speaks at each token, (batch, tokens).

        Returns:
            Loss and prediction.

        Raises:
            ValueError: tokens and mel do not fit together.
        """
        config, batch, device = self.config, len(codes), codes.device
        frames = codes.shape[1] * config.mel_per_token
        if mel.shape[1] != frames:
            raise ValueError(f"{codes.shape[1]} tokens make {frames} mel frames, but the mel has {mel.shape[1]}")
        codes = codes.where(torch.arange(codes.shape[1], device=device) < code_lengths.unsqueeze(1), -1)
        lengths = code_lengths * config.mel_per_token
        positions = torch.arange(frames, device=device)
        low, high = config.prompt_ratio
        predicted_share = torch.empty(batch, device=device).uniform_(low, high)
        prompt_ends = (lengths * (1 - predicted_share)).long()
        is_prompt = (positions < prompt_ends.unsqueeze(1)).unsqueeze(-1)
        speakers = self.embed_speakers(speaker_embeds, frames, speaker_frames)
        mu = self.embed_codes(codes)
        conditions = torch.cat([(mel * is_prompt).to(mu.dtype), mu, speakers.to(mu.dtype)], dim=-1)
        kept = torch.rand(batch, device=device) >= config.condition_dropout
        conditions = conditions * kept[:, None, None]

        times = torch.rand(batch, device=device)
        noise = torch.randn_like(mel)
        time = times[:, None, None]
        noisy = (1 - (1 - config.sigma_min) * time) * noise + time * mel
        blocks = torch.tensor(config.causal_blocks, device=device)[torch.randint(len(config.causal_blocks), (batch,))]
        mask = self.attention_mask(lengths, frames, blocks)
        velocity = self.dit(noisy, conditions, self.dit.modulations(times), mask)
        target = mel - (1 - config.sigma_min) * noise
        learnt = ((positions < lengths.unsqueeze(1)).unsqueeze(-1) & ~is_prompt).expand_as(target)
        loss = functional.mse_loss(velocity.float()[learnt], target[learnt].float())
        return CineDubFlowOutput(loss=loss, velocity=velocity)


def _euler_times(grid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Times and lengths of the steps, with the running sum of the released sampler (float32 order matters)."""
    times, spans = [], []
    time, span = grid[0], grid[1] - grid[0]
    for following in (*grid[2:], None):
        times.append(time)
        spans.append(span)
        time = time + span
        if following is not None:
            span = following - time
    return torch.stack(times), torch.stack(spans)


__all__ = ["CineDubFlowModel", "CineDubFlowOutput"]
