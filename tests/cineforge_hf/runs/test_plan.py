"""What has to be done, and the reasons that are given for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_stages import changed, text_recipe, write_texts
from hypothesis import given
from hypothesis import strategies as st

from cineforge_hf import schema
from cineforge_hf.errors import UsageError
from cineforge_hf.recipe import Recipe
from cineforge_hf.runs.plan import Plan, film_of
from cineforge_hf.runs.runner import RunOptions, pending, prepare
from cineforge_hf.runs.store import Run

STAGES = ["ingest", "transcribe", "segment", "check_text", "cot", "verify"]


def reasons(path: Path, recipe: Recipe | None = None) -> dict[str, set[str]]:
    """Why each stage has something to do, `after X` where it waits; stages that are done are left out."""
    run = prepare(path, recipe, RunOptions()) if recipe else Run.open(path)
    left = {i.stage.name: {t.why for t in i.todo} | {f"after {a}" for a in i.after} for i in pending(run)}
    return {name: why for name, why in left.items() if why}


def test_nothing_is_left_of_a_finished_run(go, tmp_path: Path) -> None:
    done = go()
    assert {name: (s.done, s.kept) for name, s in done.items()} == dict.fromkeys(STAGES, (2, 0))
    assert reasons(tmp_path / "run") == {}
    assert {name: (s.done, s.kept) for name, s in go().items()} == dict.fromkeys(STAGES, (0, 2))


def test_a_new_run_says_new_and_waits(tmp_path: Path, go, texts: Path) -> None:
    go(until="ingest")
    left = reasons(tmp_path / "run")
    assert left["transcribe"] == {"new"}
    assert left["segment"] == {"after transcribe"} and "after segment" in left["verify"]


def test_a_changed_setting_redoes_its_stage_and_the_readers_of_its_columns(go, tmp_path: Path) -> None:
    go()
    recipe = changed(text_recipe(), "segment", padding=0.2)
    assert reasons(tmp_path / "run", recipe)["segment"] == {"settings changed: padding 0.1 -> 0.2"}
    done = go(recipe)
    assert {name: s.done for name, s in done.items()} == {
        "ingest": 0, "transcribe": 0, "segment": 2, "check_text": 2, "cot": 2, "verify": 2,
    }  # fmt: skip
    assert done["check_text"].why == {"its input changed: segment": 2}


def test_a_changed_setting_does_not_redo_stages_that_do_not_read_its_columns(go) -> None:
    go()
    done = go(text_recipe(threshold=3))
    assert {name for name, s in done.items() if s.done} == {"check_text", "verify"}, "cot reads nothing of check_text"


def test_going_back_to_earlier_settings_finds_the_old_shards(go) -> None:
    go()
    go(text_recipe(threshold=3))
    assert {name for name, s in go().items() if s.done} == {"verify"}


def test_a_changed_film_stage_redoes_what_reads_it(go) -> None:
    go()
    done = go(changed(text_recipe(), "TextIngest", intro=1.0))
    assert [name for name, s in done.items() if s.done] == STAGES
    assert done["ingest"].why == {"settings changed: intro 0.0 -> 1.0": 2}


def test_an_output_that_comes_out_equal_redoes_nothing_after_it(go, monkeypatch: pytest.MonkeyPatch) -> None:
    from cineforge_hf.processors.cot import CorrectWithCoT

    go()
    recipe = text_recipe()
    monkeypatch.setattr(CorrectWithCoT, "_provenance", [{"stage": "cot"}])
    go(recipe)
    monkeypatch.setattr(CorrectWithCoT, "version", 9)
    assert {name for name, s in go(recipe).items() if s.done} == {"cot", "verify"}
    monkeypatch.setattr(CorrectWithCoT, "version", 10)
    assert {name for name, s in go(recipe).items() if s.done} == {"cot"}


def test_an_added_film_is_the_only_one_done(go, texts: Path, tmp_path: Path) -> None:
    go()
    write_texts(texts, c="One more film.")
    done = go()
    assert {(s.done, s.kept) for s in done.values()} == {(1, 2)}
    assert done["ingest"].why == {"not finished, or a new film": 1}


def test_a_damaged_or_missing_shard_is_found_and_done_again(go, tmp_path: Path) -> None:
    go()
    run = Run.open(tmp_path / "run")
    shards = sorted(run.stages[2].folder.glob("*.parquet"))
    whole = [s.read_bytes() for s in shards]
    shards[0].write_bytes(whole[0][:-10])
    shards[1].unlink()
    assert reasons(tmp_path / "run")["transcribe"] == {f"shard {shards[0].name} is damaged", f"shard {shards[1].name} is missing"}
    assert {name for name, s in go().items() if s.done} == {"transcribe"}
    assert [s.read_bytes() for s in shards] == whole


def test_a_flipped_byte_of_equal_length_is_found_by_the_runner(go, tmp_path: Path) -> None:
    go()
    run = Run.open(tmp_path / "run")
    shard = next(run.stages[4].folder.glob("*.parquet"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert not Plan(run).tasks(run.stages[4])[0].why
    assert go()["check_text"].why == {f"shard {shard.name} is damaged": 1}


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}"])
def test_a_shard_without_a_whole_marker_never_happened(go, tmp_path: Path, content: str | None) -> None:
    go()
    marker = next(p for p in Run.open(tmp_path / "run").stages[1].folder.glob("*.json") if p.name != "stage.json")
    marker.unlink() if content is None else marker.write_text(content)
    done = go()
    assert {name: s.done for name, s in done.items() if s.done} == {"ingest": 1}


def test_stages_of_title_and_dataset_scope_are_one_task_each(go, texts: Path, tmp_path: Path, monkeypatch) -> None:
    from cineforge_hf.processors.cot import CorrectWithCoT

    write_texts(texts / "Show", c="The first episode.", d="The second episode.")
    monkeypatch.setattr(CorrectWithCoT, "scope", "film")
    assert go()["cot"].done == 3
    write_texts(texts / "Show", e="The third episode.")
    assert (go()["cot"].done, go()["cot"].kept) == (1, 3)
    monkeypatch.setattr(CorrectWithCoT, "scope", "dataset")
    assert go()["cot"].done == 1
    write_texts(texts, f="Another film.")
    assert go()["cot"].why == {"its input changed: segment": 1}


def test_a_recipe_without_clips_runs_but_has_no_exploder(go, tmp_path: Path) -> None:
    recipe = text_recipe()
    short = Recipe("films", "", "en", recipe.stages[:2])
    assert {s.done for s in go(short).values()} == {2}
    with pytest.raises(UsageError, match="no stage that makes clips of films"):
        _ = Plan(Run.open(tmp_path / "run")).exploder


@given(st.text("0123456789abcdef", min_size=12, max_size=12), st.integers(0, 5000))
def test_a_shards_name_tells_its_film(film: str, number: int) -> None:
    assert film_of(f"{film}-{number:03d}") == film


def test_a_stage_reads_the_owners_of_its_columns_and_of_the_rows(go, tmp_path: Path) -> None:
    from cineforge_hf.runs.plan import input_stages

    go()
    run = Run.open(tmp_path / "run")
    read = {s.name: [u.name for u in input_stages(run, s)] for s in run.stages}
    assert read["films"] == [] and read["ingest"] == ["films"]
    assert read["check_text"] == ["segment"] and read["verify"] == ["films", "segment", "check_text", "cot"]
    assert {schema.COLUMNS[c].owner for c in run.stages[-1].processor.reads} <= set(read["verify"])
