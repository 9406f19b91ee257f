"""`export` and `validate`: runs to datasets, and datasets to findings."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from cineforge_hf.cli import OK, SOME_FAILED
from cineforge_hf.executors.local import LocalExecutor
from cineforge_hf.runs.progress import Progress
from cineforge_hf.runs.store import Run


def export(options: argparse.Namespace) -> int:
    """Exports runs."""
    from cineforge_hf.dataset_scripts.export import export_dataset

    runs = [Run.open(Path(path)) for path in options.runs]
    with LocalExecutor(options.workers) as executor:
        result = export_dataset(runs, Path(options.output), executor, Progress(Console(stderr=True)), options.overwrite)
    state = " (up to date, nothing was written)" if result.up_to_date else ""
    console = Console(soft_wrap=True)
    counts = f"{_count(result.accepted, 'clip')} accepted, {_count(result.rejected, 'row')} rejected"
    console.print(f"{result.path}: {counts}{state}", highlight=False, markup=False)
    console.print(
        f'open it: load_dataset("{result.path if result.path.is_absolute() else f"./{result.path}"}")',
        highlight=False,
        markup=False,
    )
    return OK


def validate(options: argparse.Namespace) -> int:
    """Validates a dataset folder."""
    from cineforge_hf.dataset_scripts.validate import validate_dataset

    console = Console(soft_wrap=True)
    found = 0
    for finding in validate_dataset(Path(options.dataset)):
        found += 1
        console.print(f"{finding.where}: {finding.message}", highlight=False, markup=False)
    console.print(
        f"{options.dataset}: {_count(found, 'finding')}" if found else f"{options.dataset}: valid", highlight=False, markup=False
    )
    return SOME_FAILED if found else OK


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
