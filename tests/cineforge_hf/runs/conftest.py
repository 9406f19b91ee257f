"""A run over text films, in this process: the kernel without media."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_stages import InlineExecutor, text_recipe, write_texts

from cineforge_hf.recipe import Recipe
from cineforge_hf.runs.progress import Progress
from cineforge_hf.runs.runner import RunOptions, StageSummary, run_recipe

Runner = Callable[..., dict[str, StageSummary]]


@pytest.fixture(autouse=True)
def no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here cuts the power, and hundreds of small files make waiting for the disk the bulk of the time."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Two text films."""
    return write_texts(tmp_path / "films", a="Hello there, my friend.\nHow are you today?", b="Nobody knows it yet.")


@pytest.fixture
def go(tmp_path: Path, texts: Path) -> Runner:
    """Runs a recipe over the text films into `tmp_path/run`; returns the summaries by stage."""

    def run(recipe: Recipe | None = None, executor: Any = None, **options: Any) -> dict[str, StageSummary]:
        options.setdefault("inputs", [str(texts)])
        done = run_recipe(
            tmp_path / "run", recipe or text_recipe(), RunOptions(**options), executor or InlineExecutor(), Progress()
        )
        return {summary.name: summary for summary in done}

    return run
