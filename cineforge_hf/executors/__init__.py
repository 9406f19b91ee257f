"""Where jobs run. A job is picklable and does one piece of work in a worker process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol


class Job(Protocol):
    """One piece of work that a worker does on its own and commits by itself."""

    @property
    def label(self) -> str:
        """What to call it in messages."""

    @property
    def isolated(self) -> bool:
        """Whether it goes row by row and reports each, because it killed a worker before."""

    def run(self, on_row: Callable[[int], None]) -> Any:
        """Does the work; in an isolated job `on_row` is told each row before it is touched."""

    def isolate(self, row: int | None, message: str) -> Job:
        """The same job to be done row by row, and without `row` if one was named as deadly."""


class Executor(Protocol):
    """Runs jobs and yields what they return as they finish, in any order."""

    def run(self, jobs: Iterable[Any]) -> Iterator[Any]:
        """Does the jobs.

        Raises:
            SystemicError: nothing more can succeed; what finished is safe.
        """
