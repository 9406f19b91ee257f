"""The contract that every stage gets from the base class."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from datasets import Dataset, Features, List, Value
from datasets.fingerprint import Hasher
from fake_stages import Counting, TextIngest
from hypothesis import given
from hypothesis import strategies as st

from cineforge_hf import CheckText, CorrectWithCoT, Ingest, SegmentClips, Verify, scan_films, schema
from cineforge_hf.errors import RowError, SystemicError, UsageError
from cineforge_hf.processor import Outcome, Processor, Row

BAD_TEXTS = ("bad", "raise", "explode batch")
texts = st.lists(st.none() | st.sampled_from(BAD_TEXTS) | st.text(max_size=8), min_size=1, max_size=12)


def errors_of(rows: list[list[Row]]) -> list[list[str]]:
    return [[e["code"] for new in produced for e in new.get("errors") or ()] for produced in rows]


@given(texts)
def test_every_row_keeps_its_place_whatever_its_neighbours_do(values: list[str | None]) -> None:
    out = Counting()({"asr_text": values})
    for i, value in enumerate(values):
        codes = [e["code"] for e in out["errors"][i]]
        if value is None:
            assert (out["n_latin"][i], codes, out["provenance"][i]) == (None, [], [])
        elif value in BAD_TEXTS:
            assert (out["n_latin"][i], codes) == (None, ["bad_text" if value == "bad" else "unexpected"])
        else:
            assert (out["n_latin"][i], codes) == (sum(c.isalpha() for c in value), [])
            assert [p["stage"] for p in out["provenance"][i]] == ["check_text"]


@given(texts)
def test_how_rows_are_batched_changes_nothing(values: list[str | None]) -> None:
    stage, rows = Counting(), [{"asr_text": value} for value in values]
    told: list[int] = []
    together, alone = stage.run(rows), [stage.run([row])[0] for row in rows]
    assert together == alone == stage.run(rows, told.append)
    assert told == [i for i, value in enumerate(values) if value is not None]


def test_an_unexpected_failure_names_its_kind_and_message() -> None:
    [[row]] = Counting().run([{"asr_text": "raise"}])
    assert row["errors"] == [{"stage": "check_text", "code": "unexpected", "message": "ValueError: raise"}]


def test_a_full_disk_stops_the_stage() -> None:
    with pytest.raises(SystemicError, match="No space left on device: /somewhere"):
        Counting().run([{"asr_text": "fine"}, {"asr_text": "disk"}])


@pytest.mark.parametrize("error", [SystemicError("the key was refused"), UsageError("no such engine")])
def test_what_concerns_every_row_is_raised(error: Exception) -> None:
    class Refusing(Counting):
        def process(self, rows: list[Row]) -> Sequence[Outcome]:
            raise error

    with pytest.raises(type(error), match=str(error)):
        Refusing().run([{"asr_text": "one"}, {"asr_text": "two"}])


def test_a_wrong_number_of_results_is_an_error_of_the_rows() -> None:
    class Short(Counting):
        def process(self, rows: list[Row]) -> Sequence[Outcome]:
            return [{}] * 3

    assert errors_of(Short().run([{"asr_text": "one"}, {"asr_text": "two"}])) == [["unexpected"], ["unexpected"]]


def test_process_sees_only_what_the_stage_declares() -> None:
    seen: list[Row] = []

    class Nosy(Counting):
        def process(self, rows: list[Row]) -> Sequence[Outcome]:
            seen.extend(rows)
            return [{}] * len(rows)

    Nosy().run([{"asr_text": "hello", "lang": "en"}])
    assert seen == [{"asr_text": "hello", "title": None}]


def test_process_must_be_written() -> None:
    @dataclass
    class Empty(Processor):
        name: ClassVar[str] = "empty"
        requires: ClassVar[tuple[str, ...]] = ()

    with pytest.raises(NotImplementedError, match="Empty must implement process"):
        Empty().process([])


def grouping_stage(stage_scope: str) -> tuple[Processor, list[list[str]]]:
    calls: list[list[str]] = []

    @dataclass
    class Grouping(Counting):
        scope: ClassVar[Any] = stage_scope

        def process(self, rows: list[Row]) -> Sequence[Outcome]:
            calls.append([row["asr_text"] for row in rows])
            if any(row["asr_text"] == "bad" for row in rows):
                raise RowError("bad_title", "one row of the title is bad; remove it")
            return [{"n_latin": len(rows)} for _ in rows]

    return Grouping(), calls


def test_film_scope_sees_all_rows_of_a_title_at_once_and_fails_as_one() -> None:
    stage, calls = grouping_stage("film")
    rows = [{"title": t, "asr_text": x} for t, x in [("A", "1"), ("B", "2"), ("A", "3"), ("C", "bad"), ("C", "4"), ("A", None)]]
    produced = stage.run(rows)
    assert calls == [["1", "3"], ["2"], ["bad", "4"]]
    assert [new[0].get("n_latin") for new in produced] == [2, 1, 2, None, None, None]
    assert errors_of(produced) == [[], [], [], ["bad_title"], ["bad_title"], []]


def test_dataset_scope_sees_all_rows_in_one_call() -> None:
    stage, calls = grouping_stage("dataset")
    data = Dataset.from_dict({"title": ["A", "B", "A"], "asr_text": ["1", "2", "3"]})
    out = data.map(stage, batched=True, **stage.map_kwargs(data))
    assert (calls, out["n_latin"][:]) == ([["1", "2", "3"]], [3, 3, 3])


def test_append_only_columns_are_appended_to() -> None:
    earlier = {"stage": "ingest", "code": "old", "message": "m"}
    out = Counting()({"asr_text": ["bad"], "errors": [[earlier]], "reject_reasons": [["too_short"]], "provenance": [None]})
    assert [e["code"] for e in out["errors"][0]] == ["old", "bad_text"]
    assert out["reject_reasons"] == [["too_short"]]
    assert out["provenance"] == [[]]


FILM = {
    "film_id": "f",
    "title": "T",
    "source": "f.mp4",
    "cues": [{"start": s, "end": s + 2.5, "text": f"Line {s}.", "engine": "x"} for s in (1.0, 9.0)],
    "trim_start": 0.0,
    "trim_end": 20.0,
}


def test_a_film_becomes_clips_with_what_they_carry_of_it() -> None:
    films = Dataset.from_list([FILM, {**FILM, "film_id": "g", "title": "G", "cues": None}])
    stage = SegmentClips()
    clips = films.map(stage, batched=True, **stage.map_kwargs(films))
    assert clips["film_id"][:] == ["f", "f", "g"]
    assert clips["title"][:] == ["T", "T", "G"]
    assert [bool(c) for c in clips["clip_id"]] == [True, True, False]
    assert "cues" not in clips.features and clips.features["source"] == Value("string")


def test_a_film_that_gives_no_clips_stays_visible() -> None:
    @dataclass
    class Silent(SegmentClips):
        def process(self, rows: list[Row]) -> Sequence[Outcome]:
            return [[] for _ in rows]

    [[row]] = Silent().run([FILM])
    assert "clip_id" not in row and [p["stage"] for p in row["provenance"]] == ["segment"]


@pytest.mark.parametrize("values", [[None, None], ["bad", None], ["one", None]])
def test_map_keeps_types_even_where_all_is_null(values: list[str | None]) -> None:
    data = Dataset.from_dict({"asr_text": values}, features=Features({"asr_text": Value("string")}))
    stage = Counting()
    out = data.map(stage, batched=True, batch_size=1, **stage.map_kwargs(data))
    own = [*stage.produces, *schema.APPEND_ONLY]
    assert {n: out.features[n] for n in own} == dict(schema.features(own))


def test_stages_follow_each_other_on_a_dataset_of_scanned_films(tmp_path: Path) -> None:
    # Lists of dicts give Arrow nothing to see in all-null and empty columns; the contract must supply the types.
    (tmp_path / "text.mp4").write_text("this is no film")
    films = Dataset.from_list(scan_films(tmp_path))
    for stage in (Ingest(), SegmentClips(), CheckText(), CorrectWithCoT(), Verify()):
        if stage.name == "segment":
            films = films.add_column("cues", [None], feature=schema.features(["cues"])["cues"])
        films = films.map(stage, batched=True, **stage.map_kwargs(films))
    assert films[0]["clip_id"] is None and [e["code"] for e in films[0]["errors"]] == ["not_media"]
    contract = schema.features([n for n in films.features if n in schema.COLUMNS])
    assert {n: films.features[n] for n in contract} == dict(contract)


def test_errors_of_a_stage_reach_a_dataset_whose_errors_were_empty(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("this is no film")
    films = Dataset.from_list(scan_films(tmp_path))
    assert films.features["errors"] == List(Value("null"))
    stage = Ingest()
    out = films.map(stage, batched=True, **stage.map_kwargs(films))
    assert [e["code"] for e in out[0]["errors"]] == ["not_media"]
    assert out.features["intro"] == Value("float64")


class Loaded(Counting):
    """Holds something heavy after its first use, as engines do."""

    def process(self, rows: list[Row]) -> Sequence[Outcome]:
        self.__dict__["engine"] = lambda: rows
        return super().process(rows)


def test_a_loaded_engine_neither_travels_nor_changes_the_fingerprint() -> None:
    stage = Loaded(factor=3)
    before = Hasher.hash(stage)
    stage.run([{"asr_text": "x"}])
    assert "engine" in stage.__dict__
    assert Hasher.hash(stage) == before == Hasher.hash(Loaded(factor=3))
    copy = pickle.loads(pickle.dumps(stage))  # noqa: S301 (made on this line)
    assert (copy.factor, copy.key, "engine" in copy.__dict__) == (3, stage.key, False)


def test_settings_versions_and_engines_change_fingerprint_and_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def facts(**settings: Any) -> tuple[str, str]:
        stage = Counting(**settings)
        return Hasher.hash(stage), stage.key

    seen = [facts(), facts(factor=2), facts(note="x")]
    monkeypatch.setattr(Counting, "version", 2)
    seen.append(facts())
    monkeypatch.setattr(Counting, "revision", "r2")
    seen.append(facts())
    hashes, keys = zip(*seen, strict=True)
    assert len(set(hashes)) == len(set(keys)) == len(seen)


def test_the_device_changes_neither_key_nor_settings() -> None:
    assert Counting(device="cuda").key == Counting(device="cpu").key
    assert "device" not in Counting().settings


def test_map_reuses_its_cache_until_the_version_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fingerprint() -> str:
        data = Dataset.from_dict({"asr_text": ["hello"]})
        stage = Counting()
        return str(data.map(stage, batched=True, **stage.map_kwargs(data))._fingerprint)

    before = fingerprint()
    assert fingerprint() == before
    monkeypatch.setattr(Counting, "version", 2)
    assert fingerprint() != before


def test_a_text_film_stage_reports_the_file_it_could_not_use(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_text("bad")
    [[row]] = TextIngest().run([{"source": str(path), "sha256": "0"}])
    assert row["errors"][0]["message"].startswith(str(path))
