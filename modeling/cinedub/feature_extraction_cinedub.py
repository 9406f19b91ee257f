"""Reference voices to filterbanks for the speaker encoder, and speech to mel targets for the flow."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from transformers import BatchFeature
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor

from cineforge_hf.errors import UsageError
from cineforge_hf.modeling.arrays import as_list, stack_padded
from cineforge_hf.modeling.audio_features import Array, flow_mel, resample, speaker_features, to_mono
from cineforge_hf.modeling.cinedub.configuration_cinedub import CineDubConfig


class CineDubFeatureExtractor(SequenceFeatureExtractor):
    """Waveforms of any sampling rate, mono or stereo, to features.

    Args:
        feature_size: mel bins.
        sampling_rate: that of the speaker encoder's input; other rates are resampled.
        padding_value: fills shorter rows.
        min_seconds: shorter references are refused: a voice cannot be told from them.
        mel_sampling_rate: that of the flow's targets.
        mel_fmax: highest frequency of their filters in Hz.
        kwargs: of the base class.

    Example:
        >>> features = CineDubFeatureExtractor()(np.random.randn(16000), sampling_rate=16000)
        >>> features["input_features"].shape
        (1, 98, 80)
    """

    model_input_names = ["input_features", "feature_lengths"]  # noqa: RUF012 - declared so by transformers

    def __init__(
        self,
        feature_size: int = 80,
        sampling_rate: int = 16000,
        padding_value: float = 0.0,
        min_seconds: float = 0.5,
        mel_sampling_rate: int = 24000,
        mel_fmax: float = 8000.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)
        self.min_seconds = min_seconds
        self.mel_sampling_rate = mel_sampling_rate
        self.mel_fmax = mel_fmax

    @classmethod
    def for_config(cls, config: CineDubConfig) -> Self:
        """The extractor that fits a model."""
        return cls(config.speaker_config.num_mel_bins, mel_fmax=config.flow_config.mel_fmax)

    def voice(self, waveform: npt.ArrayLike, sampling_rate: int) -> Array:
        """Filterbanks of a reference voice.

        Args:
            waveform: (samples) or (channels, samples) in [-1, 1].
            sampling_rate: its samples per second.

        Returns:
            (frames, bins), 100 frames per second.

        Raises:
            UsageError: the reference is too short, silent or no waveform.
        """
        try:
            wave = to_mono(waveform)
        except ValueError as error:
            raise UsageError(f"the reference voice cannot be used: {error}") from error
        if len(wave) < self.min_seconds * sampling_rate:
            seconds = len(wave) / sampling_rate
            raise UsageError(f"the reference voice lasts {seconds:.2f} s; at least {self.min_seconds:g} s of speech are needed")
        if float(np.abs(wave).max()) < 1e-4:
            raise UsageError("the reference voice is silent")
        return speaker_features(resample(wave, sampling_rate, self.sampling_rate), self.feature_size)

    def mel(self, waveform: npt.ArrayLike, sampling_rate: int) -> Array:
        """Mel target of the flow.

        Args:
            waveform: (samples) or (channels, samples) in [-1, 1], at least 0.04 s.
            sampling_rate: its samples per second.

        Returns:
            (frames, bins), 50 frames per second.
        """
        wave = resample(to_mono(waveform), sampling_rate, self.mel_sampling_rate)
        return flow_mel(wave, self.feature_size, self.mel_fmax)

    def __call__(
        self,
        raw_speech: npt.ArrayLike,
        sampling_rate: int,
        return_tensors: str | None = "np",
    ) -> BatchFeature:
        """Features of reference voices for `CampPlusModel`.

        Args:
            raw_speech: a waveform or a list of them.
            sampling_rate: their samples per second.
            return_tensors: `np` or `pt`.

        Returns:
            `input_features` (batch, frames, bins) and `feature_lengths` (batch).
        """
        rows = [self.voice(wave, sampling_rate) for wave in as_list(raw_speech)]
        lengths = np.array([len(row) for row in rows])
        features = stack_padded(rows, self.padding_value)
        return BatchFeature({"input_features": features, "feature_lengths": lengths}, tensor_type=return_tensors)


__all__ = ["CineDubFeatureExtractor"]
