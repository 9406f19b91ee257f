"""Sound as FLAC bytes, exactly as the integers given."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import soundfile

from cineforge_hf.errors import MediaError


def encode_flac(samples: np.ndarray[Any, Any], rate: int, bits: int) -> bytes:
    """Encode integer samples as FLAC.

    Args:
        samples: (n, channels) or (n,); int16, or int32 with values of `bits` bits (not shifted up).
        rate: Hz.
        bits: 16 or 24.

    Returns:
        The file. The same samples give the same bytes.

    Raises:
        MediaError: `bad_sound` for a wrong type, width, rate or number of channels.
    """
    if samples.dtype.kind != "i" or bits not in {16, 24}:
        raise MediaError(
            "bad_sound", f"FLAC needs 16 or 24-bit integers, not {bits}-bit {samples.dtype}; quantise the sound first"
        )
    # libsndfile reads the most significant bits of int32, so that 24-bit values go eight places up.
    words = samples.astype(np.int16) if bits == 16 else samples.astype(np.int32) << 8
    file = io.BytesIO()
    try:
        soundfile.write(file, words, rate, format="FLAC", subtype=f"PCM_{bits}")
    except soundfile.LibsndfileError as error:
        channels = 1 if samples.ndim == 1 else samples.shape[1]
        raise MediaError("bad_sound", f"cannot write {channels} channels at {rate} Hz as FLAC ({error})") from error
    return file.getvalue()
