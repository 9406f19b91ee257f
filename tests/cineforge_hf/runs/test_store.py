"""Shards, markers and the run's own files."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cineforge_hf.errors import UsageError
from cineforge_hf.runs.store import Marker, Run, Shard, StageStore
from cineforge_hf.runs.task import SHARD_ROWS


def store(tmp_path: Path) -> StageStore:
    return StageStore("check_text", tmp_path / "check_text-0", "clip", ("n_latin", "text_flags"))


def test_equal_rows_give_equal_bytes_and_typed_columns(tmp_path: Path) -> None:
    rows = [{"film_id": "f", "clip_id": "c", "n_latin": None, "ignored": 1}]
    one = store(tmp_path).write_shard("f-000", rows)
    content = store(tmp_path).shard_path("f-000").read_bytes()
    assert store(tmp_path).write_shard("f-000", rows) == one
    assert store(tmp_path).shard_path("f-000").read_bytes() == content
    assert (one.rows, one.size) == (1, len(content))
    assert pq.read_schema(store(tmp_path).shard_path("f-000")).equals(store(tmp_path).schema)


def test_a_shard_of_no_rows_keeps_its_columns(tmp_path: Path) -> None:
    assert store(tmp_path).write_shard("f-000", []).rows == 0
    assert store(tmp_path).read("f-000", ["clip_id", "n_latin"]) == []


def test_markers_come_back_as_they_were(tmp_path: Path) -> None:
    stage = store(tmp_path)
    marker = Marker("f-000", (Shard("f-000", 2, "ab", 10),), {"segment/f-000": "cd"}, 1, 1, 0, 2, "new", 0.5, {"x": 1})
    stage.folder.mkdir()
    (stage.folder / "stage.json").write_text("{}")
    stage.commit(marker)
    assert stage.markers() == {"f-000": marker}


def test_a_run_opens_as_it_was_saved(go, tmp_path: Path, texts: Path) -> None:
    go()
    run = Run.open(tmp_path / "run")
    assert (run.inputs, run.generation, run.recipe.name) == ([str(texts)], 0, "text")
    assert [s.name for s in run.stages] == ["films", "ingest", "transcribe", "segment", "check_text", "cot", "verify"]
    assert run.owner("text").name == "cot" and run.owner("vocals") is None


def test_what_is_no_run_and_what_is_too_new_is_refused(tmp_path: Path, go) -> None:
    with pytest.raises(UsageError, match="not a run"):
        Run.open(tmp_path)
    go()
    path = tmp_path / "run" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 99}))
    with pytest.raises(UsageError, match="newer cineforge_hf"):
        Run.open(tmp_path / "run")


def test_clips_of_a_long_film_are_cut_into_shards(go, texts: Path, tmp_path: Path) -> None:
    lines = [f"This is sentence number {i}." for i in range(SHARD_ROWS + 5)]
    (texts / "a.mp4").write_text("\n".join(lines))
    go()
    run = Run.open(tmp_path / "run")
    for name in ("segment", "check_text", "verify"):
        stage = next(s for s in run.stages if s.name == name)
        sizes = sorted(shard.rows for m in stage.markers().values() for shard in m.shards)
        assert sizes == [1, 5, SHARD_ROWS], name


def test_shards_hold_keys_and_their_own_columns_only(go, tmp_path: Path) -> None:
    go()
    for stage in Run.open(tmp_path / "run").stages:
        for path in stage.folder.glob("*.parquet"):
            names = pq.read_schema(path).names
            keys = ["film_id"] if stage.level == "film" else ["film_id", "clip_id"]
            own = [c for c in stage.columns if c not in keys]
            assert names == [*keys, *own, "errors", "provenance", "reject_reasons"]


def test_shards_name_no_place_of_this_machine(go, texts: Path, tmp_path: Path) -> None:
    (texts / "a.mp4").write_text("bad")
    (texts / "empty.mp4").write_text("")
    go()
    shards = list((tmp_path / "run").rglob("*.parquet"))
    rows = [row for path in shards for row in pq.read_table(path).to_pylist()]
    assert len(shards) > 6 and any(row["errors"] for row in rows)
    assert str(tmp_path) not in json.dumps(rows)
