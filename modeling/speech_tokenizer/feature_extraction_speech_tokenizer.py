"""Waveforms to the log-mel spectrogram that the speech tokenizer reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import BatchFeature
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor

from cineforge_hf.modeling.arrays import as_list, stack_padded
from cineforge_hf.modeling.audio_features import resample, to_mono, tokenizer_features


class SpeechTokenizerFeatureExtractor(SequenceFeatureExtractor):
    """Waveforms of any sampling rate, mono or stereo, to features.

    Args:
        feature_size: mel bins.
        sampling_rate: that of the spectrogram; other rates are resampled.
        padding_value: fills shorter rows.
        kwargs: of the base class.

    Example:
        >>> SpeechTokenizerFeatureExtractor()(np.zeros(16000), sampling_rate=16000)["input_features"].shape
        (1, 100, 128)
    """

    model_input_names = ["input_features", "feature_lengths"]  # noqa: RUF012 - declared so by transformers

    def __init__(self, feature_size: int = 128, sampling_rate: int = 16000, padding_value: float = 0.0, **kwargs: Any) -> None:
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)

    def __call__(
        self,
        raw_speech: npt.ArrayLike,
        sampling_rate: int,
        return_tensors: str | None = "np",
    ) -> BatchFeature:
        """Features of speech.

        Args:
            raw_speech: a waveform or a list of them, each (samples) or (channels, samples) in [-1, 1], at least 0.02 s.
            sampling_rate: their samples per second.
            return_tensors: `np` or `pt`.

        Returns:
            `input_features` (batch, frames, bins) and `feature_lengths` (batch).
        """
        waves = [resample(to_mono(wave), sampling_rate, self.sampling_rate) for wave in as_list(raw_speech)]
        rows = [tokenizer_features(wave, self.feature_size) for wave in waves]
        lengths = np.array([len(row) for row in rows])
        features = stack_padded(rows, self.padding_value)
        return BatchFeature({"input_features": features, "feature_lengths": lengths}, tensor_type=return_tensors)


__all__ = ["SpeechTokenizerFeatureExtractor"]
