"""Runs over text films: errors, retry, films that come and go."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from factories import shards_digest
from fake_stages import InlineExecutor, changed, text_recipe, write_texts

from cineforge_hf.errors import SystemicError, UsageError
from cineforge_hf.recipe import Recipe
from cineforge_hf.runs import runner
from cineforge_hf.runs.files import read_json
from cineforge_hf.runs.prune import prunable, prune
from cineforge_hf.runs.rows import clip_rows, list_films, published_columns, rejected_rows
from cineforge_hf.runs.runner import RunOptions, prepare
from cineforge_hf.runs.status import failures, run_status
from cineforge_hf.runs.store import Run


class InterruptedRunError(Exception):
    """Stands in for a kill."""


class Failing(InlineExecutor):
    """Dies after some jobs."""

    def __init__(self, after: int) -> None:
        self.left = after

    def run(self, jobs: Any, on_row: Any = lambda _: None) -> Iterator[Any]:
        for result in super().run(jobs):
            yield result
            self.left -= 1
            if self.left <= 0:
                raise InterruptedRunError


def accepted(path: Path) -> list[str]:
    run = Run.open(path)
    columns = published_columns([run])
    return [row["text"] for film in list_films([run]) for row in clip_rows(film, columns) if row["accept"]]


def codes(path: Path) -> list[tuple[str, str]]:
    return [(f.source, f.code) for f in failures(Run.open(path))]


def test_a_run_interrupted_after_any_number_of_tasks_ends_like_one_that_was_not(go, tmp_path: Path, texts: Path) -> None:
    go()
    whole = shards_digest(tmp_path / "run")
    for after in (1, 4, 6, 9, 12):
        shutil.rmtree(tmp_path / "run")
        with pytest.raises(InterruptedRunError):
            go(executor=Failing(after))
        before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.parquet")}
        again = go(inputs=[])
        assert sum(s.done for s in again.values()) == 12 - after
        assert shards_digest(tmp_path / "run") == whole
        assert {p: p.stat().st_mtime_ns for p in before} == before, "a finished shard was written again"


def test_a_run_killed_before_its_first_task_can_go_on(go, monkeypatch) -> None:
    def die(*_: object) -> None:
        raise InterruptedRunError

    monkeypatch.setattr(runner, "_write_film", die)
    with pytest.raises(InterruptedRunError):
        go()
    monkeypatch.undo()
    assert go()["verify"].done == 2


def test_a_bad_film_is_one_row_with_an_error_and_the_others_are_well(go, texts: Path, tmp_path: Path) -> None:
    write_texts(texts, bad="bad")
    go()
    assert codes(tmp_path / "run") == [("bad.mp4", "bad_film")]
    assert len(accepted(tmp_path / "run")) == 3
    [row] = rejected_rows(Run.open(tmp_path / "run"))
    assert (row["source"], row["clip_id"], row["reject_reasons"]) == ("bad.mp4", None, ["ingest:bad_film"])
    statuses = {s.name: (s.ok, s.failed, s.skipped) for s in run_status(Run.open(tmp_path / "run"))}
    assert statuses["ingest"] == (2, 1, 0) and statuses["segment"] == (3, 0, 1) and statuses["verify"] == (3, 0, 1)


def test_the_same_film_twice_is_said_and_taken_once(go, texts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (texts / "z").mkdir()
    shutil.copy(texts / "a.mp4", texts / "z" / "again.mp4")
    with caplog.at_level(logging.INFO):
        go()
    assert "z/again.mp4: the same file as a.mp4; taken once" in caplog.text
    [row] = rejected_rows(Run.open(tmp_path / "run"))
    assert (row["source"], row["reject_reasons"], bool(row["duplicate_of"])) == ("z/again.mp4", ["duplicate"], True)
    assert len(accepted(tmp_path / "run")) == 3 and codes(tmp_path / "run") == []


def test_retry_does_failed_rows_and_nothing_else(go, texts: Path, tmp_path: Path) -> None:
    write_texts(texts, a="Hello there, my friend.\nThere is trouble ahead.\nIt is all over now.")
    log, calm = tmp_path / "log", tmp_path / "calm"
    recipe = text_recipe(kind="row", log=str(log), calm=str(calm))
    go(recipe)
    assert codes(tmp_path / "run") == [("a.mp4", "troubled")] and len(accepted(tmp_path / "run")) == 3
    log.write_text("")
    assert all(s.done == 0 for s in go(recipe).values()), "without retry a failure is final"
    done = go(recipe, retry=True, inputs=[])
    assert done["check_text"].why == {"retry of failed rows": 1} and log.read_text() == "There is trouble ahead.\n"
    calm.touch()
    log.write_text("")
    assert go(recipe, retry=True, inputs=[])["verify"].done == 1
    assert log.read_text() == "There is trouble ahead.\n"
    assert len(accepted(tmp_path / "run")) == 4 and codes(tmp_path / "run") == []
    whole = shards_digest(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    go(recipe)
    assert shards_digest(tmp_path / "run") == whole, "a retried run differs from one that never failed"


def test_a_retry_that_was_killed_goes_on_and_does_not_start_over(go, texts: Path, tmp_path: Path) -> None:
    write_texts(texts, x="bad 1", y="bad 2", z="bad 3")
    go()
    with pytest.raises(InterruptedRunError):
        go(retry=True, executor=Failing(1))
    left = go(retry=True)
    assert (left["ingest"].done, Run.open(tmp_path / "run").generation) == (2, 1)
    with pytest.raises(InterruptedRunError):
        go(retry=True, executor=Failing(1))
    assert go()["ingest"].done == 2, "a plain run finishes what retry began"


def test_retry_of_a_stage_that_sees_whole_titles_shows_it_all_rows(go, texts: Path, tmp_path: Path, monkeypatch) -> None:
    from fake_stages import TroubleCheck

    monkeypatch.setattr(TroubleCheck, "scope", "film")
    write_texts(texts, a="Hello there, my friend.\nThere is trouble ahead.")
    log = tmp_path / "log"
    recipe = text_recipe(kind="row", log=str(log))
    go(recipe)
    log.write_text("")
    go(recipe, retry=True)
    assert sorted(log.read_text().splitlines()) == ["Hello there, my friend.", "There is trouble ahead."]


def test_a_mended_film_is_done_with_the_next_run(go, texts: Path, tmp_path: Path) -> None:
    write_texts(texts, bad="bad", empty="")
    go()
    assert codes(tmp_path / "run") == [("empty.mp4", "empty_file"), ("bad.mp4", "bad_film")]
    write_texts(texts, bad="Now it is well.", empty="This one as well.")
    done = go()
    assert done["ingest"].done == 2 and codes(tmp_path / "run") == [] and len(accepted(tmp_path / "run")) == 5


def test_a_bad_film_that_was_removed_is_forgotten_and_a_good_one_stays(go, texts: Path, tmp_path: Path) -> None:
    write_texts(texts, bad="bad", empty="")
    go()
    for name in ("bad", "empty", "b"):
        (texts / f"{name}.mp4").unlink()
    go()
    assert codes(tmp_path / "run") == [] and len(accepted(tmp_path / "run")) == 3


def test_a_film_that_moved_is_the_same_film(go, texts: Path, tmp_path: Path) -> None:
    go()
    (tmp_path / "moved").mkdir()
    (texts / "a.mp4").rename(tmp_path / "moved" / "a.mp4")
    done = go(inputs=[str(tmp_path / "moved")])
    assert all(s.done == 0 for s in done.values())
    paths = {Path(f["path"]) for f in read_json(tmp_path / "run" / "films.json")["films"].values()}
    assert paths == {tmp_path / "moved" / "a.mp4", texts / "b.mp4"}


def test_inputs_of_earlier_calls_may_be_gone_and_those_of_now_may_not(go, texts: Path, tmp_path: Path, monkeypatch) -> None:
    other = write_texts(tmp_path / "other", c="A third one.")
    go()
    go(inputs=[str(other)])
    shutil.rmtree(texts)
    assert go(inputs=[])["ingest"].kept == 3
    for missing in (str(texts), "nowhere.mp4"):
        with pytest.raises(UsageError, match="no such file or folder"):
            go(inputs=[missing])
    assert Run.open(tmp_path / "run").inputs == [str(texts), str(other)]


def test_limit_takes_the_first_films_and_a_later_run_the_rest(go, tmp_path: Path) -> None:
    assert go(limit=1)["ingest"].done == 1
    done = go()["ingest"]
    assert (done.done, done.kept) == (1, 1)


def test_until_stops_there_and_export_would_be_refused(go, tmp_path: Path) -> None:
    assert list(go(until="segment")) == ["ingest", "transcribe", "segment"]
    with pytest.raises(UsageError, match=r"unfinished \(check_text, cot, verify\)"):
        list_films([Run.open(tmp_path / "run")])
    with pytest.raises(UsageError, match="the recipe's stages are ingest, transcribe"):
        go(until="faces")


def test_the_language_of_the_run_is_that_of_films_that_say_none(go, tmp_path: Path) -> None:
    go(lang="zh")
    run = Run.open(tmp_path / "run")
    assert {film.row["lang"] for film in list_films([run])} == {"zh"}


def test_a_systemic_error_stops_and_the_rest_is_done_later(go, texts: Path, tmp_path: Path) -> None:
    write_texts(texts, a="There is trouble ahead.")
    calm = tmp_path / "calm"
    recipe = text_recipe(kind="systemic", calm=str(calm))
    with pytest.raises(SystemicError, match="the key was refused"):
        go(recipe)
    calm.touch()
    done = go(recipe)
    assert done["segment"].done == 0 and done["check_text"].done >= 1 and len(accepted(tmp_path / "run")) == 2


def test_a_stage_that_fails_for_everybody_stops_the_run(go, texts: Path, tmp_path: Path) -> None:
    shutil.rmtree(texts)
    write_texts(texts, **{f"f{i:02d}": f"The trouble with film {i}." for i in range(30)})
    with pytest.raises(SystemicError, match=r"check_text failed for 20 rows in a row: KeyError: .*cineforge retry"):
        go(text_recipe(kind="raise"))


def test_failures_of_some_rows_stop_nobody(go, texts: Path, tmp_path: Path) -> None:
    trouble = {f"f{i:02d}": f"The trouble with film {i}.\nAll is well here." for i in range(21)}
    write_texts(texts, **trouble)
    go(text_recipe(kind="raise"))
    assert len(codes(tmp_path / "run")) == 21


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_is_no_run_is_not_written_into(go, tmp_path: Path, what: str) -> None:
    path = tmp_path / "run"
    if what == "file":
        path.write_text("mine")
    else:
        write_texts(path, film="mine")
    with pytest.raises(UsageError, match="choose another --output"):
        go()
    assert not (path / "run.json").exists()


def test_a_run_needs_films(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give --input"):
        prepare(tmp_path / "run", text_recipe(), RunOptions())
    assert not (tmp_path / "run").exists()


def test_status_counts_what_is_there_now_and_not_what_was(go, texts: Path, tmp_path: Path) -> None:
    lines = "\n".join(f"This is sentence number {i}." for i in range(40))
    write_texts(texts, a=lines)
    go()
    before = {s.name: (s.tasks, s.ok) for s in run_status(Run.open(tmp_path / "run"))}
    assert (before["segment"], before["check_text"]) == ((2, 41), (3, 41))
    go(changed(text_recipe(), "segment", merge_seconds=30.0))
    after = {s.name: (s.tasks, s.ok) for s in run_status(Run.open(tmp_path / "run"))}
    assert after["check_text"][0] == 2 and after["segment"][1] == after["check_text"][1] == len(accepted(tmp_path / "run")) < 41


def test_prune_keeps_what_counts(go, texts: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    write_texts(texts, c="\n".join(f"This is sentence number {i}." for i in range(40)))
    go()
    short = changed(text_recipe(), "segment", merge_seconds=30.0)
    go(short)
    texts.joinpath("c.mp4").write_text("A changed film.")
    go(short)
    rows = accepted(path)
    targets = prune(path, dry_run=True)
    assert targets and all(t.exists() for t in targets)
    assert prune(path) == targets and not any(t.exists() for t in targets)
    assert prunable(Run.open(path)) == [] and accepted(path) == rows
    assert all(s.done == 0 for s in go(short).values())
    films = {p.stem.split("-")[0] for p in path.rglob("*.parquet")}
    assert films == set(Run.open(path).film_ids())


def test_prune_of_an_unfinished_run_is_refused(go, tmp_path: Path) -> None:
    go(until="segment")
    with pytest.raises(UsageError, match="unfinished; finish it first"):
        prune(tmp_path / "run")


def test_recipes_with_different_columns_are_not_joined(go, tmp_path: Path, texts: Path) -> None:
    go()
    recipe = text_recipe()
    shutil.move(tmp_path / "run", tmp_path / "full")
    go(Recipe("short", "", "en", recipe.stages[:-1]))
    with pytest.raises(UsageError, match="different columns"):
        published_columns([Run.open(tmp_path / "full"), Run.open(tmp_path / "run")])


def test_a_film_of_several_runs_counts_once(go, tmp_path: Path, texts: Path) -> None:
    go()
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    assert len(list_films([Run.open(tmp_path / "run"), Run.open(tmp_path / "copy")])) == 2


def test_run_json_is_plain(go, tmp_path: Path) -> None:
    go()
    value = json.loads((tmp_path / "run" / "run.json").read_text())
    assert set(value) == {"version", "recipe", "inputs", "generation"}
