"""Runs a recipe over films: scan, then stage after stage, each task committed on its own.

The runner adds to `Dataset.map` only what it lacks: small shards, atomic commits, resume, error accounting, progress.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cineforge_hf.errors import SystemicError, UsageError
from cineforge_hf.executors import Executor
from cineforge_hf.films import FilmFile, film_row, find_films, mark_duplicates, without_root
from cineforge_hf.recipe import Recipe
from cineforge_hf.runs.files import read_json, remove_leftovers, write_json
from cineforge_hf.runs.fingerprint import stage_identity
from cineforge_hf.runs.lock import run_lock
from cineforge_hf.runs.plan import Plan, Task, input_stages
from cineforge_hf.runs.progress import Progress
from cineforge_hf.runs.store import Marker, Run, StageStore, film_shard
from cineforge_hf.runs.task import task_spec

logger = logging.getLogger(__name__)

# The same unexpected failure this many times in a row is not about the rows.
MAX_EQUAL_FAILURES = 20


@dataclass(frozen=True)
class RunOptions:
    """What a run is asked to do.

    Args:
        inputs: folders, films or manifests; empty to use those of the run.
        lang: language of films that do not say theirs; None for the recipe's.
        until: name of the last stage to do; None for all.
        limit: number of films to take; None for all.
        retry: do rows that failed again.
        device: `auto`, `cpu` or `cuda`.
    """

    inputs: Sequence[str] = ()
    lang: str | None = None
    until: str | None = None
    limit: int | None = None
    retry: bool = False
    device: str = "auto"


@dataclass
class StageSummary:
    """What a stage did in this run: tasks done now, tasks that were done before, and why it ran."""

    name: str
    done: int = 0
    kept: int = 0
    why: dict[str, int] = field(default_factory=dict)


def run_recipe(path: Path, recipe: Recipe, options: RunOptions, executor: Executor, progress: Progress) -> list[StageSummary]:
    """Runs a recipe into a run directory, or goes on where it stopped.

    Returns:
        One summary per stage that was reached.

    Raises:
        UsageError: something is wrong before any work.
        SystemicError: the run stopped; it goes on where it stood with the same command.
    """
    run = prepare(path, recipe, options)
    stages = wanted_stages(run, options.until)
    for stage in stages:
        if stage.processor:
            stage.processor.check()
    files = films_now(run, options)
    path.mkdir(parents=True, exist_ok=True)
    with run_lock(path):
        remove_leftovers(path)
        if options.retry and not _retry_unfinished(run):
            run.generation += 1
        run.save()  # first of all: a run that is killed from here on is one that can go on
        scan(run, files, options.lang or recipe.lang, progress)
        plan = Plan(run, thorough=True)
        return [_run_stage(run, plan, stage, executor, progress) for stage in stages]


def prepare(path: Path, recipe: Recipe, options: RunOptions) -> Run:
    """The run as it would be with this recipe and these inputs; writes nothing.

    Raises:
        UsageError: the recipe cannot work, or the folder holds something else.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path}: a file stands where the run would go; choose another --output")
    processors = recipe.processors(options.device)
    old = read_json(path / "run.json") if path.is_dir() else None
    if old is None and path.is_dir() and any(p.name not in {"lock", "films.json"} for p in path.iterdir()):
        raise UsageError(f"{path}: a folder that is not a run and not empty; choose another --output")
    run = Run(path, recipe, processors)
    if old is not None:
        before = Run.open(path, options.device)
        run.inputs, run.generation = before.inputs, before.generation
    run.inputs += [p for given in options.inputs if (p := str(Path(given).absolute())) not in run.inputs]
    if not run.inputs:
        raise UsageError("no films: give --input with folders, films or a manifest")
    return run


def wanted_stages(run: Run, until: str | None) -> list[StageStore]:
    """The stages to do, without the films, up to and including `until`."""
    names = [stage.name for stage in run.stages[1:]]
    if until is None:
        return run.stages[1:]
    if until not in names:
        raise UsageError(f"--until {until}: the recipe's stages are {', '.join(names)}")
    return run.stages[1 : names.index(until) + 2]


def films_now(run: Run, options: RunOptions) -> list[FilmFile]:
    """The film files that the run's inputs hold now. Inputs of earlier calls may be gone; those given now may not.

    Raises:
        UsageError: an input that is given now does not exist, holds no film, or is a manifest with a mistake.
    """
    given = {str(Path(p).absolute()) for p in options.inputs}
    return list(find_films(run.inputs, remembered=set(run.inputs) - given))[: options.limit]


def scan(run: Run, files: Sequence[FilmFile], lang: str, progress: Progress) -> None:
    """Brings the films of the run up to date with the files that are there.

    Films whose path is gone stay, unless they lie elsewhere now or could not be used anyway; a path with another content
    is another film.
    """
    known = run.film_paths()
    hashes = known["hashes"]
    by_path = {entry["path"]: entry["row"] for entry in known["films"].values()}
    plan = Plan(run)
    with progress.bytes("films", sum(f.path.stat().st_size for f in files if f.path.is_file())) as advance:
        for file in files:
            row = film_row(file, lang, hashes, lambda _, n: advance(n))
            by_path[row["source"]] = row
    rows = mark_duplicates(sorted(_kept(run, plan, by_path), key=lambda row: (row["label"], row["source"])))
    labels = {row["film_id"]: row["label"] for row in rows}
    for row in rows:
        if row["duplicate_of"]:
            logger.info("%s: the same file as %s; taken once", row["label"], labels[row["duplicate_of"]])
    films = {
        row["film_id"]: {"path": row["source"], "subtitles": [s["path"] for s in row["subtitles"]], "row": row} for row in rows
    }
    _write_json_if_changed(run.path / "films.json", {"films": films, "hashes": hashes})
    for row in rows:
        _write_film(run.stages[0], plan, row)


def _kept(run: Run, plan: Plan, by_path: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The films that belong to the run: those that are there, and those that were of use and are not there elsewhere."""
    here = {path for path in by_path if os.path.lexists(path)}
    contents = {by_path[path]["sha256"] for path in here} | {None}
    return [
        row for path, row in by_path.items() if path in here or (row["sha256"] not in contents and _was_of_use(run, plan, row))
    ]


def _was_of_use(run: Run, plan: Plan, row: Mapping[str, Any]) -> bool:
    markers = [plan.markers(stage).get(film_shard(row["film_id"])) for stage in run.stages if stage.level == "film"]
    return not any(marker and marker.failed for marker in markers)


def _write_film(store: StageStore, plan: Plan, row: dict[str, Any]) -> None:
    name = film_shard(row["film_id"])
    stored = {
        **row,
        "source": row["label"],
        "subtitles": [{**s, "path": Path(s["path"]).name} for s in row["subtitles"]],
        "errors": [{**e, "message": without_root(e["message"], row["source"], row["label"])} for e in row["errors"]],
    }
    inputs = {"row": hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()}
    old = plan.markers(store).get(name)
    if old and old.inputs == inputs and not store.damage(old, thorough=True):
        return
    shard = store.write_shard(name, [stored])
    errors = {error["code"]: 1 for error in row["errors"]}
    marker = Marker(
        name, (shard,), inputs, ok=int(not errors), failed=int(bool(errors)), skipped=0, why="new film", errors=errors
    )
    store.commit(marker)


def _write_json_if_changed(path: Path, value: Any) -> None:
    if read_json(path) != value:
        write_json(path, value)


def _run_stage(run: Run, plan: Plan, stage: StageStore, executor: Executor, progress: Progress) -> StageSummary:
    tasks = plan.tasks(stage)
    if tasks is None:
        raise SystemicError(f"stage {stage.name} waits for a stage that did not finish")
    todo = [task for task in tasks if task.why]
    summary = StageSummary(stage.name, len(todo), len(tasks) - len(todo))
    for task in todo:
        summary.why[task.why] = summary.why.get(task.why, 0) + 1
    if not todo:
        return summary
    assert stage.processor is not None  # noqa: S101 (only the films have none)
    stage.folder.mkdir(parents=True, exist_ok=True)
    _write_json_if_changed(stage.folder / "stage.json", stage_identity(stage.processor))
    for why, count in summary.why.items():
        logger.info("%s: %d task%s, %s", stage.name, count, "s"[: count > 1], why)
    films = run.film_paths()["films"]
    breaker = _Breaker(stage.name)
    with progress.tasks(stage.name, len(todo)) as advance:
        for marker in executor.run([task_spec(run, task, films) for task in todo]):
            breaker.see(stage, marker)
            advance(marker)
    plan.refresh(stage)
    return summary


class _Breaker:
    """Stops a run whose rows all fail in the same unexpected way."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._count = 0

    def see(self, stage: StageStore, marker: Marker) -> None:
        self._count = self._count + marker.errors.get("unexpected", 0) if not marker.ok else 0
        if self._count >= MAX_EQUAL_FAILURES:
            rows = stage.read(marker.shards[-1].name, ["errors"])
            message = next((e["message"] for row in rows for e in row["errors"] if e["code"] == "unexpected"), "no message")
            raise SystemicError(
                f"stage {self._stage} failed for {self._count} rows in a row: {message}; when that is mended: cineforge retry"
            )


def _retry_unfinished(run: Run) -> bool:
    """Whether an earlier `retry` still has rows to do."""
    plan = Plan(run)
    return any(task.redo_failed_only for stage in run.stages[1:] for task in plan.tasks(stage) or ())


@dataclass(frozen=True)
class Pending:
    """What is left of a stage: its unfinished tasks, and the unfinished stages that it waits for."""

    stage: StageStore
    todo: list[Task]
    after: list[str]


def pending(run: Run, until: str | None = None) -> list[Pending]:
    """What a run would do now, stage by stage. Reads only."""
    plan = Plan(run)
    unfinished: set[str] = set()
    result = []
    for stage in wanted_stages(run, until):
        after = [upstream.name for upstream in input_stages(run, stage) if upstream.name in unfinished]
        todo = [task for task in plan.tasks(stage) or () if task.why]
        if after or todo:
            unfinished.add(stage.name)
        result.append(Pending(stage, todo, after))
    return result
