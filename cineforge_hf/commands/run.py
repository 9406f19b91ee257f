"""`run`, `retry`, `status` and `prune`: everything about a run directory."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cineforge_hf.cli import OK, SOME_FAILED
from cineforge_hf.errors import SystemicError
from cineforge_hf.executors.local import LocalExecutor
from cineforge_hf.recipe import Recipe, load_recipe
from cineforge_hf.runs.plan import Plan
from cineforge_hf.runs.progress import Progress
from cineforge_hf.runs.prune import prunable
from cineforge_hf.runs.prune import prune as prune_run
from cineforge_hf.runs.runner import RunOptions, films_now, pending, prepare, run_recipe
from cineforge_hf.runs.status import StageStatus, failures, folder_size, run_status
from cineforge_hf.runs.store import Run

# Lines of failures shown after a run; `status` shows them all.
_FAILURES_SHOWN = 20


def run(options: argparse.Namespace) -> int:
    """Runs a recipe."""
    recipe = load_recipe(options.recipe, options.set)
    wanted = RunOptions(options.input, options.lang, options.until, options.limit, device=options.device)
    if options.dry_run:
        return _dry_run(Path(options.output), recipe, wanted)
    return execute(Path(options.output), recipe, wanted, options.workers, options.gpus)


def retry(options: argparse.Namespace) -> int:
    """Does failed rows again."""
    path = Path(options.run)
    recipe = Run.open(path).recipe
    return execute(path, recipe, RunOptions(retry=True, device=options.device), options.workers, options.gpus)


def execute(path: Path, recipe: Recipe, wanted: RunOptions, workers: int | None, gpus: Sequence[int]) -> int:
    """Runs a recipe, shows what came of it, and returns the exit code."""
    console = Console(stderr=True)
    try:
        with LocalExecutor(workers, gpus) as executor:
            run_recipe(path, recipe, wanted, executor, Progress(console))
    except SystemicError as error:
        raise SystemicError(f"{error}; what is finished is kept in {path}, and the same command goes on from there") from error
    opened = Run.open(path)
    lines = run_status(opened)
    Console().print(status_table(lines))
    return _show_failures(opened, _FAILURES_SHOWN)


def status(options: argparse.Namespace) -> int:
    """Shows the state of a run."""
    opened = Run.open(Path(options.run))
    console = Console()
    if options.rejected:
        from cineforge_hf.runs.rows import rejected_rows

        for row in rejected_rows(opened):
            console.print(f"{row['clip_id'] or row['source']}: {', '.join(row['reject_reasons'])}", highlight=False, markup=False)
        return OK
    if options.html:
        from cineforge_hf.runs.report import write_report

        write_report(opened, Path(options.html))
        console.print(f"wrote {options.html}", highlight=False, markup=False)
    lines = run_status(opened)
    console.print(status_table(lines))
    old = sum(folder_size(p) if p.is_dir() else p.stat().st_size for p in prunable(opened))
    if old:
        console.print(f"{_size(old)} of earlier settings: `cineforge prune {options.run}` removes them", highlight=False)
    return _show_failures(opened, None)


def prune(options: argparse.Namespace) -> int:
    """Removes what earlier settings left."""
    console = Console()
    targets = prune_run(Path(options.run), options.dry_run)
    for target in targets:
        console.print(f"{'would remove' if options.dry_run else 'removed'} {target}", highlight=False, markup=False)
    if not targets:
        console.print("nothing to remove")
    return OK


def status_table(lines: Sequence[StageStatus]) -> Table:
    """The stages of a run as a table for people."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("stage", "key"):
        table.add_column(name, no_wrap=True)
    for name in ("tasks", "ok", "failed", "skipped", "time", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state")
    for line in lines:
        done = f"{line.tasks - line.todo}/{line.tasks}" if line.todo else str(line.tasks)
        failed = f"[red]{line.failed}[/red]" if line.failed else "0"
        table.add_row(
            line.name,
            line.key,
            done,
            str(line.ok),
            failed,
            str(line.skipped),
            f"{line.seconds:.1f} s",
            _size(line.bytes),
            _state(line),
        )
    return table


def _state(line: StageStatus) -> str:
    reasons = "; ".join(f"{why} ({count})" if count > 1 else why for why, count in line.why.items())
    if line.after:
        return f"waits for {', '.join(line.after)}"
    if line.todo:
        return f"to do: {reasons}"
    return f"done: {reasons}" if reasons else "done"


def _show_failures(opened: Run, limit: int | None) -> int:
    console = Console(stderr=True)
    found = 0
    for found, failure in enumerate(failures(opened), start=1):
        if limit is None or found <= limit:
            where = f"{failure.clip_id} of {failure.source}: " if failure.clip_id else f"{failure.source}: "
            where = "" if failure.message.startswith(where) else where  # most messages name the film themselves
            console.print(
                f"{failure.stage}: {where}{failure.message} [{failure.code}]", highlight=False, markup=False, soft_wrap=True
            )
    if limit is not None and found > limit:
        console.print(f"... and {found - limit} more: cineforge status {opened.path}", highlight=False, markup=False)
    return SOME_FAILED if found else OK


def _dry_run(path: Path, recipe: Recipe, wanted: RunOptions) -> int:
    planned = prepare(path, recipe, wanted)
    console = Console()
    known = {entry["path"] for entry in planned.film_paths()["films"].values()}
    new = [film.path for film in films_now(planned, wanted) if str(film.path.absolute()) not in known]
    console.print(
        f"{len(known)} films known, {len(new)} new: {', '.join(p.name for p in new[:10])}", highlight=False, markup=False
    )
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("stage", "tasks to do", "why"):
        table.add_column(name)
    plan = Plan(planned)
    for item in pending(planned, wanted.until):
        total = len(plan.tasks(item.stage) or ())
        why = sorted({task.why for task in item.todo})
        why += [f"waits for {', '.join(item.after)}"] if item.after else []
        why += ["new films"] if new else []
        table.add_row(item.stage.name, f"{len(item.todo)} of {total}", "; ".join(why) or "done")
    console.print(table)
    return OK


def _size(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
