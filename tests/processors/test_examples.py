"""The examples in the docstrings run."""

import doctest
import importlib

import pytest

MODULES = [
    "boundaries", "check_text", "cot", "ingest", "languages", "segment", "sentences", "transcribe", "verify",
    "engines.transcribe.cleaning",
]  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_examples(module: str) -> None:
    results = doctest.testmod(importlib.import_module(f"cineforge_hf.processors.{module}"))
    assert results.attempted
    assert not results.failed
