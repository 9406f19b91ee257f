"""Files that are complete or absent."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from cineforge_hf.runs.files import read_json, remove_leftovers, sha256_of, write_atomic, write_json


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        write_atomic(path, fail)
    assert [p.name for p in tmp_path.iterdir()] == ["f"] and path.read_text() == "old"


def test_what_is_being_written_has_another_name(tmp_path: Path) -> None:
    seen: list[list[str]] = []
    write_atomic(tmp_path / "f", lambda t: (t.write_text("new"), seen.append([p.name for p in tmp_path.glob("f*")]))[0])
    assert seen == [[]] and (tmp_path / "f").read_text() == "new"


def test_leftovers_of_the_dead_are_removed_and_only_they(tmp_path: Path) -> None:
    for name in ("a.parquet", ".a.parquet.4711.tmp", "sub/.b.json.12.tmp", "sub/b.tmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert remove_leftovers(tmp_path) == 2
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["a.parquet", "b.tmp"]


def test_json_has_one_form_and_half_of_it_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"b": "电影", "a": 1})
    first = path.read_bytes()
    write_json(path, {"a": 1, "b": "电影"})
    assert path.read_bytes() == first and read_json(path) == {"a": 1, "b": "电影"}
    path.write_bytes(first[: len(first) // 2])
    assert read_json(path) is None
    path.write_bytes(b"\xff\xfe\x00")
    assert read_json(path) is None
    assert read_json(tmp_path / "none.json") is None


def test_hashes_are_of_the_content_and_tell_their_progress(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"x" * 2_500_000)
    read: list[int] = []
    assert sha256_of(path, read.append) == hashlib.sha256(b"x" * 2_500_000).hexdigest()
    assert (sum(read), len(read)) == (2_500_000, 3)
