"""Stage 2: the voices of a film apart from its music and effects, on the film's own clock.

Invariants:
- Both sounds have the rate, the channels and the bits of the dialogue stream, begin at the film's zero and last as long as
  the film: sample k lies at k / rate seconds. Rounded to integers, vocals + instrumental = mix, to the bit.
- The film is read and written in streams; memory does not grow with its length.
- A film out of which nothing was taken has null vocals, not a copy of its sound: later stages use vocals where there are
  any and the mix otherwise.
- The whole film is separated, not its usable part alone, so that another `intro` does not cost another separation.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from cineforge_hf.errors import RowError, SystemicError, UsageError
from cineforge_hf.media import AudioStream, FlacWriter, channel_names, iter_sound, probe, quantise, resampled
from cineforge_hf.media.mixing import Sound
from cineforge_hf.processor import EngineInfo, Outcome, Processor, Row
from cineforge_hf.processors.engines.separate import channels
from cineforge_hf.processors.engines.separate.base import SeparationEngine, load_engine
from cineforge_hf.processors.engines.separate.demucs import REPOSITORY
from cineforge_hf.processors.engines.separate.windows import Reader

BLOCK_SECONDS = 1.0
"""Read, added up and written at a time."""
MOST_CHANNELS = 8
"""What FLAC holds."""

Samples = npt.NDArray[np.int64]


@dataclass
class SeparateVocals(Processor):
    """Separates a film's voices from the rest.

    Args:
        engine: `demucs` (strongest; downloads its weights once), `repet` (nothing to download; works where it expects a
            gain and lets the mix through elsewhere) or `none`.
        model: weights of `demucs`: a Hub repository, or a folder with its files.
        revision: branch, tag or commit of a Hub repository.

    The sounds are FLAC files in the system's folder for temporary files (`TMPDIR`); a run moves them into its media.
    Of 5.1 the centre alone is separated where it holds the dialogue, and all else is instrumental.

    Row errors: `too_many_channels`, and those of the media layer.

    Example:
        >>> from cineforge_hf import Ingest, SeparateVocals, scan_films
        >>> from datasets import Dataset
        >>> films = Dataset.from_list(scan_films("films/"))  # doctest: +SKIP
        >>> for stage in (Ingest(), SeparateVocals(engine="repet")):  # doctest: +SKIP
        ...     films = films.map(stage, batched=True, **stage.map_kwargs(films))
    """

    name: ClassVar[str] = "separate"
    requires: ClassVar[tuple[str, ...]] = ("source", "film_duration", "audio_stream")

    engine: str = "demucs"
    model: str = REPOSITORY
    revision: str = "main"

    def check(self) -> None:
        """Raises `UsageError` for an unknown engine, and for missing packages and weights."""
        if self._engine is not None:
            self._engine.check()

    @property
    def engines(self) -> tuple[EngineInfo, ...]:
        """The separation engine."""
        return (EngineInfo("none", "", "Apache-2.0") if self._engine is None else self._engine.info,)

    def process(self, rows: list[Row]) -> Sequence[Outcome]:
        """Separates each film; see `Processor.process`."""
        outcomes: list[Outcome] = []
        for row in rows:
            try:
                outcomes.append({} if self._engine is None else self._separate(row, self._engine))
            except UsageError as error:  # Weights that went missing after `check`: no film can be separated.
                raise SystemicError(str(error)) from error
            except RowError as error:
                outcomes.append(error)
        return outcomes

    def _separate(self, row: Row, engine: SeparationEngine) -> Row:
        film = _Film(row["source"], _stream(row), row["film_duration"])
        if film.stream.channels > MOST_CHANNELS:
            raise RowError(
                "too_many_channels",
                f"{film.path}: {film.stream.channels} channels, and FLAC holds {MOST_CHANNELS}; give it a 5.1 or stereo track",
            )
        groups = film.groups()
        with ExitStack() as stack:
            paths = [_scratch(stack, kind) for kind in ("vocals", "instrumental")]
            sums = _write(film, groups, engine, paths)
            if not sums.separated:
                return {"separated_share": 0.0}
            stack.pop_all()
        return {
            "vocals": {"path": str(paths[0]), "bytes": None},
            "instrumental": {"path": str(paths[1]), "bytes": None},
            "dialogue_channels": [film.names[c] for group in groups for c in group],
            "vocal_to_mix_ratio": _decibels(sums.vocals, sums.mix),
            "separated_share": sums.separated / sums.blocks,
        }

    @cached_property
    def _engine(self) -> SeparationEngine | None:
        return load_engine(self.engine, self.model, self.revision, self.device)


@dataclass(frozen=True)
class _Film:
    """A film's dialogue stream, readable in blocks."""

    path: str
    stream: AudioStream
    duration: float

    def blocks(self, rate: int) -> Iterator[Sound]:
        return iter_sound(self.path, stream=self.stream.index, rate=rate, end=self.duration, block=BLOCK_SECONDS)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return channels.named(self.stream.channels, channel_names(self.stream.layout))

    def groups(self) -> list[channels.Group]:
        return channels.dialogue_groups(self.names, self.blocks(channels.RATE))

    def vocals(self, group: channels.Group, engine: SeparationEngine) -> Iterator[Sound]:
        """Vocals of some channels at the stream's own rate."""
        native = self.stream.sample_rate
        rate = engine.rate(native)
        found = engine.separate((block[list(group)] for block in self.blocks(rate)), rate)
        return found if rate == native else resampled(found, rate, native, len(group))


@dataclass
class _Sums:
    """Energies in squared integer steps, blocks, and blocks out of which something was taken."""

    mix: float = 0.0
    vocals: float = 0.0
    blocks: int = 0
    separated: int = 0


def _write(film: _Film, groups: list[channels.Group], engine: SeparationEngine, paths: Sequence[Path]) -> _Sums:
    """Separate a film into two files, block by block."""
    rate, bits, count = film.stream.sample_rate, film.stream.bits, film.stream.channels
    readers = [(list(group), Reader(film.vocals(group, engine), len(group))) for group in groups]
    sums = _Sums()
    with FlacWriter(paths[0], rate, count, bits) as vocals, FlacWriter(paths[1], rate, count, bits) as instrumental:
        for block in film.blocks(rate):
            found = np.zeros_like(block)
            for group, reader in readers:
                found[group] = reader.take(block.shape[1])
            mix = quantise(block, bits).astype(np.int64)
            voice = _fitting(mix, quantise(found, bits).astype(np.int64), bits)
            vocals.write(voice)
            instrumental.write(mix - voice)
            sums.mix += float(np.sum(mix.astype(np.float64) ** 2))
            sums.vocals += float(np.sum(voice.astype(np.float64) ** 2))
            sums.blocks += 1
            sums.separated += bool(np.any(mix != voice))
    return sums


def _fitting(mix: Samples, voice: Samples, bits: int) -> Samples:
    """Vocals whose difference to the mix is a number of `bits` bits too."""
    full = 1 << (bits - 1)
    return np.clip(voice, mix - (full - 1), mix + full)


def _stream(row: Row) -> AudioStream:
    found = [stream for stream in probe(row["source"]).audio if stream.index == row["audio_stream"]]
    if not found:
        raise RowError(
            "no_audio_stream", f"{row['source']}: no sound stream {row['audio_stream']}; it has changed, run ingest on it again"
        )
    return found[0]


def _scratch(stack: ExitStack, kind: str) -> Path:
    """A new file for one sound; removed unless the stack's callbacks are dropped."""
    with tempfile.NamedTemporaryFile(prefix=f"cineforge-{kind}-", suffix=".flac", delete=False) as file:
        path = Path(file.name)
    stack.callback(path.unlink, missing_ok=True)
    return path


def _decibels(part: float, whole: float) -> float | None:
    """10 log10(part / whole); None where either is silent."""
    return 10 * math.log10(part / whole) if part > 0 and whole > 0 else None
