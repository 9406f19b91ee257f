"""Cutting clips out of films for an export: jobs for workers, and the staged files that they leave.

Invariants:
- A film's sound is decoded once, from its beginning, in one pass: FLAC equals the decoded source sample for sample.
- A staged file is complete or absent, so a job that is done again keeps what an earlier one finished.
- A clip that cannot be cut leaves its error in a file; the others of its job are cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cineforge_hf.errors import MediaError
from cineforge_hf.runs.files import read_json, write_atomic, write_json

# Clips per job: many enough to keep seeking cheap, few enough to share out a single film.
CLIPS_PER_JOB = 8

Range = tuple[str, float, float]


def sound_path(staging: Path, clip_id: str) -> Path:
    """Where a clip's sound waits."""
    return staging / f"{clip_id}.flac"


def picture_path(staging: Path, clip_id: str) -> Path:
    """Where a clip's picture waits."""
    return staging / f"{clip_id}.mp4"


def clip_error(staging: Path, clip_id: str) -> str | None:
    """Why a clip could not be cut, or None."""
    value = read_json(staging / f"{clip_id}.error.json")
    return str(value["message"]) if isinstance(value, dict) else None


def cutting_jobs(film: str, stream: int | None, clips: Sequence[Range], staging: Path) -> Iterator[CutJob]:
    """Jobs for the clips of a film that are not staged yet: one for all sound, several for the picture.

    Args:
        film: path of the film.
        stream: index of its sound stream.
        clips: (clip_id, start, end) in the order of starts.
        staging: folder of the staged files.
    """
    clips = [clip for clip in clips if not clip_error(staging, clip[0])]
    silent = tuple(clip for clip in clips if not sound_path(staging, clip[0]).is_file())
    if silent:
        yield SoundJob(film, stream, silent, staging)
    blind = tuple(clip for clip in clips if not picture_path(staging, clip[0]).is_file())
    for at in range(0, len(blind), CLIPS_PER_JOB):
        yield PictureJob(film, stream, blind[at : at + CLIPS_PER_JOB], staging)


@dataclass(frozen=True)
class CutJob:
    """Work on some clips of one film.

    Args:
        film: path of the film.
        stream: index of its sound stream.
        clips: (clip_id, start, end), sorted by start.
        staging: folder of the staged files.
        deadly: clips that killed a worker, with what happened.
        isolated: whether each clip is reported before it is touched.
    """

    film: str
    stream: int | None
    clips: tuple[Range, ...]
    staging: Path
    deadly: dict[int, str] = field(default_factory=dict)
    isolated: bool = False

    @property
    def clip_ids(self) -> list[str]:
        """Ids of the job's clips."""
        return [clip_id for clip_id, _, _ in self.clips]

    @property
    def label(self) -> str:
        """What to call the job in messages."""
        return f"cutting {len(self.clips)} clips of {self.film}"

    def isolate(self, row: int | None, message: str) -> CutJob:
        """The same job clip by clip, without one that killed its worker."""
        deadly = dict(self.deadly) if row is None else {**self.deadly, row: message}
        return replace(self, deadly=deadly, isolated=True)

    def run(self, on_row: Callable[[int], None]) -> list[str]:
        """Cuts the clips and returns their ids."""
        for row, message in self.deadly.items():
            _write_error(self.staging, self.clips[row][0], message)
        self.cut([row for row in range(len(self.clips)) if row not in self.deadly], on_row if self.isolated else lambda _: None)
        return self.clip_ids

    def cut(self, rows: Sequence[int], on_row: Callable[[int], None]) -> None:
        """Cuts the clips of these rows; `on_row` is told each before it is touched."""
        raise NotImplementedError(f"{type(self).__name__} must implement cut")


@dataclass(frozen=True)
class SoundJob(CutJob):
    """The sound of all clips of a film, as FLAC, in one pass."""

    def cut(self, rows: Sequence[int], on_row: Callable[[int], None]) -> None:
        """Decodes the film's sound once and writes the FLAC of each clip."""
        from cineforge_hf.media import encode_flac, iter_sound_ranges

        ranges = [self.clips[row][1:] for row in rows]
        on_row(rows[0])
        try:
            for index, samples, rate in iter_sound_ranges(self.film, ranges, stream=self.stream):
                flac = encode_flac(samples, rate, 16 if samples.dtype.itemsize == 2 else 24)
                path = sound_path(self.staging, self.clips[rows[index]][0])
                write_atomic(path, _writer(flac))
                on_row(rows[min(index + 1, len(rows) - 1)])
        except MediaError as error:
            for row in rows:  # what came before the broken place is whole
                if not sound_path(self.staging, clip_id := self.clips[row][0]).is_file():
                    _write_error(self.staging, clip_id, error.message)


@dataclass(frozen=True)
class PictureJob(CutJob):
    """The picture of some clips of a film, each as one mp4."""

    def cut(self, rows: Sequence[int], on_row: Callable[[int], None]) -> None:
        """Cuts each clip on its own."""
        from cineforge_hf.media import cut_clip

        for row in rows:
            on_row(row)
            clip_id, start, end = self.clips[row]
            try:
                cut_clip(self.film, start, end, audio_stream=self.stream, destination=picture_path(self.staging, clip_id))
            except MediaError as error:
                _write_error(self.staging, clip_id, error.message)


def _writer(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def _write_error(staging: Path, clip_id: str, message: str) -> None:
    write_json(staging / f"{clip_id}.error.json", {"message": message})
