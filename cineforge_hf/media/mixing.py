"""Samples as numbers: from a decoder's formats to float32, to fewer channels, to integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Sound = NDArray[np.float32]
"""(channels, n), full scale from -1 to 1."""

Samples = NDArray[np.int16] | NDArray[np.int32]
"""(n, channels): int16, or int32 holding 24-bit values."""


def frame_sound(frame: Any) -> Sound:
    """A decoded frame as float32 (channels, n). Integers are scaled by a power of two, so exactly (up to 24 bits)."""
    raw: NDArray[Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        raw = raw.reshape(-1, frame.layout.nb_channels).T
    if raw.dtype == np.uint8:
        return np.asarray((raw.astype(np.float32) - 128) / 128, np.float32)
    if raw.dtype.kind == "i":
        return np.asarray(raw.astype(np.float32) * np.float32(2.0 ** (1 - 8 * raw.dtype.itemsize)), np.float32)
    return np.asarray(raw, np.float32)


def quantise(sound: Sound, bits: int) -> Samples:
    """Round float sound (channels, n) to integers (n, channels) of `bits` bits: clip(round(x * 2**(bits - 1)))."""
    full = float(1 << (bits - 1))
    # float64: float32 cannot tell 2**23 - 1 from its neighbours' halves.
    words = np.clip(np.rint(sound.T.astype(np.float64) * full), -full, full - 1)
    return words.astype(np.int16) if bits == 16 else words.astype(np.int32)


def mix(sound: Sound, names: Sequence[str], channels: int) -> Sound:
    """Mix to one or two channels with ITU-R BS.775 weights, normalised so that nothing can clip.

    Args:
        sound: (channels, n).
        names: FFmpeg's channel names, e.g. FL, FR, FC, LFE, BL, BR.
        channels: 1 or 2; any other number repeats the mono mix (a track that changed its channels on the way).

    Returns:
        (channels, n). Two channels become one as their mean; LFE is left out, as in broadcast down-mixes.
    """
    if list(names) == ["FL", "FR"] and channels == 2:
        return sound
    weights = _weights(tuple(names), channels)
    mixed = np.asarray(weights @ sound, np.float32)
    return np.repeat(mixed, channels, axis=0) if channels > 2 else mixed


@cache
def _weights(names: tuple[str, ...], channels: int) -> Sound:
    """The mixing matrix (1 or 2, number of names), each row summing to one; the same for every frame of a track."""
    sides = [[1.0 if side is None else _share(name, side) for name in names] for side in ((None,), ("L", "R"))[channels == 2]]
    weights = np.array(sides, np.float32) * np.array([_loudness(name) for name in names], np.float32)
    # A layout of nothing but unknown or LFE channels is simply averaged.
    weights[weights.sum(axis=1) == 0] = 1.0
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _share(name: str, side: str) -> float:
    """How much of a channel goes to the left or right: all or nothing, or -3 dB of what is in the middle."""
    if name[-1] in "LR":
        return float(name[-1] == side)
    return math.sqrt(0.5)


def _loudness(name: str) -> float:
    """BS.775's weights for one channel: centre 1, front sides -3 dB, surrounds -6 dB."""
    if name.startswith("LFE"):
        return 0.0
    if name == "FC":
        return 1.0
    return math.sqrt(0.5) if name in {"FL", "FR", "DL", "DR"} else 0.5
