"""Sound as FLAC, exactly as the integers given: bytes for a clip, a stream into a file for a film."""

from __future__ import annotations

import errno
import io
import os
import shutil
from pathlib import Path
from types import TracebackType
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


class FlacWriter:
    """Writes a FLAC file block by block, so that a film's sound never lies in memory. Used with `with`.

    Args:
        path: the file to write.
        rate: Hz.
        channels: number of channels, 8 at most.
        bits: 16 or 24.

    Raises:
        MediaError: `bad_sound` for a rate or a number of channels that FLAC does not know.
        OSError: the disk is full or the folder cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], rate: int, channels: int, bits: int) -> None:
        self._path, self._bits = Path(path), bits
        try:
            self._file = soundfile.SoundFile(os.fspath(path), "w", rate, channels, subtype=f"PCM_{bits}", format="FLAC")
        except soundfile.LibsndfileError as error:
            raise self._explain(error, f"cannot write {channels} channels at {rate} Hz as FLAC") from error

    def write(self, samples: np.ndarray[Any, Any]) -> None:
        """Append samples.

        Args:
            samples: (n, channels); int16, or int32 with values of `bits` bits (not shifted up).
        """
        try:
            self._file.write(samples.astype(np.int16) if self._bits == 16 else samples.astype(np.int32) << 8)
        except (soundfile.LibsndfileError, AssertionError) as error:  # A short write is an assertion of soundfile's.
            raise self._explain(error, "cannot write FLAC") from error

    def __enter__(self) -> FlacWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def _explain(self, error: Exception, what: str) -> Exception:
        folder = self._path.parent
        if not os.access(folder, os.W_OK):
            return OSError(errno.EROFS, "the folder cannot be written", str(folder))
        if shutil.disk_usage(folder).free < 1 << 20:
            return OSError(errno.ENOSPC, "no space left on the device", str(folder))
        return MediaError("bad_sound", f"{what} ({error})")
