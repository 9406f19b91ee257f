"""Resampling and mixing; the spectrograms are checked with the goldens and against `s3tokenizer`."""

from __future__ import annotations

import numpy as np
import pytest

from cineforge_hf.modeling.audio_features import flow_mel, resample, speaker_features, to_mono, tokenizer_features


def tone(frequency, rate, seconds=1.0):
    return np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate).astype(np.float32)


@pytest.mark.parametrize(("source", "target"), [(8000, 16000), (44100, 16000), (48000, 24000), (22050, 24000), (16000, 16000)])
def test_a_tone_stays_the_tone(source, target):
    out = resample(tone(1000, source), source, target)
    assert len(out) == target
    assert np.abs(out - tone(1000, target))[200:-200].max() < 1e-4


def test_what_the_lower_rate_cannot_hold_is_removed():
    assert np.abs(resample(tone(9000, 48000), 48000, 16000))[200:-200].max() < 1e-3


@pytest.mark.parametrize("samples", [1, 159, 160, 161, 1001])
def test_lengths(samples):
    assert len(resample(np.zeros(samples, np.float32), 44100, 16000)) == -(-samples * 160 // 441)


def test_mixing():
    stereo = np.stack([np.ones(10), np.zeros(10)])
    assert np.array_equal(to_mono(stereo), np.full(10, 0.5, np.float32))
    for wave, message in ((np.zeros((2, 3, 4)), "must be"), (np.array([0.0, np.inf]), "not finite")):
        with pytest.raises(ValueError, match=message):
            to_mono(wave)


def test_frames_per_second():
    wave = tone(200, 24000)
    assert flow_mel(wave).shape == (50, 80)
    low = resample(wave, 24000, 16000)
    assert speaker_features(low).shape == (98, 80)
    assert np.abs(speaker_features(low).mean(axis=0)).max() < 1e-4
    assert tokenizer_features(low).shape == (100, 128)
    assert tokenizer_features(low).max() - tokenizer_features(low).min() <= 2.0 + 1e-6
