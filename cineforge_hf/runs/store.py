"""The files of a run: stages, their shards and markers, and who owns which column.

    run/run.json                               recipe, inputs, generation
    run/films.json                             where each film was last seen, and the cache of content hashes
    run/films/<film_id>-000.parquet            the film rows ("stage" zero)
    run/<stage>-<key8>/stage.json              the stage's identity, to explain why another key came
    run/<stage>-<key8>/<film_id>-<nnn>.parquet row keys and the columns that the stage produces
    run/<stage>-<key8>/<task>.json             marker: written last; without it the task never happened
    run/media/<sha256>.<ext>                   media that stages made

Invariants:
- A marker names the hash of every shard that it vouches for and of every shard that was read to make it.
- A shard's name comes from its film, so adding films renames nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from cineforge_hf import schema
from cineforge_hf.errors import UsageError
from cineforge_hf.processor import Processor
from cineforge_hf.recipe import Recipe
from cineforge_hf.runs.files import read_json, sha256_of, write_atomic, write_json
from cineforge_hf.runs.media_store import holds_media, media_paths, resolve_media, store_media

RUN_VERSION = 1
FILMS = "films"
Level = Literal["film", "clip"]


@dataclass(frozen=True)
class Shard:
    """A finished shard: its name, rows, hash and length in bytes, and the media files (path and length) that it names."""

    name: str
    rows: int
    sha256: str
    size: int
    media: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Marker:
    """What a finished task says of itself.

    Args:
        task: the task's name.
        shards: the shards that it made, in order.
        inputs: `stage/shard` to the hash that was read.
        ok, failed, skipped: rows by outcome.
        errors: how often each error code came.
        generation: the run's generation when the task ran; `retry` raises it.
        why: why the task ran.
        seconds: time it took.
    """

    task: str
    shards: tuple[Shard, ...]
    inputs: Mapping[str, str]
    ok: int
    failed: int
    skipped: int
    generation: int = 0
    why: str = ""
    seconds: float = 0.0
    errors: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class StageStore:
    """The folder of one stage.

    Args:
        name: the stage's name.
        folder: where its shards are.
        level: whether its rows are films or clips.
        columns: the columns it owns.
        processor: the stage; None for the films.
    """

    name: str
    folder: Path
    level: Level
    columns: tuple[str, ...]
    processor: Processor | None = None

    def shard_path(self, name: str) -> Path:
        """Path of a shard by its name."""
        return self.folder / f"{name}.parquet"

    def marker(self, task: str) -> Marker | None:
        """The marker of a task, or None when it never finished."""
        value = read_json(self.folder / f"{task}.json")
        if not isinstance(value, dict) or "shards" not in value:
            return None
        return Marker(**{**value, "shards": tuple(Shard(**shard) for shard in value["shards"])})

    def markers(self) -> dict[str, Marker]:
        """All markers by task, sorted."""
        tasks = sorted(path.stem for path in self.folder.glob("*.json") if path.name != "stage.json")
        return {task: marker for task in tasks if (marker := self.marker(task))}

    def damage(self, marker: Marker, thorough: bool) -> str:
        """Says what is wrong with a marker's shards, or an empty string. `thorough` reads them, else sizes are compared."""
        for shard in marker.shards:
            path = self.shard_path(shard.name)
            if not path.is_file():
                return f"shard {path.name} is missing"
            if path.stat().st_size != shard.size or (thorough and sha256_of(path) != shard.sha256):
                return f"shard {path.name} is damaged"
            for name, size in shard.media.items():
                file = self.folder.parent / name
                if not file.is_file() or file.stat().st_size != size:
                    return f"{name} of shard {path.name} is missing or damaged"
        return ""

    def commit(self, marker: Marker) -> None:
        """Writes the marker: from now on the task is done."""
        write_json(self.folder / f"{marker.task}.json", asdict(marker))

    def write_shard(self, name: str, rows: Sequence[Mapping[str, Any]]) -> Shard:
        """Writes a shard atomically, its large media to the run's media folder, and returns its facts."""
        run = self.folder.parent
        rows = [{f.name: store_media(run, f.type, row.get(f.name)) for f in self.schema} for row in rows]
        files = {path for row in rows for f in self.schema for path in media_paths(f.type, row[f.name])}
        table = pa.Table.from_pylist(rows, schema=self.schema)
        path = self.shard_path(name)
        write_atomic(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))
        media = {file: (run / file).stat().st_size for file in sorted(files)}
        return Shard(name, table.num_rows, sha256_of(path), path.stat().st_size, media)

    def read(self, name: str, columns: Iterable[str]) -> list[dict[str, Any]]:
        """Rows of a shard, some columns only; media paths are absolute."""
        with pq.ParquetFile(self.shard_path(name)) as file:
            table = file.read(columns=list(columns), use_threads=False)  # workers give the parallelism
        rows: list[dict[str, Any]] = table.to_pylist()
        for f in (f for f in table.schema if holds_media(f.type)):
            for row in rows:
                row[f.name] = resolve_media(self.folder.parent, f.type, row[f.name])
        return rows

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The columns that identify a row here."""
        return ("film_id",) if self.level == "film" else ("film_id", "clip_id")

    @cached_property
    def schema(self) -> pa.Schema:
        """Arrow schema of the shards: keys, own columns, append-only columns."""
        own = [c for c in self.columns if c not in self.keys]
        return schema.arrow_schema([*self.keys, *own, *schema.APPEND_ONLY])


@dataclass
class Run:
    """A run directory, opened with a recipe.

    Args:
        path: the directory.
        recipe: the recipe in force.
        processors: its stages.
        inputs: absolute paths that were given as `--input`, oldest first.
        generation: how often `retry` was asked for.
    """

    path: Path
    recipe: Recipe
    processors: list[Processor]
    inputs: list[str] = field(default_factory=list)
    generation: int = 0

    @staticmethod
    def open(path: Path, device: str = "auto") -> Run:
        """Opens an existing run with the recipe that it last ran with.

        Raises:
            UsageError: the folder is not a run, or was made by a newer version.
        """
        value = read_json(path / "run.json")
        if not isinstance(value, dict) or "recipe" not in value:
            raise UsageError(f"{path}: not a run; `cineforge run` makes one")
        if value["version"] > RUN_VERSION:
            raise UsageError(f"{path}: made by a newer cineforge_hf; upgrade to read it")
        recipe = Recipe.from_json(value["recipe"])
        return Run(path, recipe, recipe.processors(device), value["inputs"], value["generation"])

    def save(self) -> None:
        """Writes `run.json` and the identity of each stage."""
        value = {"recipe": self.recipe.as_json(), "inputs": self.inputs, "generation": self.generation}
        write_json(self.path / "run.json", {"version": RUN_VERSION, **value})

    @cached_property
    def stages(self) -> list[StageStore]:
        """The films and every stage of the recipe, in order."""
        stores = [StageStore(FILMS, self.path / FILMS, "film", schema.columns_of(FILMS))]
        level: Level = "film"
        for processor in self.processors:
            level = "clip" if processor.explodes else level
            folder = self.path / f"{processor.name}-{processor.key[:8]}"
            stores.append(StageStore(processor.name, folder, level, processor.produces, processor))
        return stores

    def owner(self, column: str) -> StageStore | None:
        """The stage that owns a column in this recipe."""
        return next((stage for stage in self.stages if column in stage.columns), None)

    def film_paths(self) -> dict[str, Any]:
        """`films.json`: {"films": {film_id: {"path", "subtitles"}}, "hashes": cache of content hashes}."""
        value = read_json(self.path / "films.json")
        return value if isinstance(value, dict) else {"films": {}, "hashes": {}}

    def film_ids(self) -> list[str]:
        """Ids of the run's films, in the order of their sources."""
        return list(self.film_paths()["films"])


def film_shard(film_id: str) -> str:
    """Name of a film's shard at film level, and the first at clip level."""
    return f"{film_id}-000"
