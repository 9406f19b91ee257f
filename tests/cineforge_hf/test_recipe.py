"""Recipes: YAML to checked stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cineforge_hf.errors import UsageError
from cineforge_hf.recipe import Recipe, load_recipe, packaged_recipes


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def build(tmp_path: Path, stage: str) -> Any:
    return load_recipe(write(tmp_path / "r.yaml", f"stages:\n  - {stage}\n")).processors()[0]


@pytest.mark.parametrize("name", packaged_recipes())
def test_packaged_recipes_build_and_describe_themselves(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name and recipe.description
    stages = recipe.processors()
    for stage in stages:
        stage.check()
    assert [s.name for s in stages][:4] == ["ingest", "transcribe", "segment", "check_text"]


def test_offline_trims_nothing_and_the_others_ten_seconds() -> None:
    trims = {name: load_recipe(name).processors()[0].settings for name in packaged_recipes()}
    assert (trims["offline"]["intro"], trims["offline"]["outro"]) == (0.0, 0.0)
    for name in ("cinedub-cn", "cinedub-en"):
        assert (trims[name]["intro"], trims[name]["outro"]) == (10.0, 10.0)


def test_a_recipe_survives_json() -> None:
    recipe = load_recipe("cinedub-cn", ["segment.max_seconds=30"])
    assert Recipe.from_json(json.loads(json.dumps(recipe.as_json()))) == recipe


def test_overrides_are_yaml_values() -> None:
    recipe = load_recipe("offline", ["segment.max_seconds=30", "transcribe.align=no", "verify.reject_flags=[too_fast]"])
    by_name = {s.name: s for s in recipe.processors()}
    assert by_name["segment"].settings["max_seconds"] == 30.0
    assert isinstance(by_name["segment"].settings["max_seconds"], float)
    assert by_name["transcribe"].settings["align"] is False
    assert by_name["verify"].settings["reject_flags"] == ("too_fast",)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("segment.max_second=1", r"unknown key 'max_second' \(did you mean 'max_seconds'\?\)"),
        ("segmnt.max_seconds=1", r"no stage 'segmnt' \(did you mean 'segment'\?\)"),
        ("segment.max_seconds", "write stage.key=value"),
        ("max_seconds=3", "write stage.key=value"),
        ("segment.max_seconds=[", "not a YAML value"),
        ("segment.max_seconds=soon", "segment.max_seconds: 'soon' is not a number"),
        ("segment.max_seconds=true", "True is not a number"),
        ("segment.max_seconds=null", "None is not a number"),
        ("transcribe.align=1", "1 is not true or false"),
        ("transcribe.engine=3", "3 is not text"),
        ("verify.reject_flags=too_fast", "'too_fast' is not a list of which each is text"),
        ("verify.reject_flags=[1]", "is not a list of which each is text"),
        ("ingest.device=cuda", "unknown key 'device'"),
    ],
)
def test_a_wrong_setting_is_refused_with_the_fix(override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_recipe("offline", [override]).processors()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: [ingest", "not valid YAML"),
        ("- ingest", "a recipe is a mapping"),
        ("stages: []", "a recipe is a mapping"),
        ("stages: ingest", "a recipe is a mapping"),
        ("stage: [ingest]\nstages: [ingest]", r"unknown key 'stage' \(did you mean 'stages'\?\)"),
        ("lang: fr\nstages: [ingest]", "lang is 'fr'; choose zh, en, auto"),
        ("stages: [{ingest: 3}]", "a stage is `name`"),
        ("stages: [{ingest: {}, segment: {}}]", "a stage is `name`"),
        ("stages: [ingst]", r"no stage 'ingst' \(did you mean 'ingest'\?\)"),
        ("stages: ['no_module:X']", "cannot import no_module:X"),
        ("stages: ['json:dumps']", "json:dumps is not a Processor"),
        ("stages: [ingest, segment]", "segment needs the columns cues: put transcribe before it"),
        ("stages: [ingest, ingest]", "stage ingest stands twice"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_fix(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_recipe(write(tmp_path / "wrong.yaml", text)).processors()


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "film.yaml"
    path.write_bytes(b"\x00\xff\xfe\x80")
    with pytest.raises(UsageError, match="recipes are UTF-8 YAML"):
        load_recipe(str(path))


def test_an_unknown_recipe_names_the_packaged_ones() -> None:
    with pytest.raises(UsageError, match="no recipe 'offlin': give a YAML file or one of cinedub-cn, cinedub-en, offline"):
        load_recipe("offlin")


def test_a_stage_of_another_package_is_named_by_its_class(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path / "r.yaml", "stages: [{'fake_stages:TextIngest': {intro: 3}}]"))
    [stage] = recipe.processors()
    assert (type(stage).__name__, stage.settings) == ("TextIngest", {"intro": 3.0})
    assert load_recipe(write(tmp_path / "r.yaml", "stages: ['fake_stages:TextIngest']"), ["fake_stages:TextIngest.intro=2"])


def test_null_is_taken_where_a_setting_allows_it(tmp_path: Path) -> None:
    stages = "ingest\n  - transcribe\n  - segment\n  - 'fake_stages:Counting': {note: null, factor: 2}"
    recipe = load_recipe(write(tmp_path / "r.yaml", f"stages:\n  - {stages}\n"))
    counting = recipe.processors()[-1]
    assert counting.settings == {"factor": 2, "ratio": 0.5, "note": None, "flags": ()}


def test_two_stages_that_make_clips_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fake_stages import TextTranscribe

    monkeypatch.setattr(TextTranscribe, "explodes", True)
    stages = "[ingest, 'fake_stages:TextTranscribe', segment]"
    with pytest.raises(UsageError, match="transcribe and segment both turn films into clips"):
        load_recipe(write(tmp_path / "r.yaml", f"stages: {stages}")).processors()
