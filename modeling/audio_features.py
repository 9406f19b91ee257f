"""The spectrograms that the models read, and resampling. Waveforms are float arrays in [-1, 1].

All are built on `transformers.audio_utils`; the constants are those that the published weights were trained with.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

Array = npt.NDArray[np.float32]

# Kaldi takes the logarithm of energies not below this, the smallest step of float32 above 1.
_KALDI_FLOOR = float(np.finfo(np.float32).eps)


def to_mono(waveform: npt.ArrayLike) -> Array:
    """Averages the channels.

    Args:
        waveform: (samples) or (channels, samples) with at most 8 channels.

    Returns:
        The mono waveform, (samples).

    Raises:
        ValueError: the array has another shape or holds values that are not finite.
    """
    wave = np.asarray(waveform, dtype=np.float32)
    if wave.ndim == 2 and wave.shape[0] <= 8:
        wave = wave.mean(axis=0)
    if wave.ndim != 1:
        raise ValueError(f"a waveform must be (samples) or (channels, samples), not {wave.shape}")
    if not np.isfinite(wave).all():
        raise ValueError("the waveform holds values that are not finite")
    return wave


@lru_cache(maxsize=8)
def _resampling_kernel(up: int, down: int) -> tuple[torch.Tensor, int]:
    """Hann-windowed sinc filters, one for each of the `up` phases: (up, 1, taps), and the taps before time zero."""
    cutoff = 0.95 * min(1.0, up / down)
    half = math.ceil(32 / cutoff)
    taps = torch.arange(-half, half + down, dtype=torch.float64)
    time = taps[None] - torch.arange(up, dtype=torch.float64)[:, None] * down / up
    window = torch.cos(time / half * math.pi / 2).square() * (time.abs() < half)
    return (cutoff * torch.sinc(cutoff * time) * window).float().unsqueeze(1), half


def resample(waveform: Array, source_rate: int, target_rate: int) -> Array:
    """Changes the sampling rate by band-limited interpolation.

    Args:
        waveform: (samples).
        source_rate: its samples per second.
        target_rate: those of the result.

    Returns:
        The waveform at the new rate, ceil(samples * target_rate / source_rate) samples.
    """
    if source_rate == target_rate:
        return waveform
    common = math.gcd(source_rate, target_rate)
    up, down = target_rate // common, source_rate // common
    kernel, half = _resampling_kernel(up, down)
    wave = torch.nn.functional.pad(torch.from_numpy(waveform), (half, half + down))
    blocks = torch.nn.functional.conv1d(wave[None, None], kernel, stride=down)
    length = -(-len(waveform) * up // down)
    return blocks[0].T.reshape(-1)[:length].numpy()


@lru_cache(maxsize=1)
def _kaldi_filters(bins: int) -> npt.NDArray[np.float64]:
    return mel_filter_bank(257, bins, 20.0, 8000.0, 16000, norm=None, mel_scale="kaldi", triangularize_in_mel_space=True)


def speaker_features(waveform: Array, bins: int = 80) -> Array:
    """Kaldi filterbanks as CAM++ takes them: 25 ms povey windows every 10 ms, log, minus the mean over time.

    Args:
        waveform: (samples) at 16 kHz.
        bins: number of mel bins.

    Returns:
        (frames, bins).
    """
    features = spectrogram(
        waveform,
        window_function(400, "povey", periodic=False),
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=_kaldi_filters(bins),
        mel_floor=_KALDI_FLOOR,
        log_mel="log",
        remove_dc_offset=True,
    ).T
    return np.ascontiguousarray(features - features.mean(axis=0, keepdims=True), dtype=np.float32)


@lru_cache(maxsize=4)
def flow_mel_filters(bins: int = 80, fmax: float = 8000.0) -> npt.NDArray[np.float64]:
    """The slaney mel filters of the flow's targets at 24 kHz, (961, bins)."""
    return mel_filter_bank(961, bins, 0.0, fmax, 24000, norm="slaney", mel_scale="slaney")


def flow_mel(waveform: Array, bins: int = 80, fmax: float = 8000.0) -> Array:
    """Log-mel spectrogram that the flow is trained to make: 80 ms windows every 20 ms.

    Args:
        waveform: (samples) at 24 kHz.
        bins: number of mel bins.
        fmax: highest frequency of the filters in Hz.

    Returns:
        (frames, bins), 50 frames per second.
    """
    padded = np.pad(waveform, 720, mode="reflect")
    power = spectrogram(padded, window_function(1920, "hann"), frame_length=1920, hop_length=480, power=2.0, center=False)
    magnitude = np.sqrt(power.astype(np.float64) + 1e-9)
    mel = flow_mel_filters(bins, fmax).T @ magnitude
    return np.ascontiguousarray(np.log(np.maximum(mel, 1e-5)).T, dtype=np.float32)


@lru_cache(maxsize=1)
def _whisper_filters(bins: int) -> npt.NDArray[np.float64]:
    return mel_filter_bank(201, bins, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney")


def tokenizer_features(waveform: Array, bins: int = 128) -> Array:
    """Whisper's log-mel spectrogram without padding to 30 s, as the speech tokenizer takes it.

    Args:
        waveform: (samples) at 16 kHz.
        bins: number of mel bins.

    Returns:
        (frames, bins), 100 frames per second.
    """
    log = spectrogram(
        waveform,
        window_function(400, "hann"),
        frame_length=400,
        hop_length=160,
        power=2.0,
        mel_filters=_whisper_filters(bins),
        log_mel="log10",
    )[:, :-1]
    log = np.maximum(log, log.max() - 8.0)
    return np.ascontiguousarray((log.T + 4.0) / 4.0, dtype=np.float32)
