"""Finished runs to a dataset folder: Parquet with the media inside, opened by `load_dataset` with nothing of ours.

    cinedub-cn/README.md                                  the card, with the configs
    cinedub-cn/data/default/train-00000-of-00007.parquet  text, turns, evidence, and the clip's sound (FLAC)
    cinedub-cn/data/video/train-00000-of-00007.parquet    the clip's picture (mp4): same rows, same order
    cinedub-cn/data/rejected/train-....parquet            the other rows, without media
    cinedub-cn/cinedub.json                               manifest: hashes, row counts, what it was made from

Invariants:
- Clips are cut here and nowhere earlier. A film's sound is decoded once, in one pass.
- The folder appears in one step when it is complete; until then all work is in `.<name>.partial` beside it and is
  resumed from there. Equal runs give equal bytes, whatever the number of workers and interruptions.
- Memory holds one row group, not a film.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from cineforge_hf import __version__, schema
from cineforge_hf.dataset_scripts.card import Summary, write_card
from cineforge_hf.dataset_scripts.cutting import clip_error, cutting_jobs, picture_path, sound_path
from cineforge_hf.dataset_scripts.parquet import RowGroupWriter, published_features
from cineforge_hf.errors import SystemicError, UsageError
from cineforge_hf.executors import Executor
from cineforge_hf.films import without_root
from cineforge_hf.runs.files import read_json, remove_leftovers, sha256_of, sync_folder, write_atomic, write_json
from cineforge_hf.runs.lock import run_lock
from cineforge_hf.runs.plan import Plan, film_of
from cineforge_hf.runs.progress import Progress
from cineforge_hf.runs.rows import FilmRef, clip_rows, list_films, published_columns, reasons
from cineforge_hf.runs.store import Run

EXPORT_VERSION = 1
MANIFEST = "cinedub.json"
# Only while the export works: what it is of, and the clips that wait for their Parquet file.
PLAN = "plan.json"
STAGING = "clips"
# Clips per file: with 11 s clips about 100 MB of picture, well under the Hub's advice for one file.
ROWS_PER_FILE = 256


@dataclass(frozen=True)
class ExportResult:
    """What an export made: the folder, accepted and rejected rows, and whether it was up to date already."""

    path: Path
    accepted: int
    rejected: int
    up_to_date: bool


def export_dataset(
    runs: Sequence[Run], output: Path, executor: Executor, progress: Progress, overwrite: bool = False
) -> ExportResult:
    """Exports finished runs into one dataset folder.

    Args:
        runs: finished runs of one recipe.
        output: the dataset's folder.
        executor: where clips are cut.
        progress: shows how far it is.
        overwrite: replace a dataset that an earlier export made there (the old one stays until the new one is whole).

    Raises:
        UsageError: a run is unfinished, no clip is accepted, a film is gone, or `output` holds something else; nothing was
            changed.
    """
    films = list_films(runs)
    columns = published_columns(runs)
    fingerprint = _fingerprint(runs, films, columns)
    old = _existing(output, overwrite, fingerprint)
    if old:
        return ExportResult(output, old["accepted"], old["rejected"], up_to_date=True)
    target = output.absolute()
    work = target.with_name(f".{target.name}.partial")
    export = _Export(work, films, columns)
    if not export.clips:
        raise UsageError(f"{runs[0].path}: no clip is accepted; `cineforge status {runs[0].path} --rejected` says why")
    _check_films({clip.film.film_id: clip.film for clip in export.clips}.values())
    work.mkdir(parents=True, exist_ok=True)
    with run_lock(work):
        _start(work, fingerprint)
        if not (manifest := _manifest(work, fingerprint)):
            summary = export.run(executor, progress)
            configs = {name: f for name, f in export.features.items() if name != "rejected" or summary.rejected}
            write_card(work / "README.md", target.name, runs, summary, configs)
            counts = {"accepted": summary.accepted, "rejected": summary.rejected}
            manifest = {"version": EXPORT_VERSION, "fingerprint": fingerprint, **counts, "files": _hashes(work)}
            write_json(work / MANIFEST, manifest)
        # From here on everything is there: an export that is killed below only has to tidy up and move.
        shutil.rmtree(work / STAGING, ignore_errors=True)
        for name in (PLAN, "lock"):
            (work / name).unlink(missing_ok=True)
        _publish(work, target)
    return ExportResult(output, manifest["accepted"], manifest["rejected"], up_to_date=False)


@dataclass(frozen=True)
class _Clip:
    """An accepted clip: where its row is, and the range to cut."""

    film: FilmRef
    shard: str
    clip_id: str
    start: float
    end: float


class _Export:
    def __init__(self, work: Path, films: list[FilmRef], columns: list[str]) -> None:
        self.work, self.films, self.columns = work, films, columns
        self.features = published_features(columns)
        self.clips = [
            _Clip(film, shard, row["clip_id"], row["start"], row["end"])
            for film in films
            for shard in film.shards
            for row in clip_rows(film, columns, [shard])
            if row["accept"]
        ]
        self.files = -(-len(self.clips) // ROWS_PER_FILE)

    @property
    def staging(self) -> Path:
        """Where cut clips wait for their Parquet file."""
        return self.work / STAGING

    def run(self, executor: Executor, progress: Progress) -> Summary:
        """Cuts, assembles each file as soon as its clips are there, and writes the rejected rows."""
        todo = [number for number in range(self.files) if not self._assembled(number)]
        number_of = {clip.clip_id: number for number in todo for clip in self._slice(number)}
        jobs = [
            job
            for film, clips in self._by_film(todo)
            for job in cutting_jobs(film.path, film.row["audio_stream"], clips, self.staging)
        ]
        self.staging.mkdir(parents=True, exist_ok=True)  # before the workers: whichever job is first writes there
        left = Counter(number_of[clip_id] for job in jobs for clip_id in job.clip_ids)
        summary = Summary()
        with progress.tasks("cutting", len(jobs)) as advance:
            for number in (n for n in todo if not left[n]):
                self._assemble(number)
            for clip_ids in executor.run(jobs):
                for clip_id in clip_ids:
                    left[number_of[clip_id]] -= 1
                for number in sorted({number_of[clip_id] for clip_id in clip_ids}):
                    if not left[number]:
                        self._assemble(number)
                advance(None)
        self._write_rejected(summary)
        if not summary.accepted:
            first = self.clips[0]
            raise SystemicError(f"{first.film.path}: none of the clips could be cut: {clip_error(self.staging, first.clip_id)}")
        return summary

    def _path(self, config: str, number: int) -> Path:
        return self.work / "data" / config / f"train-{number:05d}-of-{self.files:05d}.parquet"

    def _slice(self, number: int) -> list[_Clip]:
        return self.clips[number * ROWS_PER_FILE : (number + 1) * ROWS_PER_FILE]

    def _assembled(self, number: int) -> bool:
        return all(self._path(config, number).is_file() for config in ("default", "video"))

    def _by_film(self, numbers: list[int]) -> Iterator[tuple[FilmRef, list[tuple[str, float, float]]]]:
        clips = (clip for number in numbers for clip in self._slice(number))
        for _, group in groupby(clips, key=lambda clip: clip.film.film_id):
            same = list(group)
            yield same[0].film, [(clip.clip_id, clip.start, clip.end) for clip in same]

    def _assemble(self, number: int) -> None:
        """Writes one file of each config; clips that could not be cut are left to the rejected rows."""
        clips = [clip for clip in self._slice(number) if not clip_error(self.staging, clip.clip_id)]
        write_atomic(self._path("video", number), lambda path: self._write_video(path, clips))
        write_atomic(self._path("default", number), lambda path: self._write_default(path, clips))
        for clip in clips:
            sound_path(self.staging, clip.clip_id).unlink(missing_ok=True)
            picture_path(self.staging, clip.clip_id).unlink(missing_ok=True)

    def _write_video(self, path: Path, clips: list[_Clip]) -> None:
        with RowGroupWriter(path, self.features["video"]) as writer:
            for clip in clips:
                picture = picture_path(self.staging, clip.clip_id)
                writer.write({"video": {"bytes": picture.read_bytes(), "path": picture.name}})

    def _write_default(self, path: Path, clips: list[_Clip]) -> None:
        with RowGroupWriter(path, self.features["default"]) as writer:
            for (_, shard), group in groupby(clips, key=lambda clip: (clip.film.film_id, clip.shard)):
                same = list(group)
                wanted = {clip.clip_id for clip in same}
                for row in clip_rows(same[0].film, self.columns, [shard]):
                    if row["clip_id"] in wanted:
                        sound = sound_path(self.staging, row["clip_id"])
                        writer.write({**row, "audio": {"bytes": sound.read_bytes(), "path": sound.name}})

    def _write_rejected(self, summary: Summary) -> None:
        """Writes every row that is not in the dataset, with all its reasons, and counts both kinds."""
        path = self.work / "data" / "rejected" / "train-00000-of-00001.parquet"
        write_atomic(path, lambda temporary: self._write_rejected_rows(temporary, summary))
        if not summary.rejected:
            shutil.rmtree(path.parent)  # `load_dataset` cannot open a config without rows

    def _write_rejected_rows(self, path: Path, summary: Summary) -> None:
        with RowGroupWriter(path, self.features["rejected"]) as writer:
            for film in self.films:
                for row in clip_rows(film, self.columns):
                    if row["accept"] and (message := clip_error(self.staging, row["clip_id"])):
                        message = without_root(message, film.path, film.row["source"])
                        failed = {"stage": "export", "code": "cut_failed", "message": message}
                        row |= {"accept": False, "errors": [*row["errors"], failed]}
                    summary.add(row)
                    if not row["accept"]:
                        writer.write({**row, "reject_reasons": reasons(row) or ["no_clips"]})


def _fingerprint(runs: Sequence[Run], films: Sequence[FilmRef], columns: Sequence[str]) -> str:
    """Hash of everything that decides the dataset's bytes: shards, columns, versions; not the place of the runs."""
    shards: list[dict[str, str]] = []
    for run in runs:
        mine, plan = {f.film_id for f in films if f.run is run}, Plan(run)
        done = [(stage, shard) for stage in run.stages for marker in plan.finished(stage) for shard in marker.shards]
        shards.append({f"{stage.name}/{s.name}": s.sha256 for stage, s in done if film_of(s.name) in mine})
    recipes = sorted({run.recipe.name for run in runs})
    facts = [EXPORT_VERSION, schema.SCHEMA_VERSION, __version__, recipes, [f.film_id for f in films], list(columns), shards]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _check_films(films: Iterable[FilmRef]) -> None:
    """Refuses films that are not what the run saw, before anything is cut out of them.

    Raises:
        UsageError: a film is gone, or another file is in its place.
    """
    hashes: dict[Path, dict[str, Any]] = {}
    for film in films:
        path, run = Path(film.path), film.run
        if not path.is_file():
            raise UsageError(f"{path}: the film is gone; tell the run where it is: cineforge run ... --input FOLDER")
        facts = path.stat()
        if run.path not in hashes:
            hashes[run.path] = run.film_paths()["hashes"]
        seen = hashes[run.path].get(film.path)
        if (not seen or seen[:2] != [facts.st_size, facts.st_mtime_ns]) and sha256_of(path) != film.row["sha256"]:
            raise UsageError(
                f"{path}: this file has changed since the run; run it again: cineforge run ... --output {film.run.path}"
            )


def _manifest(work: Path, fingerprint: str) -> dict[str, Any] | None:
    """The manifest of an export that was killed when nothing but tidying up was left."""
    value = read_json(work / MANIFEST)
    return value if isinstance(value, dict) and value.get("fingerprint") == fingerprint else None


def _existing(output: Path, overwrite: bool, fingerprint: str) -> dict[str, Any] | None:
    """The manifest at `output` when it is this very dataset.

    Raises:
        UsageError: something else is there.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return None
    manifest = read_json(output / MANIFEST) if output.is_dir() else None
    if not isinstance(manifest, dict) or "fingerprint" not in manifest:
        raise UsageError(f"{output}: something that no export made is there; choose another --output")
    if manifest["fingerprint"] == fingerprint:
        return manifest
    if not overwrite:
        raise UsageError(f"{output}: an earlier export is there; add --overwrite to replace it, or choose another --output")
    return None


def _start(work: Path, fingerprint: str) -> None:
    """Keeps what an interrupted export of the same rows left, and drops what belongs to other rows."""
    if _manifest(work, fingerprint) is None and read_json(work / PLAN) != {"fingerprint": fingerprint}:
        for leftover in work.iterdir():
            if leftover.name != "lock":
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        write_json(work / PLAN, {"fingerprint": fingerprint})
    remove_leftovers(work)


def _hashes(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted([*(folder / "data").rglob("*.parquet"), folder / "README.md"])
    return {p.relative_to(folder).as_posix(): {"sha256": sha256_of(p), "bytes": p.stat().st_size} for p in files}


def _publish(work: Path, output: Path) -> None:
    """Puts the finished folder in place; a replaced one goes only after the new one stands."""
    replaced = output.with_name(f".{output.name}.replaced")
    if output.is_dir() and any(output.iterdir()):
        shutil.rmtree(replaced, ignore_errors=True)
        output.rename(replaced)
    work.rename(output)
    sync_folder(output.parent)
    shutil.rmtree(replaced, ignore_errors=True)
