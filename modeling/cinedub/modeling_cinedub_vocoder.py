"""Vocoder: log-mel spectrogram to a waveform (HiFT: a neural source filter with an inverse STFT, all convolutions causal).

The pitch is predicted from the mel, a source is built from it, and a generator filters the source. Numbers follow the released
model, quirks included: the phase of the source is constant within a mel frame, and its noise is a fixed table of uniform numbers
in [0, 1), drawn from a seed. Padding changes nothing: the ends of shorter rows are treated as if they were alone.

The source is computed in float32 whatever the weights are: its phase is a running sum whose values reach 1e5.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from cineforge_hf.modeling.cinedub.configuration_cinedub import CineDubVocoderConfig

_LOOKAHEAD_FRAMES = 8  # of the mel while streaming: 3 for the pitch, 4 for the first convolution, 1 for the inverse STFT


@lru_cache(maxsize=1)
def _noise_table(seed: int, samples: int, harmonics: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    torch.rand(1, harmonics, generator=generator)  # the released model draws unused initial phases first
    return torch.rand(1, samples, harmonics, generator=generator)


class CineDubCausalConv(nn.Conv1d):
    """Convolution padded on the left, or on the right where it looks ahead."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, dilation: int = 1, ahead: bool = False) -> None:
        super().__init__(in_channels, out_channels, kernel, dilation=dilation)
        pad = (kernel - 1) * dilation
        self.pad = (0, pad) if ahead else (pad, 0)

    def forward(self, hidden: torch.Tensor, following: torch.Tensor | None = None) -> torch.Tensor:
        """Maps (batch, in, frames) to (batch, out, frames); `following` stands in for the padding on the right."""
        if following is None:
            return super().forward(functional.pad(hidden, self.pad))
        return super().forward(torch.cat([hidden, following], dim=-1))


class CineDubSnake(nn.Module):
    """x + sin(alpha x)^2 / alpha (Ziyin et al. 2020)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Maps (batch, channels, frames) to the same shape."""
        alpha = self.alpha[None, :, None]
        return hidden + (1.0 / (alpha + 1e-9)) * torch.sin(hidden * alpha).square()


class CineDubResBlock(nn.Module):
    """Residual convolutions of growing dilation."""

    def __init__(self, channels: int, kernel: int, dilations: list[int] | tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList([CineDubCausalConv(channels, channels, kernel, dilation) for dilation in dilations])
        self.convs2 = nn.ModuleList([CineDubCausalConv(channels, channels, kernel) for _ in dilations])
        self.activations1 = nn.ModuleList([CineDubSnake(channels) for _ in dilations])
        self.activations2 = nn.ModuleList([CineDubSnake(channels) for _ in dilations])

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Maps (batch, channels, frames) to the same shape."""
        for act1, conv1, act2, conv2 in zip(self.activations1, self.convs1, self.activations2, self.convs2, strict=True):
            hidden = hidden + conv2(act2(conv1(act1(hidden))))
        return hidden


class CineDubPitch(nn.Module):
    """Fundamental frequency of each mel frame."""

    def __init__(self, config: CineDubVocoderConfig) -> None:
        super().__init__()
        size = config.f0_hidden_size
        self.first = CineDubCausalConv(config.num_mel_bins, size, 4, ahead=True)
        self.convs = nn.ModuleList([CineDubCausalConv(size, size, 3) for _ in range(4)])
        self.head = nn.Linear(size, 1)

    def forward(self, mel: torch.Tensor, following: torch.Tensor | None = None) -> torch.Tensor:
        """Maps (batch, bins, frames) to f0 in Hz, (batch, frames), float32."""
        hidden = functional.elu(self.first(mel, following))
        for conv in self.convs:
            hidden = functional.elu(conv(hidden))
        return self.head(hidden.transpose(1, 2)).squeeze(-1).float().abs()


class CineDubVocoder(PreTrainedModel):
    """The vocoder.

    Example:
        >>> vocoder = CineDubVocoder(CineDubVocoderConfig(hidden_size=32, f0_hidden_size=24)).eval()
        >>> wave, samples = vocoder(torch.zeros(1, 10, 80))
        >>> wave.shape
        torch.Size([1, 4800])
    """

    config_class = CineDubVocoderConfig
    base_model_prefix = "vocoder"
    main_input_name = "mel"
    _no_split_modules = ["CineDubVocoder"]  # noqa: RUF012 - declared so by transformers

    def __init__(self, config: CineDubVocoderConfig) -> None:
        super().__init__(config)
        self.f0_predictor = CineDubPitch(config)
        self.source_mix = nn.Linear(config.num_harmonics + 1, 1)
        self.conv_pre = CineDubCausalConv(config.num_mel_bins, config.hidden_size, 5, ahead=True)
        self.upsamples, self.source_convs = nn.ModuleList(), nn.ModuleList()
        self.resblocks, self.source_resblocks = nn.ModuleList(), nn.ModuleList()
        rates, bins = list(config.upsample_rates), config.n_fft + 2
        for i, kernel in enumerate(config.upsample_kernel_sizes):
            channels = config.hidden_size // 2 ** (i + 1)
            self.upsamples.append(CineDubCausalConv(2 * channels, channels, kernel))
            stride = 1
            for rate in rates[i + 1 :]:
                stride *= rate
            self.source_convs.append(nn.Conv1d(bins, channels, 2 * stride if stride > 1 else 1, stride=stride))
            dilations = config.resblock_dilations
            self.source_resblocks.append(CineDubResBlock(channels, config.source_kernel_sizes[i], dilations))
            self.resblocks.extend(CineDubResBlock(channels, k, dilations) for k in config.resblock_kernel_sizes)
        self.conv_post = CineDubCausalConv(channels, bins, 7)
        self.post_init()

    def predict_f0(self, mel: torch.Tensor, finalize: bool = True) -> torch.Tensor:
        """Fundamental frequency in Hz of log-mel (batch, frames, bins): (batch, frames), or 3 fewer while streaming."""
        mel = mel.transpose(1, 2).to(self.source_mix.weight.dtype)
        return self.f0_predictor(mel) if finalize else self.f0_predictor(mel[..., :-3], mel[..., -3:])

    def make_source(self, f0: torch.Tensor) -> torch.Tensor:
        """Builds the excitation: harmonics where the voice sounds, noise elsewhere.

        Args:
            f0: in Hz, (batch, frames), float32.

        Returns:
            (batch, frames * samples_per_frame), float32.
        """
        config = self.config
        span = config.samples_per_frame
        orders = torch.arange(1, config.num_harmonics + 2, device=f0.device, dtype=torch.float32)
        turns = (f0.unsqueeze(-1) * orders / config.sampling_rate) % 1
        # The order of these operations is the released model's; float32 makes it audible.
        phase = turns.cumsum(1) * 2 * torch.pi * span
        sines = (torch.sin(phase) * config.source_amplitude).repeat_interleave(span, dim=1)
        voiced = (f0 > config.voiced_threshold).float().unsqueeze(-1).repeat_interleave(span, dim=1)
        amplitude = voiced * config.source_noise + (1 - voiced) * config.source_amplitude / 3
        # Whole seconds, so that one table serves utterances of nearly the same length; prefixes are the same numbers.
        samples = -(-sines.shape[1] // config.sampling_rate) * config.sampling_rate
        noise = _noise_table(config.noise_seed, samples, len(orders))[:, : sines.shape[1]].to(f0.device)
        source = sines * voiced + amplitude * noise
        return torch.tanh(functional.linear(source, self.source_mix.weight.float(), self.source_mix.bias.float())).squeeze(-1)

    def forward(
        self, mel: torch.Tensor, mel_lengths: torch.Tensor | None = None, *, finalize: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Makes waveforms.

        Args:
            mel: log-mel, (batch, frames, bins).
            mel_lengths: valid frames, (batch); all by default.
            finalize: false while streaming, for one record: the last 8 frames only serve as context.

        Returns:
            Samples in [-audio_limit, audio_limit], (batch, samples), zeros after each row's end; and the valid samples, (batch).

        Raises:
            ValueError: a streamed chunk is too short, or holds several records.
        """
        if mel_lengths is None:
            mel_lengths = torch.full((len(mel),), mel.shape[1], device=mel.device)
        if not finalize and (len(mel) > 1 or mel.shape[1] <= _LOOKAHEAD_FRAMES):
            raise ValueError(f"streaming takes one record with more than {_LOOKAHEAD_FRAMES} mel frames")
        mel = mel * (torch.arange(mel.shape[1], device=mel.device) < mel_lengths.unsqueeze(1)).unsqueeze(-1)
        source = self.make_source(self.predict_f0(mel, finalize))
        return self.decode(mel, source, mel_lengths, finalize=finalize)

    def decode(
        self, mel: torch.Tensor, source: torch.Tensor, mel_lengths: torch.Tensor, *, finalize: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Filters the excitation.

        Args:
            mel: log-mel, zeros on padding, (batch, frames, bins).
            source: excitation, (batch, samples).
            mel_lengths: valid frames, (batch).
            finalize: see `forward`.

        Returns:
            As `forward`.
        """
        config, span = self.config, self.config.samples_per_frame
        mel = mel.transpose(1, 2).to(self.conv_pre.weight.dtype)
        if finalize:
            hidden = self.conv_pre(mel)
            spectra = self._stft(source, (mel_lengths * span).tolist())
        else:
            hidden = self.conv_pre(mel[..., :-7], mel[..., -7:-3])
            spectra = self._stft(source, [source.shape[1]])
        hidden = self._filter(hidden, spectra.to(hidden.dtype)).float()
        half = config.n_fft // 2 + 1
        magnitude = hidden[:, :half].exp().clamp(max=1e2)
        phase = torch.sin(hidden[:, half:])
        spectrum = torch.complex(magnitude * phase.cos(), magnitude * phase.sin())
        return self._istft(spectrum, mel_lengths, finalize)

    def _filter(self, hidden: torch.Tensor, spectra: torch.Tensor) -> torch.Tensor:
        config, per_stage = self.config, len(self.config.resblock_kernel_sizes)
        last = len(self.upsamples) - 1
        for i, (rate, upsample, down) in enumerate(zip(config.upsample_rates, self.upsamples, self.source_convs, strict=True)):
            hidden = functional.leaky_relu(hidden, config.lrelu_slope)
            hidden = upsample(hidden.repeat_interleave(rate, dim=-1))
            if i == last:
                hidden = functional.pad(hidden, (1, 0), mode="reflect")
            branch = self.source_resblocks[i](down(functional.pad(spectra, (down.stride[0] - 1, 0))))
            hidden = hidden + branch[..., : hidden.shape[-1]]
            blocks = self.resblocks[i * per_stage : (i + 1) * per_stage]
            mixed = blocks[0](hidden)
            for block in blocks[1:]:
                mixed = mixed + block(hidden)
            hidden = mixed / per_stage
        return self.conv_post(functional.leaky_relu(hidden))

    def _window(self, device: torch.device) -> torch.Tensor:
        return torch.hann_window(self.config.n_fft, device=device)

    def _stft(self, source: torch.Tensor, samples: list[int]) -> torch.Tensor:
        """Real and imaginary parts, (batch, n_fft + 2, frames); each row is reflected at its own end."""
        n_fft, hop = self.config.n_fft, self.config.hop_length
        frames = source.shape[1] // hop + 1
        spectra = source.new_zeros(len(source), n_fft + 2, frames)
        for i, length in enumerate(samples):
            row = torch.stft(source[i, :length], n_fft, hop, window=self._window(source.device), return_complex=True)
            spectra[i, :, : row.shape[-1]] = torch.cat([row.real, row.imag])
        return spectra

    def _istft(self, spectrum: torch.Tensor, mel_lengths: torch.Tensor, finalize: bool) -> tuple[torch.Tensor, torch.Tensor]:
        config, span = self.config, self.config.samples_per_frame
        lengths = (mel_lengths - (0 if finalize else _LOOKAHEAD_FRAMES)) * span
        waves = spectrum.real.new_zeros(len(spectrum), int(lengths.max()))
        window = self._window(spectrum.device)
        for i, length in enumerate(lengths.tolist()):
            frames = length // config.hop_length + 1 if finalize else spectrum.shape[-1]
            wave = torch.istft(spectrum[i, :, :frames], config.n_fft, config.hop_length, window=window)
            waves[i, :length] = wave[:length]
        return waves.clamp(-config.audio_limit, config.audio_limit), lengths


__all__ = ["CineDubVocoder"]
