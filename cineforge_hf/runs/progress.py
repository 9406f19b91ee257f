"""Progress of long work: bars on a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """Shows how far work is.

    Args:
        console: where to show it; None shows nothing.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console

    @contextmanager
    def tasks(self, name: str, total: int) -> Iterator[Callable[[Any], None]]:
        """Counts finished tasks; call the result once for each."""
        with self._bar(name, total, MofNCompleteColumn(), "done") as advance:
            yield lambda _: advance(1)

    @contextmanager
    def bytes(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """Counts bytes that were read."""
        with self._bar(name, total, DownloadColumn(), "bytes read") as advance:
            yield advance

    @contextmanager
    def _bar(self, name: str, total: int, amount: ProgressColumn, unit: str) -> Iterator[Callable[[int], None]]:
        if self._console is None or not self._console.is_terminal:
            lines = _Lines(name, total, unit)
            yield lines.advance
            return
        columns = (TextColumn("{task.description:<12}"), BarColumn(), amount, TimeRemainingColumn(elapsed_when_finished=True))
        with RichProgress(*columns, console=self._console) as progress:
            task = progress.add_task(name, total=total)
            yield lambda n: progress.advance(task, n)


class _Lines:
    def __init__(self, name: str, total: int, unit: str) -> None:
        self._name, self._total, self._unit = name, total, unit
        self._done, self._said = 0, time.monotonic()

    def advance(self, amount: int) -> None:
        self._done += amount
        if time.monotonic() - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            logger.info("%s: %d of %d %s", self._name, self._done, self._total, self._unit)
