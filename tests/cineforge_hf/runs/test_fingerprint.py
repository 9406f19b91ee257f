"""Stage keys and how a change of them is said."""

from __future__ import annotations

from typing import Any

import pytest
from fake_stages import Counting

from cineforge_hf.runs import fingerprint
from cineforge_hf.runs.fingerprint import explain_change, stage_identity, stage_key


def test_the_key_is_that_of_the_identity() -> None:
    assert stage_key(Counting()) == stage_key(Counting(device="cuda")) != stage_key(Counting(factor=2))
    assert len(stage_key(Counting())) == 64


def test_lists_and_tuples_give_one_key() -> None:
    assert stage_key(Counting(flags=["a"])) == stage_key(Counting(flags=("a",)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"factor": 2}, "factor 1 -> 2"),
        ({"ratio": 0.25, "note": "x"}, "note None -> x, ratio 0.5 -> 0.25"),
        ({}, "nothing changed"),
    ],
)
def test_changed_settings_are_said(change: dict[str, Any], said: str) -> None:
    assert explain_change(stage_identity(Counting()), stage_identity(Counting(**change))) == said


def test_changed_versions_and_engines_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    before = stage_identity(Counting())
    monkeypatch.setattr(Counting, "version", 2)
    monkeypatch.setattr(Counting, "revision", "r2")
    assert explain_change(before, stage_identity(Counting())) == "version 1 -> 2, engine letters r1 -> r2"


def test_the_schema_and_the_threads_are_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {stage_key(Counting())}
    monkeypatch.setattr(fingerprint, "THREADS", 2)
    keys.add(stage_key(Counting()))
    monkeypatch.setattr(fingerprint, "SCHEMA_VERSION", 99)
    keys.add(stage_key(Counting()))
    assert len(keys) == 3
