"""`doctor` and `demo`: is this machine fit, and what does it all look like."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cineforge_hf.cli import OK, STOPPED
from cineforge_hf.errors import UsageError
from cineforge_hf.runs.files import read_json

_DEMO_MARK = "cineforge-demo.json"


def doctor(options: argparse.Namespace) -> int:
    """Checks the machine."""
    from cineforge_hf import env

    groups = {"machine": list(env.machine()), "packages": list(env.packages()), "engines": list(env.engines())}
    console = Console(soft_wrap=options.json)
    if options.json:
        console.print_json(json.dumps({name: [asdict(check) for check in checks] for name, checks in groups.items()}))
    else:
        for name, checks in groups.items():
            table = Table(title=name, title_justify="left", box=None, header_style="bold", pad_edge=False)
            for column in ("", "state", "found", "for", "fix"):
                table.add_column(column)
            for check in checks:
                colour = "green" if check.state == "ok" else "red"
                facts = [escape(fact) for fact in (check.detail, check.needed_for, check.fix)]
                table.add_row(escape(check.name), f"[{colour}]{check.state}[/{colour}]", *facts)
            console.print(table, "")
    needed = [*groups["machine"], *groups["packages"]]  # an engine that is not installed may not be wanted
    return OK if all(check.state == "ok" for check in needed) else STOPPED


def demo(options: argparse.Namespace) -> int:
    """Runs the sample film through everything that is there."""
    from cineforge_hf.commands.run import execute
    from cineforge_hf.dataset_scripts.export import export_dataset
    from cineforge_hf.executors.local import LocalExecutor
    from cineforge_hf.recipe import load_recipe
    from cineforge_hf.runs.progress import Progress
    from cineforge_hf.runs.report import write_report
    from cineforge_hf.runs.runner import RunOptions
    from cineforge_hf.runs.store import Run

    began = time.perf_counter()
    folder = Path(options.output)
    if folder.exists() and read_json(folder / _DEMO_MARK) is None:
        raise UsageError(f"{folder}: is there and no demo made it; choose another --output")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _DEMO_MARK).write_text("{}\n", encoding="utf-8")
    console = Console()
    console.print("A bundled sample film, the recipe `offline`: nothing is downloaded.", highlight=False)
    with resources.as_file(resources.files("cineforge_hf.assets")) as assets:
        run, dataset = folder / "run", folder / "cinedub-demo"
        code = execute(run, load_recipe("offline"), RunOptions([str(assets / "sample_film.mp4")]), options.workers, ())
        with LocalExecutor(options.workers) as executor:
            export_dataset([Run.open(run)], dataset, executor, Progress(console), overwrite=True)
        write_report(Run.open(run), folder / "report.html")
    _show(console, dataset)
    console.print(f"\nreport   {folder / 'report.html'}\ndataset  {dataset}\nrun      {run}", highlight=False)
    console.print(
        f"{time.perf_counter() - began:.0f} seconds. Your films: cineforge run offline --input FOLDER --output RUN",
        highlight=False,
    )
    return code


def _show(console: Console, folder: Path) -> None:
    """Opens the dataset as any user would, and shows its rows."""
    from datasets import load_dataset

    clips: Any = load_dataset(str(folder), split="train")
    table = Table(
        title=f'load_dataset("{folder}", split="train")', title_justify="left", box=None, header_style="bold", pad_edge=False
    )
    for column in ("clip_id", "start", "seconds", "text", "sound"):
        table.add_column(column, overflow="fold")
    for clip in clips:
        sound = clip["audio"].get_all_samples()
        shape = f"{sound.data.shape[0]} x {sound.data.shape[1]} at {sound.sample_rate} Hz"
        table.add_row(clip["clip_id"], f"{clip['start']:.2f}", f"{clip['duration']:.2f}", clip["text"], shape)
    console.print(table)
