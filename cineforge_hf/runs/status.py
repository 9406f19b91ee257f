"""What a run has done, what is left and why, and what went wrong: numbers for `cineforge status` and for reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cineforge_hf.runs.plan import Plan, film_of
from cineforge_hf.runs.runner import pending
from cineforge_hf.runs.store import Run, film_shard


@dataclass
class StageStatus:
    """One line of the status table.

    Args:
        name, key: the stage and the first 8 digits of its key.
        tasks, todo: tasks in all, and those still to do.
        ok, failed, skipped: rows by outcome.
        seconds: time that the finished tasks took.
        bytes: size of the stage's folder.
        why: reasons of unfinished tasks (or, when all are done, of the last work), with their counts.
        after: unfinished stages that this one waits for.
        errors: error codes with their counts.
    """

    name: str
    key: str
    tasks: int
    todo: int
    ok: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    bytes: int = 0
    why: dict[str, int] = field(default_factory=dict)
    after: list[str] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """One thing that could not be used: the film, the clip if it is one, the stage and what to do."""

    source: str
    clip_id: str | None
    stage: str
    code: str
    message: str


def run_status(run: Run) -> list[StageStatus]:
    """The state of every stage, the films first."""
    plan = Plan(run)
    left = {item.stage.name: item for item in pending(run)}
    lines = []
    for stage in run.stages:
        markers = plan.finished(stage)
        item = left.get(stage.name)
        why = Counter(task.why for task in item.todo) if item and item.todo else Counter(marker.why for marker in markers)
        errors: Counter[str] = Counter()
        for marker in markers:
            errors.update(marker.errors)
        lines.append(
            StageStatus(
                stage.name,
                stage.processor.key[:8] if stage.processor else "",
                tasks=len(plan.tasks(stage) or ()),
                todo=len(item.todo) if item else 0,
                ok=sum(m.ok for m in markers),
                failed=sum(m.failed for m in markers),
                skipped=sum(m.skipped for m in markers),
                seconds=sum(m.seconds for m in markers),
                bytes=folder_size(stage.folder),
                why=dict(why),
                after=item.after if item else [],
                errors=dict(errors),
            )
        )
    return lines


def failures(run: Run) -> Iterator[Failure]:
    """Everything that failed, stage by stage, in the order of the films."""
    plan = Plan(run)
    for stage in run.stages:
        for marker in plan.finished(stage):
            if not marker.failed:
                continue
            for shard in marker.shards:
                film = run.stages[0].read(film_shard(film_of(shard.name)), ["source"])[0]
                for row in stage.read(shard.name, [*stage.keys, "errors"]):
                    for error in row["errors"] or ():
                        yield Failure(film["source"], row.get("clip_id"), error["stage"], error["code"], error["message"])


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
