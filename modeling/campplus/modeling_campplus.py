"""CAM++: filterbank features of a voice to an x-vector.

After Wang et al. 2023, "CAM++: A Fast and Efficient Network for Speaker Verification Using Context-Aware Masking".
Module names follow the published checkpoints, so that their weights load without a key map. Features are (batch, frames, bins);
inside, channels come before time.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from cineforge_hf.modeling.campplus.configuration_campplus import CampPlusConfig


@dataclass
class CampPlusOutput(ModelOutput):
    """Output of `CampPlusModel`.

    Args:
        embeddings: x-vectors, (batch, embed_size), not normalised.
    """

    embeddings: torch.FloatTensor | None = None


def _norm_relu(channels: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(batchnorm=nn.BatchNorm1d(channels), relu=nn.ReLU()))


class CampPlusResBlock(nn.Module):
    """Residual block over frequency and time that may halve the frequencies."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, stride=(stride, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, channels, 1, stride=(stride, 1), bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Maps (batch, channels, bins, frames) to (batch, channels, bins / stride, frames)."""
        out = functional.relu(self.bn1(self.conv1(hidden)))
        out = self.bn2(self.conv2(out))
        return functional.relu(out + self.shortcut(hidden))


class CampPlusHead(nn.Module):
    """2-D convolutions that reduce the bins by 8."""

    def __init__(self, config: CampPlusConfig) -> None:
        super().__init__()
        channels = config.head_channels
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1 = nn.Sequential(CampPlusResBlock(channels, 2), CampPlusResBlock(channels, 1))
        self.layer2 = nn.Sequential(CampPlusResBlock(channels, 2), CampPlusResBlock(channels, 1))
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Maps (batch, bins, frames) to (batch, channels * bins / 8, frames)."""
        hidden = functional.relu(self.bn1(self.conv1(features.unsqueeze(1))))
        hidden = self.layer2(self.layer1(hidden))
        return functional.relu(self.bn2(self.conv2(hidden))).flatten(1, 2)


class CampPlusTdnn(nn.Module):
    """The first convolution over time; halves the frames."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(in_channels, out_channels, 5, stride=2, padding=2, bias=False)
        self.nonlinear = _norm_relu(out_channels)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Maps (batch, in, frames) to (batch, out, frames / 2)."""
        return self.nonlinear(self.linear(hidden))


class CampPlusMask(nn.Module):
    """A convolution whose output is masked by the context: the mean over everything plus the mean over the segment."""

    def __init__(self, config: CampPlusConfig, dilation: int) -> None:
        super().__init__()
        width = config.bottleneck * config.growth
        self.segment_frames = config.segment_frames
        self.linear_local = nn.Conv1d(width, config.growth, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(width, width // 2, 1)
        self.linear2 = nn.Conv1d(width // 2, config.growth, 1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Maps (batch, width, frames) to (batch, growth, frames)."""
        local = self.linear_local(hidden)
        segments = functional.avg_pool1d(hidden, self.segment_frames, self.segment_frames, ceil_mode=True)
        segments = segments.repeat_interleave(self.segment_frames, dim=-1)[..., : hidden.shape[-1]]
        context = hidden.mean(-1, keepdim=True) + segments
        return local * torch.sigmoid(self.linear2(functional.relu(self.linear1(context))))


class CampPlusDenseLayer(nn.Module):
    """Bottleneck and masked convolution; its output is appended to its input by the block."""

    def __init__(self, config: CampPlusConfig, in_channels: int, dilation: int) -> None:
        super().__init__()
        width = config.bottleneck * config.growth
        self.nonlinear1 = _norm_relu(in_channels)
        self.linear1 = nn.Conv1d(in_channels, width, 1, bias=False)
        self.nonlinear2 = _norm_relu(width)
        self.cam_layer = CampPlusMask(config, dilation)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Maps (batch, in, frames) to (batch, growth, frames)."""
        return self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(hidden))))


class CampPlusBlock(nn.ModuleDict):
    """Dense layers, named `tdnnd1`, `tdnnd2`, ... as in the published checkpoints."""

    def __init__(self, config: CampPlusConfig, in_channels: int, layers: int, dilation: int) -> None:
        super().__init__(
            {f"tdnnd{i + 1}": CampPlusDenseLayer(config, in_channels + i * config.growth, dilation) for i in range(layers)}
        )

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Maps (batch, in, frames) to (batch, in + layers * growth, frames)."""
        for layer in self.values():
            hidden = torch.cat([hidden, layer(hidden)], dim=1)
        return hidden


class CampPlusTransit(nn.Module):
    """Halves the channels between the blocks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.nonlinear = _norm_relu(channels)
        self.linear = nn.Conv1d(channels, channels // 2, 1, bias=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Maps (batch, channels, frames) to (batch, channels / 2, frames)."""
        return self.linear(self.nonlinear(hidden))


class CampPlusPool(nn.Module):
    """Mean and standard deviation over time."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Maps (batch, channels, frames) to (batch, 2 * channels)."""
        return torch.cat([hidden.mean(-1), hidden.std(-1)], dim=-1)


class CampPlusDense(nn.Module):
    """The last projection, with a normalisation that has no weights."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(in_channels, out_channels, 1, bias=False)
        self.nonlinear = nn.Sequential(OrderedDict(batchnorm=nn.BatchNorm1d(out_channels, affine=False)))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Maps (batch, in) to (batch, out)."""
        return self.nonlinear(self.linear(hidden.unsqueeze(-1)).squeeze(-1))


class CampPlusModel(PreTrainedModel):
    """The speaker encoder.

    Example:
        >>> model = CampPlusModel(CampPlusConfig()).eval()
        >>> model(torch.zeros(1, 300, 80)).embeddings.shape
        torch.Size([1, 192])
    """

    config_class = CampPlusConfig
    base_model_prefix = "campplus"
    main_input_name = "input_features"
    _no_split_modules = ["CampPlusBlock"]  # noqa: RUF012 - declared so by transformers

    def __init__(self, config: CampPlusConfig) -> None:
        super().__init__(config)
        self.head = CampPlusHead(config)
        channels = config.hidden_size
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        modules["tdnn"] = CampPlusTdnn(config.head_channels * config.num_mel_bins // 8, channels)
        for i, (layers, dilation) in enumerate(zip(config.block_layers, config.block_dilations, strict=True), start=1):
            modules[f"block{i}"] = CampPlusBlock(config, channels, layers, dilation)
            channels += layers * config.growth
            modules[f"transit{i}"] = CampPlusTransit(channels)
            channels //= 2
        modules["out_nonlinear"] = _norm_relu(channels)
        modules["stats"] = CampPlusPool()
        modules["dense"] = CampPlusDense(2 * channels, config.embed_size)
        self.xvector = nn.Sequential(modules)
        self.post_init()

    def forward(self, input_features: torch.Tensor, feature_lengths: torch.Tensor | None = None) -> CampPlusOutput:
        """Computes the x-vectors.

        Args:
            input_features: log-mel filterbanks without their time mean, (batch, frames, bins).
            feature_lengths: valid frames of each row, (batch); all by default. Rows of different lengths are computed one by
                one: the context means run over all frames, and a mask in 55 layers would cost more than it saves.

        Returns:
            The x-vectors, (batch, embed_size).
        """
        features = input_features.to(self.dtype).transpose(1, 2)
        if feature_lengths is None or bool((feature_lengths == features.shape[-1]).all()):
            return CampPlusOutput(embeddings=self.xvector(self.head(features)))
        rows = [row[None, :, :length] for row, length in zip(features, feature_lengths.tolist(), strict=True)]
        return CampPlusOutput(embeddings=torch.cat([self.xvector(self.head(row)) for row in rows]))


__all__ = ["CampPlusModel", "CampPlusOutput"]
