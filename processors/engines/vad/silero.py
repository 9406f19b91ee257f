"""Voice activity with Silero VAD, in onnxruntime alone.

The weights come inside the silero-vad wheel. The package itself imports torch, so it is located and never imported.
Its sequence model takes many windows per call; sound is streamed, so a film of two hours needs no more memory than a clip.

Invariants: one thread, fixed block sizes and state carried from block to block, so that spans do not depend on the machine's
load or on how the sound arrives.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cineforge_hf.errors import UsageError
from cineforge_hf.processor import EngineInfo

Span = tuple[float, float]
Floats = npt.NDArray[np.float32]

RATE = 16000
WINDOW = 512
"""Samples per probability: 32 ms, as the model was trained."""
CONTEXT = 64
"""Samples of the window before that the model wants in front of each."""
WINDOWS_PER_CALL = 256
"""8.2 s per call; larger calls were measured to be no faster."""

ON = 0.5
OFF = 0.35
"""Silero's own thresholds: speech begins at `ON` and ends below `OFF`."""
MIN_SILENCE = 0.1
"""Seconds; a shorter dip is a stop consonant, not a pause (Silero's default)."""
MIN_SPEECH = 0.1
"""Seconds. Silero's 0.25 loses "No." and 「嗯」, which subtitles have cues for."""
PAD = 0.03
"""Seconds on both sides (Silero's default): half of the uncertainty of a window."""

_PACKAGE = "silero_vad"
_MODEL = "data/silero_vad_16k_sequence.onnx"


class SileroVAD:
    """Tells where somebody speaks. Loads its model on first use, once."""

    @property
    def info(self) -> EngineInfo:
        """Name, version of the wheel and licence."""
        try:
            revision = importlib.metadata.version("silero-vad")
        except importlib.metadata.PackageNotFoundError:
            revision = "missing"
        return EngineInfo("silero-vad", revision, "MIT")

    def check(self) -> None:
        """Raises `UsageError` where onnxruntime or the weights are missing."""
        if importlib.util.find_spec("onnxruntime") is None or self._weights() is None:
            raise UsageError("voice activity needs onnxruntime and silero-vad: pip install 'cineforge_hf[vad]'")

    def probabilities(self, blocks: Iterable[Floats]) -> Iterator[Floats]:
        """Probability of speech for every 32 ms, in blocks."""
        hidden, cell = np.zeros((1, 1, 128), np.float32), np.zeros((1, 1, 128), np.float32)
        context = np.zeros(CONTEXT, np.float32)
        for samples in _regular(blocks, WINDOW * WINDOWS_PER_CALL):
            windows = samples.reshape(-1, WINDOW)
            contexts = np.vstack([context, windows[:-1, -CONTEXT:]])
            context = windows[-1, -CONTEXT:]
            inputs = {"input": np.hstack([contexts, windows]), "h": hidden, "c": cell}
            found, hidden, cell = self._session.run(["speech_probs", "hn", "cn"], inputs)
            yield found

    @cached_property
    def _session(self) -> Any:
        self.check()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # The model names initialisers that it does not use, on every load.
        return onnxruntime.InferenceSession(str(self._weights()), options, providers=["CPUExecutionProvider"])

    @staticmethod
    def _weights() -> Path | None:
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is None or spec.origin is None:
            return None
        path = Path(spec.origin).parent / _MODEL
        return path if path.is_file() else None


def speech_spans(probabilities: Floats) -> list[Span]:
    """Spans of speech from one probability per 32 ms, by two thresholds, the shortest silence and the shortest speech.

    Args:
        probabilities: shape (n,).

    Returns:
        (start, end) in seconds from the first window, padded, never overlapping.
    """
    return _spans(probabilities, off=OFF, min_silence=MIN_SILENCE, pad=PAD)


def finest_spans(probabilities: Floats) -> list[Span]:
    """Spans of speech with every dip between them, down to one window.

    For alignment: where one speaker follows another within a tenth of a second, the dip is all that marks the change.
    """
    return _spans(probabilities, off=ON, min_silence=0.0, pad=0.0)


def _spans(probabilities: Floats, *, off: float, min_silence: float, pad: float) -> list[Span]:
    step = WINDOW / RATE
    found: list[list[float]] = []
    begun: int | None = None
    for i, p in enumerate(probabilities.tolist()):
        if begun is None and p >= ON:
            begun = i
        elif begun is not None and p < off:
            found.append([begun * step, i * step])
            begun = None
    if begun is not None:
        found.append([begun * step, len(probabilities) * step])
    joined: list[list[float]] = []
    for start, end in found:
        if joined and start - joined[-1][1] < min_silence:
            joined[-1][1] = end
        else:
            joined.append([start, end])
    whole = len(probabilities) * step
    return [(max(0.0, start - pad), min(whole, end + pad)) for start, end in joined if end - start >= MIN_SPEECH]


def _regular(blocks: Iterable[Floats], size: int) -> Iterator[Floats]:
    """The same sound in blocks of `size` samples; the last is filled with silence to a whole window."""
    held: list[Floats] = []
    count = 0
    for block in blocks:
        held.append(np.asarray(block, np.float32).reshape(-1))
        count += held[-1].size
        while count >= size:
            joined = np.concatenate(held)
            yield joined[:size]
            held, count = [joined[size:]], count - size
    if count:
        rest = np.concatenate(held)
        yield np.pad(rest, (0, -rest.size % WINDOW))
