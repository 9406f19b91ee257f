"""The column contract."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features

from cineforge_hf import schema
from cineforge_hf.errors import UsageError
from cineforge_hf.recipe import load_recipe, packaged_recipes


def test_every_column_has_one_owner_a_type_and_a_meaning() -> None:
    for name, column in schema.COLUMNS.items():
        assert (column.owner == "*") == (name in schema.APPEND_ONLY), name
        assert column.meaning and column.meaning == column.meaning.strip() and not column.meaning.endswith("."), name
        assert column.media is None or column.type == schema.MEDIA, name
    owned = [name for owner in {c.owner for c in schema.COLUMNS.values()} - {"*"} for name in schema.columns_of(owner)]
    assert sorted([*owned, *schema.APPEND_ONLY]) == sorted(schema.COLUMNS)


@pytest.mark.parametrize("recipe", packaged_recipes())
def test_every_column_of_a_packaged_recipe_is_read_after_it_is_written(recipe: str) -> None:
    known = {"films"}
    for stage in load_recipe(recipe).processors():
        for column in stage.reads:
            assert schema.COLUMNS[column].owner in known, f"{stage.name} reads {column}"
        assert stage.produces, f"{stage.name} owns no column"
        known.add(stage.name)


def test_an_unknown_column_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="no_such"):
        schema.arrow_schema(["film_id", "no_such"])


def test_features_and_types_survive_parquet(tmp_path: Path) -> None:
    names = list(schema.COLUMNS)
    features = schema.features(names)
    path = tmp_path / "all.parquet"
    Dataset.from_dict({name: [None] for name in names}, features=features).to_parquet(path)
    assert Dataset.from_parquet(str(path)).features == features
    assert pq.read_schema(path).remove_metadata() == schema.arrow_schema(names)


def test_media_columns_stay_undecoded_inside_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {**schema.COLUMNS, "voice": schema.Column(schema.MEDIA, "separate", "a voice", media="audio")}
    monkeypatch.setattr(schema, "COLUMNS", columns)
    features = schema.features(["film_id", "voice"])
    assert isinstance(features, Features) and features["voice"].decode is False


def test_two_stages_may_not_own_one_column() -> None:
    recipe = load_recipe("offline")
    twice = type(recipe)(recipe.name, "", "auto", (*recipe.stages, recipe.stages[-1]))
    with pytest.raises(UsageError, match="verify stands twice"):
        twice.processors()
