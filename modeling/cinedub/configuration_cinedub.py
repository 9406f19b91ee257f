"""Configurations of the dubbing model. The defaults are the released Fun-CineForge sizes.

Invariants: the language model's codec table holds the codebook, then SOS, EOS, TURN, FILL and reserved ids;
the time/speaker table holds times, then 4 scene types, 2 genders, 5 ages and the speakers.

There is no `from __future__ import annotations` here: the types of the fields are checked, and must not become strings.
"""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import Qwen2Config
from transformers.configuration_utils import SubConfigSpec

from cineforge_hf.modeling.campplus.configuration_campplus import CampPlusConfig
from cineforge_hf.modeling.strict_config import StrictConfig

# Qwen2-0.5B as released with the model (its text head is not used).
RELEASED_TEXT_CONFIG: dict[str, Any] = {
    "vocab_size": 151936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
    "tie_word_embeddings": False,
}


@strict
class CineDubFlowConfig(StrictConfig):
    r"""Flow matching: speech tokens at 25 Hz to a log-mel spectrogram at 50 Hz.

    Args:
        codebook_size: number of speech tokens.
        lookahead_size: width of the look-ahead convolutions.
        lookahead_frames: tokens to the right that each token sees.
        mel_per_token: mel frames per speech token.
        num_mel_bins: mel bins, also the width of token and speaker condition.
        speaker_embed_size: size of the x-vector.
        hidden_size: width of the transformer.
        num_hidden_layers: number of its blocks.
        num_attention_heads: number of heads of width `head_dim`.
        head_dim: width of one head; only the first head is rotated.
        mlp_ratio: width of the feed-forward layer over `hidden_size`.
        dropout: dropout of the blocks while training.
        rope_theta: base of the rotary embedding.
        time_embed_size: size of the sinusoidal time embedding.
        position_kernel_size: kernel of the causal convolutions that carry the position.
        position_groups: their groups.
        causal_blocks: the attention masks by number: -1 is full attention, otherwise the length in mel frames of a block that
            sees itself and everything before it. Training draws one of them for each sample.
        num_steps: Euler steps of the sampler.
        guidance_scale: strength of classifier-free guidance.
        sigma_min: noise that remains at the end of the path.
        condition_dropout: share of training samples without conditions.
        prompt_ratio: range of the share of mel frames that training predicts; the frames before are given as prompt.
        noise_seed: seed of the fixed noise that sampling starts from.
        noise_frames: mel frames of noise that are drawn at once.
        mel_fmax: highest frequency of the mel filters in Hz, for training targets.
    """

    model_type = "cinedub_flow"
    base_config_key = "flow_config"

    codebook_size: int = 6561
    lookahead_size: int = 1024
    lookahead_frames: int = 3
    mel_per_token: int = 2
    num_mel_bins: int = 80
    speaker_embed_size: int = 192
    hidden_size: int = 1024
    num_hidden_layers: int = 22
    num_attention_heads: int = 16
    head_dim: int = 64
    mlp_ratio: int = 2
    dropout: float = 0.1
    rope_theta: float = 10000.0
    time_embed_size: int = 256
    position_kernel_size: int = 31
    position_groups: int = 16
    causal_blocks: list[int] | tuple[int, ...] = (-1, 2, 30, 60)
    num_steps: int = 10
    guidance_scale: float = 0.7
    sigma_min: float = 1e-6
    condition_dropout: float = 0.2
    prompt_ratio: list[float] | tuple[float, ...] = (0.7, 1.0)
    noise_seed: int = 0
    noise_frames: int = 15000
    mel_fmax: float = 8000.0
    initializer_range: float = 0.02

    def validate_architecture(self) -> None:
        """Checks that the sizes fit together.

        Raises:
            ValueError: they do not.
        """
        if self.hidden_size != self.num_attention_heads * self.head_dim:
            raise ValueError(
                f"hidden_size {self.hidden_size} must be num_attention_heads {self.num_attention_heads} "
                f"x head_dim {self.head_dim}"
            )
        if self.hidden_size % self.position_groups:
            raise ValueError(f"hidden_size {self.hidden_size} must be divisible by position_groups {self.position_groups}")
        if any(block != -1 and block < 1 for block in self.causal_blocks):
            raise ValueError(f"causal_blocks must be -1 or positive, not {list(self.causal_blocks)}")


@strict
class CineDubVocoderConfig(StrictConfig):
    r"""Vocoder: log-mel spectrogram at 50 Hz to a waveform, a causal HiFT generator (source filter, inverse STFT).

    Args:
        num_mel_bins: mel bins of the input.
        hidden_size: channels after the first convolution, halved by each upsampling stage.
        num_harmonics: harmonics of the source beside its fundamental.
        sampling_rate: samples per second of the output.
        source_amplitude: amplitude of the harmonics.
        source_noise: amplitude of the noise in voiced frames; a third of `source_amplitude` in the others.
        voiced_threshold: f0 in Hz above which a frame is voiced.
        upsample_rates: factors of the upsampling stages.
        upsample_kernel_sizes: their kernels.
        n_fft: length of the STFT.
        hop_length: its hop.
        resblock_kernel_sizes: kernels of the residual blocks of each stage.
        resblock_dilations: dilations inside each residual block.
        source_kernel_sizes: kernels of the residual blocks of the source branch.
        lrelu_slope: slope of the leaky ReLUs.
        audio_limit: samples are clamped to plus and minus this.
        f0_hidden_size: channels of the f0 predictor.
        noise_seed: seed of the fixed noise table.
    """

    model_type = "cinedub_vocoder"
    base_config_key = "vocoder_config"

    num_mel_bins: int = 80
    hidden_size: int = 512
    num_harmonics: int = 8
    sampling_rate: int = 24000
    source_amplitude: float = 0.1
    source_noise: float = 0.003
    voiced_threshold: float = 10.0
    upsample_rates: list[int] | tuple[int, ...] = (8, 5, 3)
    upsample_kernel_sizes: list[int] | tuple[int, ...] = (16, 11, 7)
    n_fft: int = 16
    hop_length: int = 4
    resblock_kernel_sizes: list[int] | tuple[int, ...] = (3, 7, 11)
    resblock_dilations: list[int] | tuple[int, ...] = (1, 3, 5)
    source_kernel_sizes: list[int] | tuple[int, ...] = (7, 7, 11)
    lrelu_slope: float = 0.1
    audio_limit: float = 0.99
    f0_hidden_size: int = 512
    noise_seed: int = 0
    initializer_range: float = 0.02

    @property
    def samples_per_frame(self) -> int:
        """Samples of the waveform for one mel frame."""
        samples = self.hop_length
        for rate in self.upsample_rates:
            samples *= rate
        return samples

    def validate_architecture(self) -> None:
        """Checks that the sizes fit together.

        Raises:
            ValueError: they do not.
        """
        if not len(self.upsample_rates) == len(self.upsample_kernel_sizes) == len(self.source_kernel_sizes):
            raise ValueError("upsample_rates, upsample_kernel_sizes and source_kernel_sizes must have one entry per stage")
        if self.hidden_size % 2 ** len(self.upsample_rates):
            raise ValueError(f"hidden_size {self.hidden_size} must be divisible by {2 ** len(self.upsample_rates)}")


@strict
class CineDubConfig(StrictConfig):
    r"""The dubbing model: language model, flow, vocoder and speaker encoder.

    Args:
        text_config: the Qwen2 backbone.
        flow_config: speech tokens to mel.
        vocoder_config: mel to waveform.
        speaker_config: reference voice to x-vector.
        codebook_size: number of speech tokens; the codec's special ids follow.
        num_codec_specials: number of special ids.
        bos_token_id: starts every prompt (SOS).
        eos_token_id: ends the speech (EOS).
        turn_token_id: the speech begins after it.
        fill_token_id: may replace masked speech tokens in training.
        pad_token_id: fills finished sequences.
        time_vocab_size: ids of times, `seconds * token_rate + 1`; id 0 is "unknown".
        timespk_vocab_size: rows of the table of times, scene types, genders, ages and speakers.
        face_size: size of a face embedding.
        token_rate: speech tokens, and rows of the face track, per second.
        speech_tokenizer_id: which speech tokenizer the codebook belongs to; training refuses rows made with another.
        face_encoder_id: likewise for the face embeddings.
    """

    model_type = "cinedub"
    sub_configs_defaults = {  # noqa: RUF012 - declared so by transformers
        "text_config": SubConfigSpec(Qwen2Config, init_kwargs=RELEASED_TEXT_CONFIG),
        "flow_config": SubConfigSpec(CineDubFlowConfig),
        "vocoder_config": SubConfigSpec(CineDubVocoderConfig),
        "speaker_config": SubConfigSpec(CampPlusConfig),
    }

    text_config: Any = None
    flow_config: Any = None
    vocoder_config: Any = None
    speaker_config: Any = None
    codebook_size: int = 6561
    num_codec_specials: int = 200
    bos_token_id: int = 6561
    eos_token_id: int = 6562
    turn_token_id: int = 6563
    fill_token_id: int = 6564
    pad_token_id: int = 6562
    time_vocab_size: int = 1500
    timespk_vocab_size: int = 1550
    face_size: int = 512
    token_rate: int = 25
    speech_tokenizer_id: str = "s3-v3"
    face_encoder_id: str = "ir101"
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False

    @property
    def codec_vocab_size(self) -> int:
        """Rows of the codec table: the codebook and its special ids."""
        return self.codebook_size + self.num_codec_specials

    def validate_architecture(self) -> None:
        """Checks that the parts fit together.

        Raises:
            ValueError: they do not.
        """
        for name in ("bos_token_id", "eos_token_id", "turn_token_id", "fill_token_id", "pad_token_id"):
            if not self.codebook_size <= getattr(self, name) < self.codec_vocab_size:
                raise ValueError(
                    f"{name} {getattr(self, name)} must be a special id, {self.codebook_size} to {self.codec_vocab_size - 1}"
                )
        flow, vocoder, speaker = self.flow_config, self.vocoder_config, self.speaker_config
        if flow.codebook_size != self.codebook_size:
            raise ValueError(f"the flow's codebook_size {flow.codebook_size} must be the model's {self.codebook_size}")
        if flow.num_mel_bins != vocoder.num_mel_bins:
            raise ValueError(f"the flow makes {flow.num_mel_bins} mel bins, the vocoder takes {vocoder.num_mel_bins}")
        if flow.speaker_embed_size != speaker.embed_size:
            raise ValueError(f"the speaker encoder makes {speaker.embed_size} values, the flow takes {flow.speaker_embed_size}")


__all__ = ["CineDubConfig", "CineDubFlowConfig", "CineDubVocoderConfig"]
