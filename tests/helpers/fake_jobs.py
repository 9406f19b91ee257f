"""Jobs for tests of the executors; importable in their workers."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from cineforge_hf.errors import SystemicError

ENVIRONMENT = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


@dataclass(frozen=True)
class ReportJob:
    """Says where it runs."""

    number: int
    seconds: float = 0.0
    isolated: bool = False

    @property
    def label(self) -> str:
        return f"report {self.number}"

    def run(self, on_row: Callable[[int], None]) -> dict[str, Any]:
        time.sleep(self.seconds)
        facts = {"number": self.number, "pid": os.getpid(), "parent": os.getppid()}
        # Only a spawned process has been told by its parent what its main module is called.
        method = "spawn" if "__mp_main__" in sys.modules else "fork"
        return {**facts, "method": method, **{name: os.environ.get(name) for name in ENVIRONMENT}}

    def isolate(self, row: int | None, message: str) -> ReportJob:
        return replace(self, isolated=True)


@dataclass(frozen=True)
class KillingJob:
    """Goes through words; `deadly` in one of them ends its worker in the way that `how` says."""

    words: tuple[str, ...]
    how: str = "exit"
    deadly: dict[int, str] = field(default_factory=dict)
    isolated: bool = False

    @property
    def label(self) -> str:
        return f"words {self.words}"

    def run(self, on_row: Callable[[int], None]) -> tuple[tuple[str | None, ...], tuple[str, ...]]:
        if self.how == "at once":
            os._exit(9)
        if self.how == "systemic":
            raise SystemicError("the key was refused")
        if self.how == "disk":
            raise OSError(28, "No space left on device", "/somewhere")
        if self.how == "bug":
            _ = 1 / 0
        for i, word in enumerate(self.words):
            if i in self.deadly:
                continue
            if self.isolated:
                on_row(i)
            if "deadly" in word:
                os._exit(7) if self.how == "exit" else os.kill(os.getpid(), signal.SIGKILL)
        done = tuple(None if i in self.deadly else word for i, word in enumerate(self.words))
        return done, tuple(self.deadly.values())

    def isolate(self, row: int | None, message: str) -> KillingJob:
        deadly = self.deadly if row is None else {**self.deadly, row: message}
        return replace(self, deadly=deadly, isolated=True)
