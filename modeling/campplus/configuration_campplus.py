"""Configuration of the CAM++ speaker encoder. The defaults are the released sizes.

Field types are checked, so annotations must not become strings (no `from __future__ import annotations`).
"""

from huggingface_hub.dataclasses import strict

from cineforge_hf.modeling.strict_config import StrictConfig


@strict
class CampPlusConfig(StrictConfig):
    r"""CAM++ (Wang et al. 2023): a densely connected TDNN with context-aware masking.

    Args:
        num_mel_bins: mel bins of the input.
        embed_size: size of the x-vector.
        head_channels: channels of the 2-D convolutions in front.
        hidden_size: channels of the first TDNN layer.
        growth: channels that each dense layer adds.
        bottleneck: width of a dense layer's bottleneck over `growth`.
        block_layers: dense layers of each block.
        block_dilations: dilation of each block's convolutions.
        segment_frames: frames that are pooled together for the local context.
    """

    model_type = "campplus"
    base_config_key = "speaker_config"

    num_mel_bins: int = 80
    embed_size: int = 192
    head_channels: int = 32
    hidden_size: int = 128
    growth: int = 32
    bottleneck: int = 4
    block_layers: list[int] | tuple[int, ...] = (12, 24, 16)
    block_dilations: list[int] | tuple[int, ...] = (1, 2, 2)
    segment_frames: int = 100
    initializer_range: float = 0.02

    def validate_architecture(self) -> None:
        """Checks that the sizes fit together.

        Raises:
            ValueError: they do not.
        """
        if self.num_mel_bins % 8:
            raise ValueError(f"num_mel_bins {self.num_mel_bins} must be divisible by 8, the stride of the 2-D convolutions")
        if len(self.block_layers) != len(self.block_dilations):
            raise ValueError("block_layers and block_dilations must have one entry per block")


__all__ = ["CampPlusConfig"]
