"""The dataset card: what is inside, how it was made, what was rejected and why, and whose rights it touches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import yaml
from datasets import Features

from cineforge_hf import __version__, schema
from cineforge_hf.runs.rows import Row, reasons
from cineforge_hf.runs.store import Run

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))


@dataclass
class Summary:
    """Statistics of an export, gathered row by row."""

    accepted: int = 0
    rejected: int = 0
    seconds: float = 0.0
    shortest: float = float("inf")
    longest: float = 0.0
    films: set[str] = field(default_factory=set)
    titles: set[str] = field(default_factory=set)
    langs: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    consents: Counter[str] = field(default_factory=Counter)
    provenance: set[tuple[str, int, str, str, str]] = field(default_factory=set)

    def add(self, row: Row) -> None:
        """Counts a joined row with `accept`."""
        if not row["accept"]:
            self.rejected += 1
            self.reasons.update(reasons(row) or ["no_clips"])
            return
        self.accepted += 1
        self.seconds += row["duration"]
        self.shortest, self.longest = min(self.shortest, row["duration"]), max(self.longest, row["duration"])
        self.films.add(row["film_id"])
        self.titles.add(row["title"])
        self.langs[row["lang"]] += 1
        self.licences[row["licence"] or "not declared"] += 1
        self.consents[row["consent"] or "not declared"] += 1
        self.provenance.update((p["stage"], p["version"], p["engine"], p["revision"], p["licence"]) for p in row["provenance"])


def write_card(path: Path, name: str, runs: Sequence[Run], summary: Summary, features: Mapping[str, Features]) -> None:
    """Writes `README.md` with the YAML that `load_dataset` and the Hub read."""
    template = resources.files("cineforge_hf.dataset_scripts").joinpath("templates/card.md.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(keep_trailing_newline=True, undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 (Markdown)
    environment.filters["tally"] = _tally
    text = environment.from_string(template).render(
        metadata=yaml.safe_dump(_metadata(name, summary, features), sort_keys=False, allow_unicode=True),
        name=name,
        version=__version__,
        recipes=sorted({run.recipe.name for run in runs}),
        summary=summary,
        columns=[(n, schema.COLUMNS[n].meaning) for n in features["default"] if n in schema.COLUMNS],
    )
    path.write_text(text, encoding="utf-8")


def _metadata(name: str, summary: Summary, features: Mapping[str, Features]) -> dict[str, Any]:
    langs = sorted(lang for lang in summary.langs if lang in {"zh", "en"})
    size = next((label for limit, label in _SIZES if summary.accepted < limit), "n>10M")
    configs = [
        {
            "config_name": config,
            "data_files": [{"split": "train", "path": f"data/{config}/train-*.parquet"}],
            "default": config == "default",
        }
        for config in features
    ]
    return {
        "pretty_name": name,
        **({"language": langs} if langs else {}),
        "license": "other",
        "task_categories": ["text-to-speech", "automatic-speech-recognition"],
        "tags": ["dubbing", "film", "cineforge"],
        "size_categories": [size],
        "configs": [{k: v for k, v in c.items() if v is not False} for c in configs],
        "dataset_info": [{"config_name": config, "features": f._to_yaml_list()} for config, f in features.items()],
    }


def _tally(counts: Counter[str]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in sorted(counts.items())) or "-"
