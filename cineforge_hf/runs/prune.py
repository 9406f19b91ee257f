"""Removes what a finished run no longer needs: stages under old keys, shards and media that no marker names.

Only for a caller that asked for it: old stages are what makes going back to old settings free.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from cineforge_hf.errors import UsageError
from cineforge_hf.runs.lock import run_lock
from cineforge_hf.runs.media_store import FOLDER
from cineforge_hf.runs.plan import Plan
from cineforge_hf.runs.runner import pending
from cineforge_hf.runs.store import Run


def prunable(run: Run) -> list[Path]:
    """Folders and files that the run as it stands does not use, sorted."""
    current = {stage.folder for stage in run.stages}
    old = [p for p in run.path.iterdir() if p.is_dir() and p not in current and (p / "stage.json").is_file()]
    plan = Plan(run)
    stray: list[Path] = []
    media: set[str] = set()
    for stage in run.stages:
        markers = plan.finished(stage)
        shards = [shard for marker in markers for shard in marker.shards]
        media.update(name for shard in shards for name in shard.media)
        named = {f"{shard.name}.parquet" for shard in shards} | {f"{marker.task}.json" for marker in markers} | {"stage.json"}
        stray += [path for path in stage.folder.glob("*") if path.name not in named]
    stray += [path for path in (run.path / FOLDER).glob("*") if f"{FOLDER}/{path.name}" not in media]
    return sorted([*old, *stray])


def prune(path: Path, dry_run: bool = False) -> list[Path]:
    """Removes what `prunable` lists and returns it.

    Raises:
        UsageError: the run is unfinished or in use; nothing was removed.
    """
    run = Run.open(path)
    with run_lock(path):
        if any(item.todo or item.after for item in pending(run)):
            raise UsageError(f"{path}: unfinished; finish it first (cineforge run), so that nothing still needed is removed")
        targets = prunable(run)
        for target in targets if not dry_run else ():
            shutil.rmtree(target) if target.is_dir() else target.unlink()
    return targets
