"""The base class of every stage: a callable `batch -> columns` for `Dataset.map(batched=True)`.

A stage is a dataclass whose fields are its settings. It declares what it reads and owns columns of the contract
(`schema.py`); `process` gets rows that have everything it requires and returns a dict of its columns for each.

Invariants, all kept here so that no stage has to:
- A row that lacks a required column is skipped: its outputs are null, and that is no error.
- A row that fails keeps its place with null outputs and an entry in `errors`; the others of its batch are unaffected.
- `SystemicError`, `UsageError`, a full disk and the like are never turned into row errors.
- `process` sees only the columns that the stage declares.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from cineforge_hf import schema
from cineforge_hf.errors import RowError, SystemicError, UsageError

if TYPE_CHECKING:
    from datasets import Dataset

Row = dict[str, Any]
Outcome = Row | list[Row] | RowError | None

logger = logging.getLogger(__name__)

# With these the disk or the file system refuses everybody, not one row.
_SYSTEMIC_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM}


@dataclass(frozen=True)
class EngineInfo:
    """Which model or program did the work, for `provenance` and the stage key.

    Args:
        name: short name as in recipes, e.g. `silero`.
        revision: version or commit of the weights or program.
        licence: SPDX identifier of the weights' licence.
    """

    name: str
    revision: str
    licence: str


@dataclass
class Processor:
    """One stage. Subclasses are dataclasses; their fields are the settings that recipes may give.

    Class attributes:
        name: the stage's name, which owns its columns in `schema.COLUMNS`.
        version: raised whenever the same input may give another output.
        scope: `row`; `film`: one call sees all rows of a title; `dataset`: one call sees all rows.
        requires: columns without which a row is skipped.
        optional: columns that are read where they are there.
        explodes: whether a row becomes any number of rows (film to clips).
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    scope: ClassVar[Literal["row", "film", "dataset"]] = "row"
    requires: ClassVar[tuple[str, ...]]
    optional: ClassVar[tuple[str, ...]] = ()
    explodes: ClassVar[bool] = False

    device: str = field(default="auto", kw_only=True, metadata={"runtime": True})

    def process(self, rows: list[Row]) -> Sequence[Outcome]:
        """Computes the stage's columns.

        Args:
            rows: rows with exactly the required and optional columns; a missing optional one is None.

        Returns:
            For each row a dict of the stage's columns (missing keys become null), or a `RowError`;
            a list of dicts where the stage explodes. It may also raise: the base then tries row by row.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement process")

    @property
    def engines(self) -> tuple[EngineInfo, ...]:
        """Engines that this stage runs with its present settings; part of the stage key."""
        return ()

    def check(self) -> None:
        """Checks what the stage needs (packages, keys, weights) before any work.

        Raises:
            UsageError: something is missing; the message says how to get it.
        """

    @cached_property
    def produces(self) -> tuple[str, ...]:
        """Columns that this stage owns."""
        return schema.columns_of(self.name)

    @property
    def reads(self) -> tuple[str, ...]:
        """All columns that this stage may look at."""
        return self.requires + self.optional

    @property
    def settings(self) -> dict[str, Any]:
        """The settings by name, without run-time choices such as the device."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if not f.metadata.get("runtime")}

    @cached_property
    def key(self) -> str:
        """The stage key, 64 hex digits; see `runs/fingerprint.py`."""
        from cineforge_hf.runs.fingerprint import stage_key

        return stage_key(self)

    def map_kwargs(self, dataset: Dataset) -> dict[str, Any]:
        """Arguments for `dataset.map(self, batched=True, **self.map_kwargs(dataset))`.

        `features` keeps the type of all-null columns, `remove_columns` is needed where rows become other rows,
        and wider scopes take all rows in one batch.
        """
        kept = [n for n in dataset.features if not self.explodes or (n in schema.COLUMNS and schema.COLUMNS[n].carried)]
        written = [n for n in (*self.produces, *schema.APPEND_ONLY) if n not in kept]
        # Columns that are there already get the contract's types too: rows that came as Python lists may have been all
        # null or empty, and then hold nothing that a stage could append to. Media keep their decoding.
        known = [n for n in kept if n in schema.COLUMNS and schema.COLUMNS[n].media is None]
        features = dataset.features.copy()
        for name in set(features) - set(kept):
            del features[name]
        features.update(schema.features([*known, *written]))
        kwargs: dict[str, Any] = {"features": features}
        if self.explodes:
            kwargs["remove_columns"] = [n for n in dataset.features if n not in kept]
        if self.scope != "row":
            kwargs["batch_size"] = None
        return kwargs

    def __call__(self, batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        """Runs the stage on a batch of columns and returns its columns, `errors` and `provenance` among them."""
        size = len(next(iter(batch.values()), []))
        rows = [{name: column[i] for name, column in batch.items()} for i in range(size)]
        results = self.run(rows)
        out: dict[str, list[Any]] = {name: [] for name in (*self.produces, *schema.APPEND_ONLY)}
        carried = [n for n in batch if self.explodes and n in schema.COLUMNS and schema.COLUMNS[n].carried]
        out.update({name: [] for name in carried})
        for row, produced in zip(rows, results, strict=True):
            for new in produced:
                for name in self.produces:
                    out[name].append(new.get(name))
                for name in schema.APPEND_ONLY:
                    out[name].append([*(row.get(name) or ()), *new.get(name, ())])
                for name in carried:
                    out[name].append(row[name])
        return out

    def run(self, rows: list[Row], on_row: Callable[[int], None] | None = None) -> list[list[Row]]:
        """Runs the stage on rows, with errors as data.

        Args:
            rows: rows with any columns.
            on_row: called with a row's index before that row is processed alone; given, every row is processed alone
                (a runner uses it to learn which row kills a worker).

        Returns:
            For each row the list of rows that it became: one, except where the stage explodes. Each holds the stage's
            columns and its own entries of the append-only columns.
        """
        ready = [i for i, row in enumerate(rows) if all(row.get(name) is not None for name in self.requires)]
        outcomes: list[Outcome] = [None] * len(rows)
        for group in self._groups(rows, ready):
            projected = [{name: rows[i].get(name) for name in self.reads} for i in group]
            results = self._attempt_each(projected, group, on_row) if on_row else self._attempt(projected)
            for i, outcome in zip(group, results, strict=True):
                outcomes[i] = outcome
        return [self._finish(outcome) for outcome in outcomes]

    def _groups(self, rows: list[Row], ready: list[int]) -> Iterator[list[int]]:
        if self.scope != "film":
            if ready:
                yield ready
            return
        titles: dict[Any, list[int]] = {}
        for i in ready:
            titles.setdefault(rows[i].get("title"), []).append(i)
        yield from titles.values()

    def _attempt(self, rows: list[Row]) -> Sequence[Outcome]:
        try:
            return self._checked(rows)
        except Exception as error:
            failure = _as_row_error(error)
            if len(rows) == 1 or self.scope != "row":
                return [failure] * len(rows)
            logger.debug("%s: a batch of %d failed (%s); trying row by row", self.name, len(rows), error)
            return [self._attempt([row])[0] for row in rows]

    def _attempt_each(self, rows: list[Row], group: list[int], on_row: Callable[[int], None]) -> Sequence[Outcome]:
        if self.scope != "row":
            on_row(group[0])
            return self._attempt(rows)
        outcomes: list[Outcome] = []
        for i, row in zip(group, rows, strict=True):
            on_row(i)
            outcomes.append(self._attempt([row])[0])
        return outcomes

    def _checked(self, rows: list[Row]) -> Sequence[Outcome]:
        outcomes = self.process(rows)
        if len(outcomes) != len(rows):
            raise ValueError(f"{type(self).__name__}.process returned {len(outcomes)} results for {len(rows)} rows")
        return outcomes

    def _finish(self, outcome: Outcome) -> list[Row]:
        # A film that is skipped, fails or gives nothing where films become clips stays visible as one row without a clip_id.
        if outcome is None:
            return [{}]
        if isinstance(outcome, RowError):
            entry = {"stage": self.name, "code": outcome.code, "message": outcome.message}
            return [{"errors": [entry]}]
        produced = (outcome or [{}]) if isinstance(outcome, list) else [outcome]
        return [{**row, "provenance": self._provenance} for row in produced]

    @cached_property
    def _provenance(self) -> list[Row]:
        base = {"stage": self.name, "version": self.version, "key": self.key[:8]}
        engines = self.engines or (EngineInfo("cineforge", "", "Apache-2.0"),)
        return [{**base, "engine": e.name, "revision": e.revision, "licence": e.licence} for e in engines]

    def __getstate__(self) -> dict[str, Any]:
        """Only the settings and the stage key travel: a loaded model never changes `datasets`' fingerprint, a version does."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {"key": self.key, **fields}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # The key is made anew: here the code or an engine may be another version.
        self.__dict__.update({k: v for k, v in state.items() if k != "key"})


def _as_row_error(error: Exception) -> RowError:
    """What a failure means for its row.

    Raises:
        SystemicError, UsageError: the failure concerns every row.
    """
    if isinstance(error, RowError):
        return error
    if isinstance(error, SystemicError | UsageError):
        raise error
    if isinstance(error, OSError) and error.errno in _SYSTEMIC_ERRNOS:
        raise SystemicError(f"{error.strerror}: {error.filename or 'no file named'}") from error
    logger.debug("unexpected failure of a row", exc_info=error)
    return RowError("unexpected", f"{type(error).__name__}: {error}")
