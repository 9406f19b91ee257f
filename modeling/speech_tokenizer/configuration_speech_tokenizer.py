"""Configuration of the S3 speech tokenizer v3. The defaults are the released sizes.

Field types are checked, so annotations must not become strings (no `from __future__ import annotations`).
"""

from huggingface_hub.dataclasses import strict

from cineforge_hf.modeling.strict_config import StrictConfig


@strict
class SpeechTokenizerConfig(StrictConfig):
    r"""The supervised semantic speech tokenizer of CosyVoice3 (Du et al. 2025).

    Args:
        num_mel_bins: mel bins of the input.
        hidden_size: width of the encoder.
        num_hidden_layers: number of its layers.
        num_attention_heads: number of heads.
        memory_kernel_size: kernel of the memory block beside the attention, odd.
        code_dims: digits of a token.
        code_levels: values of a digit; odd.
        token_rate: tokens per second.
        max_seconds: longer audio is refused.
        speech_tokenizer_id: written beside the tokens, so that a model refuses those of another tokenizer.
    """

    model_type = "s3_speech_tokenizer"

    num_mel_bins: int = 128
    hidden_size: int = 1280
    num_hidden_layers: int = 12
    num_attention_heads: int = 20
    memory_kernel_size: int = 31
    code_dims: int = 8
    code_levels: int = 3
    token_rate: int = 25
    max_seconds: float = 60.0
    speech_tokenizer_id: str = "s3-v3"
    initializer_range: float = 0.02

    @property
    def codebook_size(self) -> int:
        """Number of tokens."""
        return int(self.code_levels**self.code_dims)

    def validate_architecture(self) -> None:
        """Checks that the sizes fit together.

        Raises:
            ValueError: they do not.
        """
        if self.hidden_size % (2 * self.num_attention_heads):
            raise ValueError(f"hidden_size {self.hidden_size} must be divisible by twice num_attention_heads")
        if self.memory_kernel_size % 2 == 0 or self.code_levels % 2 == 0:
            raise ValueError("memory_kernel_size and code_levels must be odd")


__all__ = ["SpeechTokenizerConfig"]
