"""One task, done in a worker: read rows, run the stage, write shards, then the marker."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cineforge_hf.films import without_root
from cineforge_hf.processor import Processor, Row
from cineforge_hf.runs.plan import Task, film_of, input_stages
from cineforge_hf.runs.store import Marker, Run, Shard, StageStore, film_shard

# Rows of a clip shard: small enough that a kill loses little, large enough to fill a batch.
SHARD_ROWS = 32


@dataclass(frozen=True)
class TaskSpec:
    """A task as it travels to a worker.

    Args:
        task: the task.
        sources: for each stage that is read, the columns wanted of it.
        films: of the films concerned, where they are: {film_id: {"path", "subtitles", "row"}}.
        generation: the run's generation, for the marker.
        poisoned: rows that killed a worker: index to what happened. They get an error and are not tried again.
        isolated: process row by row and report each, to learn which one kills the worker.
    """

    task: Task
    sources: Sequence[tuple[StageStore, tuple[str, ...]]]
    films: Mapping[str, Any]
    generation: int
    poisoned: Mapping[int, str] = field(default_factory=dict)
    isolated: bool = False

    @property
    def label(self) -> str:
        """What to call the task in messages."""
        return f"{self.task.stage.name} {self.task.name}"

    def run(self, on_row: Callable[[int], None]) -> Marker:
        """Does the task and commits it."""
        return run_task(self, on_row)

    def isolate(self, row: int | None, message: str) -> TaskSpec:
        """The same task row by row, without a row that killed its worker."""
        poisoned = dict(self.poisoned) if row is None else {**self.poisoned, row: message}
        return replace(self, poisoned=poisoned, isolated=True)


def task_spec(run: Run, task: Task, films: Mapping[str, Any]) -> TaskSpec:
    """Gathers what a worker needs to know to do a task."""
    processor = task.stage.processor
    if processor is None:
        raise ValueError("the films stage has no tasks for workers")
    upstream = input_stages(run, task.stage)
    sources = [(stage, tuple(c for c in stage.columns if c in processor.reads)) for stage in upstream]
    wanted = {film_of(shard) for shard in task.shards}
    return TaskSpec(task, sources, {film: films[film] for film in wanted}, run.generation)


def run_task(spec: TaskSpec, on_row: Callable[[int], None]) -> Marker:
    """Does a task and commits it.

    Args:
        spec: the task.
        on_row: told the index of each row before it is processed alone.

    Returns:
        The marker that was written.
    """
    began = time.perf_counter()
    stage, processor = spec.task.stage, _loaded(spec.task.stage)
    by_shard = [(shard, read_rows(spec, shard)) for shard in spec.task.shards]
    rows = [row for _, shard_rows in by_shard for row in shard_rows]
    done: dict[int, list[Row]] = {i: [{"errors": [_died(stage, message)]}] for i, message in spec.poisoned.items()}
    if spec.task.redo_failed_only:
        done |= _kept(spec)
    todo = [i for i in range(len(rows)) if i not in done]
    report = (lambda k: on_row(todo[k])) if spec.isolated else None
    done |= dict(zip(todo, processor.run([rows[i] for i in todo], report), strict=True))
    _hide_paths(spec, rows, done)
    outputs = [done[i] for i in range(len(rows))]
    shards = _write(spec, by_shard, rows, outputs)
    written = [new for produced in outputs for new in produced]
    marker = Marker(
        task=spec.task.name,
        shards=tuple(shards),
        inputs=dict(spec.task.inputs),
        ok=sum(bool(new.get("provenance")) for new in written),
        failed=sum(bool(new.get("errors")) for new in written),
        skipped=sum(not (new.get("provenance") or new.get("errors")) for new in written),
        generation=spec.generation,
        why=spec.task.why,
        seconds=round(time.perf_counter() - began, 3),
        errors=dict(sorted(Counter(e["code"] for new in written for e in new.get("errors") or ()).items())),
    )
    stage.commit(marker)
    return marker


def read_rows(spec: TaskSpec, shard: str) -> list[Row]:
    """The rows of a shard with the columns that the stage reads, joined from the stages that own them.

    Film columns are repeated for each clip. `source` and `subtitles` become absolute paths.
    """
    processor = spec.task.stage.processor
    assert processor is not None  # noqa: S101 (tells the type checker what task_spec made sure of)
    at_film_level = spec.task.stage.level == "film" or processor.explodes
    rows: list[Row] = []
    film: Row = {}
    for stage, columns in spec.sources:
        if stage.level == "film":
            film |= stage.read(film_shard(film_of(shard)), ("film_id", *columns))[0]
        else:
            part = stage.read(shard, (*stage.keys, *(c for c in columns if c not in stage.keys)))
            rows = rows or [{} for _ in part]
            for row, new in zip(rows, part, strict=True):
                if row.get("clip_id", new["clip_id"]) != new["clip_id"]:
                    raise ValueError(f"{stage.folder}/{shard}: rows out of order; remove this shard and run again")
                row |= new
    place = spec.films[film_of(shard)]
    if "source" in film:
        film["source"] = place["path"]
    if film.get("subtitles"):
        film["subtitles"] = [{**s, "path": p} for s, p in zip(film["subtitles"], place["subtitles"], strict=True)]
    return [film] if at_film_level else [{**film, **row} for row in rows]


def _hide_paths(spec: TaskSpec, rows: Sequence[Row], done: Mapping[int, list[Row]]) -> None:
    for i, row in enumerate(rows):
        film = spec.films[row["film_id"]]
        for error in (e for new in done[i] for e in new.get("errors") or ()):
            error["message"] = without_root(error["message"], film["path"], film["row"]["label"])


def _kept(spec: TaskSpec) -> dict[int, list[Row]]:
    """Rows of the old shards that were well, by index; none where the stage has to see all of them together."""
    stage, old = spec.task.stage, spec.task.stage.marker(spec.task.name)
    assert old is not None and stage.processor is not None  # noqa: S101 (only a finished task is retried)
    if stage.processor.explodes or stage.processor.scope != "row":
        return {}
    rows = [row for shard in old.shards for row in stage.read(shard.name, stage.schema.names)]
    return {i: [row] for i, row in enumerate(rows) if not row["errors"]}


def _write(
    spec: TaskSpec, by_shard: Sequence[tuple[str, list[Row]]], rows: Sequence[Row], outputs: Sequence[list[Row]]
) -> list[Shard]:
    stage = spec.task.stage
    keyed = [
        [{**{key: row.get(key) for key in stage.keys if key in row}, **new} for new in produced]
        for row, produced in zip(rows, outputs, strict=True)
    ]
    if stage.processor and stage.processor.explodes:
        clips = [clip for produced in keyed for clip in produced]
        starts = range(0, max(len(clips), 1), SHARD_ROWS)
        film = film_of(spec.task.shards[0])
        return [stage.write_shard(f"{film}-{i:03d}", clips[at : at + SHARD_ROWS]) for i, at in enumerate(starts)]
    shards, at = [], 0
    for name, shard_rows in by_shard:
        part = [new for produced in keyed[at : at + len(shard_rows)] for new in produced]
        shards.append(stage.write_shard(name, part))
        at += len(shard_rows)
    return shards


def _died(stage: StageStore, message: str) -> Row:
    return {"stage": stage.name, "code": "worker_died", "message": message}


_PROCESSORS: dict[tuple[str, Path], Processor] = {}


def _loaded(stage: StageStore) -> Processor:
    """The stage's processor of this process, so that its engines load once however many tasks it does."""
    assert stage.processor is not None  # noqa: S101 (task_spec made sure)
    key = (stage.processor.key, stage.folder)
    if key not in _PROCESSORS:
        _PROCESSORS.clear()  # stages run one after another: the engines of the last one are no longer needed
        _PROCESSORS[key] = stage.processor
    return _PROCESSORS[key]
