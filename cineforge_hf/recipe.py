"""Recipes: YAML to a checked list of processors.

    name: offline
    description: Nothing is downloaded.
    lang: auto
    stages:
      - ingest
      - transcribe: {engine: subtitles}
      - my_package.denoise:Denoise: {strength: 0.5}

A stage is named by its entry point (group `cineforge_hf.processors`) or as `module:Class`. Unknown keys and stages are
errors that name the nearest match, and every stage's columns are checked before any work.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module, resources
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import yaml

from cineforge_hf import schema
from cineforge_hf.errors import UsageError
from cineforge_hf.processor import Processor

LANGUAGES = ("zh", "en", "auto")
_GROUP = "cineforge_hf.processors"
_MISFIT = object()


@dataclass(frozen=True)
class Recipe:
    """An ordered list of stages with their settings.

    Args:
        name: the recipe's name.
        description: one line for people.
        lang: language of films that do not say theirs: `zh`, `en` or `auto`.
        stages: (stage as named in the recipe, settings given) pairs.
    """

    name: str
    description: str
    lang: str
    stages: tuple[tuple[str, dict[str, Any]], ...]

    def as_json(self) -> dict[str, Any]:
        """The recipe as JSON types, for `run.json`; `from_json` reads it back."""
        return {**dataclasses.asdict(self), "stages": [[name, settings] for name, settings in self.stages]}

    @staticmethod
    def from_json(value: dict[str, Any]) -> Recipe:
        """Reads what `as_json` wrote."""
        return Recipe(**{**value, "stages": tuple((name, settings) for name, settings in value["stages"])})

    def processors(self, device: str = "auto") -> list[Processor]:
        """The stages as processors, checked: settings, columns, and that only one stage makes clips of films.

        Raises:
            UsageError: the recipe cannot work; the message says where and why.
        """
        built = [_build(name, settings, device) for name, settings in self.stages]
        _check_columns(built)
        return built


def packaged_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    files = resources.files("cineforge_hf.configs.recipes").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a packaged recipe by name, or a YAML file.

    Args:
        name_or_path: e.g. `offline` or `recipes/mine.yaml`.
        overrides: `stage.key=value` strings, value in YAML.

    Raises:
        UsageError: no such recipe, or something in it is wrong.
    """
    if name_or_path in packaged_recipes():
        text = resources.files("cineforge_hf.configs.recipes").joinpath(f"{name_or_path}.yaml").read_text(encoding="utf-8")
    elif Path(name_or_path).is_file():
        try:
            text = Path(name_or_path).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{name_or_path}: not a recipe: {error.reason} at byte {error.start}; recipes are UTF-8 YAML"
            ) from error
    else:
        raise UsageError(f"no recipe {name_or_path!r}: give a YAML file or one of {', '.join(packaged_recipes())}")
    recipe = _parse(text, name_or_path)
    for override in overrides:
        recipe = _override(recipe, override)
    return recipe


def _parse(text: str, where: str) -> Recipe:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict) or not isinstance(value.get("stages"), list) or not value["stages"]:
        raise UsageError(f"{where}: a recipe is a mapping with a list of stages; see cineforge_hf/configs/recipes/offline.yaml")
    refuse_unknown(value, ("name", "description", "lang", "stages"), where)
    stages: list[tuple[str, dict[str, Any]]] = []
    for item in value["stages"]:
        name, settings = next(iter(item.items())) if isinstance(item, dict) and len(item) == 1 else (item, None)
        if not isinstance(name, str) or not (settings is None or isinstance(settings, dict)):
            raise UsageError(f"{where}: a stage is `name` or `name: {{setting: value}}`, not {item!r}")
        stages.append((name, settings or {}))
    lang = value.get("lang", "auto")
    if lang not in LANGUAGES:
        raise UsageError(f"{where}: lang is {lang!r}; choose {', '.join(LANGUAGES)}")
    return Recipe(str(value.get("name", Path(where).stem)), str(value.get("description", "")), lang, tuple(stages))


def _override(recipe: Recipe, override: str) -> Recipe:
    target, equals, raw = override.partition("=")
    stage, dot, key = target.rpartition(".")
    if not (equals and dot and stage and key):
        raise UsageError(f"--set {override}: write stage.key=value, e.g. ingest.intro=10")
    names = [name for name, _ in recipe.stages]
    if stage not in names:
        raise UsageError(f"--set {override}: recipe {recipe.name} has no stage {stage!r}{_nearest(stage, names)}")
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {override}: {raw!r} is not a YAML value") from error
    stages = tuple((name, {**settings, key: value} if name == stage else settings) for name, settings in recipe.stages)
    return dataclasses.replace(recipe, stages=stages)


def _build(name: str, settings: dict[str, Any], device: str) -> Processor:
    kind = _find(name)
    fields = {f.name: f for f in dataclasses.fields(kind) if not f.metadata.get("runtime")}
    refuse_unknown(settings, fields, f"stage {name}")
    types = typing.get_type_hints(kind)
    checked = {key: _typed(value, types[key], f"{name}.{key}") for key, value in settings.items()}
    try:
        return kind(**checked, device=device)
    except (TypeError, ValueError) as error:
        raise UsageError(f"stage {name}: {error}") from error


def _typed(value: Any, wanted: Any, where: str) -> Any:
    """Accepts what a YAML author would expect: an integer where a number is wanted, null only where it is allowed."""
    options = typing.get_args(wanted) if typing.get_origin(wanted) in (typing.Union, types.UnionType) else (wanted,)
    for option in options:
        if (fitting := _fit(value, option)) is not _MISFIT:
            return fitting
    raise UsageError(f"{where}: {value!r} is not {' or '.join(map(_type_name, options))}")


def _fit(value: Any, wanted: Any) -> Any:
    """The value as the wanted type, or `_MISFIT`."""
    kind, arguments = typing.get_origin(wanted) or wanted, typing.get_args(wanted)
    if kind is Any:
        return value
    if kind is typing.Literal:
        return value if value in arguments else _MISFIT
    if kind in (list, tuple, Sequence):
        items = [_fit(v, arguments[0] if arguments else Any) for v in value] if isinstance(value, list | tuple) else [_MISFIT]
        return _MISFIT if _MISFIT in items else items if kind is list else tuple(items)
    if isinstance(value, bool) or kind is bool:
        return value if isinstance(value, kind) and kind is bool else _MISFIT
    if kind is float and isinstance(value, int):
        return float(value)
    return value if isinstance(value, kind) else _MISFIT


def _type_name(wanted: Any) -> str:
    kind, arguments = typing.get_origin(wanted) or wanted, typing.get_args(wanted)
    if kind is typing.Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if kind in (list, tuple, Sequence):
        return f"a list of which each is {_type_name(arguments[0])}" if arguments else "a list"
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    return words.get(kind, str(kind.__name__))


def _find(name: str) -> type[Processor]:
    target = name
    if ":" not in name:
        table = _entry_points()
        if name not in table:
            raise UsageError(f"no stage {name!r}{_nearest(name, table)}; stages: {', '.join(sorted(table))}, or module:Class")
        target = table[name]
    module, _, attribute = target.partition(":")
    try:
        kind = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"stage {name}: cannot import {target}: {error}") from error
    if not (isinstance(kind, type) and issubclass(kind, Processor)):
        raise UsageError(f"stage {name}: {target} is not a Processor")
    return kind


def _entry_points() -> dict[str, str]:
    """Stage names to `module:Class`; a checkout that is not installed reads its own pyproject.toml."""
    table = {entry.name: entry.value for entry in entry_points(group=_GROUP)}
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    if not table and project.is_file():
        table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["entry-points"][_GROUP]
    return table


def _check_columns(processors: Sequence[Processor]) -> None:
    known = set(schema.columns_of("films"))
    exploded: str | None = None
    names: set[str] = set()
    for stage in processors:
        if stage.name in names:
            raise UsageError(f"stage {stage.name} stands twice: each stage may stand once in a recipe")
        names.add(stage.name)
        if missing := [c for c in stage.requires if c not in known]:
            owners = sorted({schema.COLUMNS[c].owner for c in missing if c in schema.COLUMNS})
            hint = f"put {', '.join(owners)} before it" if owners else "no stage makes them"
            raise UsageError(f"stage {stage.name} needs the columns {', '.join(missing)}: {hint}")
        if again := sorted(set(stage.produces) & known):
            raise UsageError(f"stage {stage.name} would write {again[0]}, which is there already: a column has one owner")
        if stage.explodes and exploded:
            raise UsageError(f"stages {exploded} and {stage.name} both turn films into clips: keep one")
        exploded = stage.name if stage.explodes else exploded
        known |= set(stage.produces)


def refuse_unknown(given: Iterable[Any], allowed: Iterable[str], where: str) -> None:
    """Raises a UsageError that names the first unknown key, its nearest match and the choices."""
    allowed = list(allowed)
    for key in given:
        if key not in allowed:
            raise UsageError(f"{where}: unknown key {key!r}{_nearest(str(key), allowed)}; keys: {', '.join(sorted(allowed))}")


def _nearest(word: str, choices: Iterable[str]) -> str:
    match = difflib.get_close_matches(word, list(choices), n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""
