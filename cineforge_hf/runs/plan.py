"""What is to be done, and why: compares a run's markers with what they should be. Reads only.

A task covers one input shard (scope `row`), all shards of a title (`film`) or all (`dataset`). It is done when its
marker's shards are whole and its inputs are the ones that it would read now. Nothing else decides: added films,
changed settings and `retry` are the same mechanism.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cineforge_hf import schema
from cineforge_hf.errors import UsageError
from cineforge_hf.runs.files import read_json
from cineforge_hf.runs.fingerprint import explain_change, stage_identity
from cineforge_hf.runs.store import FILMS, Marker, Run, StageStore, film_shard


@dataclass(frozen=True)
class Task:
    """A unit of work of one stage.

    Args:
        stage: the stage's store.
        name: the task's name, and its marker's.
        shards: names of the shards whose rows it reads.
        inputs: `stage/shard` to hash, for every shard that it reads.
        why: why it has to run; empty when it is done.
        redo_failed_only: whether rows of the old shards that are well can be kept.
    """

    stage: StageStore
    name: str
    shards: tuple[str, ...]
    inputs: Mapping[str, str]
    why: str
    redo_failed_only: bool = False


class Plan:
    """The tasks of a run, stage by stage, as the markers stand now.

    Args:
        run: the run.
        thorough: read every shard to find damage; otherwise only lengths are compared.
    """

    def __init__(self, run: Run, thorough: bool = False) -> None:
        self.run = run
        self.thorough = thorough
        self.films = run.film_ids()
        self._markers: dict[str, dict[str, Marker]] = {}
        self._shas: dict[str, dict[str, str]] = {}

    def markers(self, stage: StageStore) -> dict[str, Marker]:
        """Markers of a stage, read once."""
        if stage.name not in self._markers:
            self._markers[stage.name] = stage.markers()
        return self._markers[stage.name]

    def refresh(self, stage: StageStore) -> None:
        """Forgets what was read of a stage, after its tasks ran."""
        self._markers.pop(stage.name, None)
        self._shas.pop(stage.name, None)

    def layout(self, stage: StageStore) -> dict[str, list[str]] | None:
        """Names of the shards that a stage reads, by film; None while the stage that makes the clips is unfinished."""
        processor = stage.processor
        if stage.level == "film" or (processor and processor.explodes):
            return {film: [film_shard(film)] for film in self.films}
        return self.shards_of(self.exploder)

    def shards_of(self, stage: StageStore) -> dict[str, list[str]] | None:
        """Names of the shards that a stage made, by film; None while it is unfinished."""
        if stage.level == "film":
            return {film: [film_shard(film)] for film in self.films}
        markers = self.markers(self.exploder)
        if any(film_shard(film) not in markers for film in self.films):
            return None
        return {film: [shard.name for shard in markers[film_shard(film)].shards] for film in self.films}

    @property
    def exploder(self) -> StageStore:
        """The stage that makes clips of films.

        Raises:
            UsageError: the recipe has none.
        """
        for stage in self.run.stages:
            if stage.processor and stage.processor.explodes:
                return stage
        raise UsageError(
            f"{self.run.path}: recipe {self.run.recipe.name} has no stage that makes clips of films, such as segment"
        )

    def finished(self, stage: StageStore) -> list[Marker]:
        """Markers of the tasks that count now: films and clips that belong to the run, made of what is there."""
        markers = self.markers(stage)
        if stage.processor is None:
            return [markers[name] for film in self.films if (name := film_shard(film)) in markers]
        return [markers[task.name] for task in self.tasks(stage) or () if not task.why or task.redo_failed_only]

    def tasks(self, stage: StageStore) -> list[Task] | None:
        """All tasks of a stage with their state, or None while it waits for an earlier stage."""
        layout = self.layout(stage)
        if layout is None:
            return None
        tasks = []
        for name, shards in self._group(stage, layout):
            inputs = self._inputs(stage, shards)
            if inputs is None:
                return None
            why, redo_failed_only = self._why(stage, name, inputs)
            tasks.append(Task(stage, name, tuple(shards), inputs, why, redo_failed_only))
        return tasks

    def _group(self, stage: StageStore, layout: Mapping[str, list[str]]) -> Iterator[tuple[str, list[str]]]:
        scope = stage.processor.scope if stage.processor else "row"
        if scope == "row":
            yield from ((shard, [shard]) for shards in layout.values() for shard in shards)
        elif scope == "dataset":
            yield "dataset", [shard for shards in layout.values() for shard in shards]
        else:
            titles: dict[str, list[str]] = {}
            for film, shards in layout.items():
                titles.setdefault(self._title(film), []).extend(shards)
            for title, shards in titles.items():
                yield f"title-{hashlib.sha256(title.encode()).hexdigest()[:12]}", shards

    def _title(self, film: str) -> str:
        row = self.run.stages[0].read(film_shard(film), ["title"])[0]
        return str(row["title"])

    def _inputs(self, stage: StageStore, shards: list[str]) -> dict[str, str] | None:
        inputs = {}
        for upstream in input_stages(self.run, stage):
            known = self._sha_by_shard(upstream)
            for shard in shards:
                name = film_shard(film_of(shard)) if upstream.level == "film" else shard
                if name not in known:
                    return None
                inputs[f"{upstream.name}/{name}"] = known[name]
        return inputs

    def _sha_by_shard(self, stage: StageStore) -> dict[str, str]:
        if stage.name not in self._shas:
            markers = self.markers(stage).values()
            self._shas[stage.name] = {shard.name: shard.sha256 for marker in markers for shard in marker.shards}
        return self._shas[stage.name]

    def _why(self, stage: StageStore, name: str, inputs: Mapping[str, str]) -> tuple[str, bool]:
        marker = self.markers(stage).get(name)
        if marker is None:
            return self._why_new(stage, name), False
        if damage := stage.damage(marker, self.thorough):
            return damage, False
        if dict(marker.inputs) != dict(inputs):
            changed = {key.split("/")[0] for key in {*inputs, *marker.inputs} if inputs.get(key) != marker.inputs.get(key)}
            ordered = [s.name for s in self.run.stages if s.name in changed] or sorted(changed)
            return f"its input changed: {', '.join(ordered)}", False
        if marker.failed and marker.generation < self.run.generation:
            return "retry of failed rows", True
        return "", False

    def _why_new(self, stage: StageStore, name: str) -> str:
        if stage.processor is None:
            return "new film"
        identity = stage_identity(stage.processor)
        for folder in _other_folders(stage):
            if (folder / f"{name}.json").is_file() and isinstance(old := read_json(folder / "stage.json"), dict):
                return f"settings changed: {explain_change(old, identity)}"
        return "new" if not self.markers(stage) else "not finished, or a new film"


def input_stages(run: Run, stage: StageStore) -> list[StageStore]:
    """The stages whose shards a stage reads: owners of its columns, and the one that decides which rows there are."""
    processor = stage.processor
    if processor is None:
        return []
    at_film_level = stage.level == "film" or processor.explodes
    layout_owner = FILMS if at_film_level else next(s.name for s in run.stages if s.processor and s.processor.explodes)
    owners = {schema.COLUMNS[c].owner for c in processor.reads} | {layout_owner}
    earlier = run.stages[: [s.name for s in run.stages].index(stage.name)]
    return [s for s in earlier if s.name in owners]


@cache
def film_of(shard: str) -> str:
    """The film that a shard's name belongs to."""
    return shard.rsplit("-", 1)[0]


def _other_folders(stage: StageStore) -> list[Path]:
    """Folders of the same stage under other keys, the newest first."""
    folders = [
        p for p in stage.folder.parent.glob(f"{stage.name}-????????") if p != stage.folder and (p / "stage.json").is_file()
    ]
    return sorted(folders, key=lambda p: (p / "stage.json").stat().st_mtime, reverse=True)
