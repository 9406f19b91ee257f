"""Finished runs to published rows: all columns of a clip joined, judged, in a fixed order.

Invariants:
- A row is accepted when it has no error and no reject reason, its film's included.
- The order is that of titles, films and starts; it depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cineforge_hf import schema
from cineforge_hf.errors import UsageError
from cineforge_hf.runs.plan import Plan
from cineforge_hf.runs.runner import pending
from cineforge_hf.runs.store import Run, film_shard

Row = dict[str, Any]


@dataclass(frozen=True)
class FilmRef:
    """A film of a run, and where it lies.

    Args:
        run: the run.
        film_id: the film.
        path: absolute path of its file.
        row: its film-level columns.
        shards: names of its clip shards.
    """

    run: Run
    film_id: str
    path: str
    row: Row
    shards: tuple[str, ...]


def published_columns(runs: Sequence[Run]) -> list[str]:
    """Columns of the published rows, in the contract's order: what clips carry of their film, and their own.

    Raises:
        UsageError: the runs have different columns.
    """
    sets = {tuple(c for stage in run.stages for c in stage.columns) for run in runs}
    if len(sets) > 1:
        raise UsageError("these runs come from recipes with different columns; export them apart, or run one recipe on all")
    present = set(next(iter(sets)))
    clip_owners = {s.name for s in runs[0].stages if s.level == "clip"}
    plain = [n for n, c in schema.COLUMNS.items() if n in present and c.media is None and (c.carried or c.owner in clip_owners)]
    return [*plain, *schema.APPEND_ONLY]


def list_films(runs: Sequence[Run]) -> list[FilmRef]:
    """All films of finished runs, in the published order; a film that is in several runs counts once.

    Raises:
        UsageError: a run is unfinished.
    """
    films: dict[str, FilmRef] = {}
    for run in runs:
        if left := [item.stage.name for item in pending(run) if item.todo or item.after]:
            raise UsageError(
                f"{run.path}: unfinished ({', '.join(left)}); finish it first: cineforge run, or cineforge status to see"
            )
        plan = Plan(run)
        layout = plan.shards_of(plan.exploder) or {}
        places = run.film_paths()["films"]
        for film_id, shards in layout.items():
            if film_id not in films:
                films[film_id] = FilmRef(run, film_id, places[film_id]["path"], _film_row(run, film_id), tuple(shards))
    return sorted(films.values(), key=lambda f: (f.row["title"], f.row["source"], f.film_id))


def clip_rows(film: FilmRef, columns: Sequence[str], shards: Sequence[str] | None = None) -> Iterator[Row]:
    """The joined rows of a film's clips (of some shards only) with `accept`.

    A film without clips gives one row without a clip_id.
    """
    for shard in film.shards if shards is None else shards:
        rows: list[Row] = []
        for stage in (s for s in film.run.stages if s.level == "clip"):
            part = stage.read(shard, stage.schema.names)
            rows = rows or [{name: film.row.get(name) for name in (*film.row, *schema.APPEND_ONLY)} for _ in part]
            for row, new in zip(rows, part, strict=True):
                joined = {name: [*(row[name] or ()), *(new[name] or ())] for name in schema.APPEND_ONLY}
                row |= {k: v for k, v in new.items() if k not in schema.APPEND_ONLY} | joined
        for row in rows:
            yield {**{name: row.get(name) for name in columns}, "accept": is_accepted(row)}


def is_accepted(row: Row) -> bool:
    """Whether a joined row belongs to the dataset."""
    return bool(row["clip_id"]) and not row["errors"] and not row["reject_reasons"]


def reasons(row: Row) -> list[str]:
    """Why a row is not accepted: its reject reasons, then the codes of its errors."""
    return [*row["reject_reasons"], *(f"{e['stage']}:{e['code']}" for e in row["errors"])]


def rejected_rows(run: Run) -> Iterator[Row]:
    """The rows of a run that export would not accept, with all reasons in `reject_reasons`."""
    columns = published_columns([run])
    for film in list_films([run]):
        for row in clip_rows(film, columns):
            if not row["accept"]:
                yield {**row, "reject_reasons": reasons(row) or ["no_clips"]}


def _film_row(run: Run, film_id: str) -> Row:
    row: Row = {name: [] for name in schema.APPEND_ONLY}
    for stage in (s for s in run.stages if s.level == "film"):
        part = stage.read(film_shard(film_id), stage.schema.names)[0]
        joined = {name: [*row[name], *(part[name] or ())] for name in schema.APPEND_ONLY}
        row |= part | joined
    return row
