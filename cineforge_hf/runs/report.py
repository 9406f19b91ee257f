"""A run as one static HTML page: counts, charts, what failed, films and clips as timelines. It loads nothing from outside."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from cineforge_hf import __version__
from cineforge_hf.errors import RowError
from cineforge_hf.media import open_clip
from cineforge_hf.runs.files import write_atomic
from cineforge_hf.runs.rows import FilmRef, Row, clip_rows, list_films, published_columns, reasons
from cineforge_hf.runs.status import failures, run_status
from cineforge_hf.runs.store import Run
from cineforge_hf.runs.timeline import CUE, SOUND, SPEECH, timeline_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A page that a browser opens at once: pictures of some clips, bars of some films, numbers of all.
_CLIPS_DRAWN = 16
_FILMS_DRAWN = 8
_ACCEPTED, _REJECTED = "#2a9d8f", "#c1443c"


def write_report(run: Run, path: Path) -> None:
    """Writes the report of a finished run.

    Args:
        run: the run.
        path: the HTML file; replaced if it is there.

    Raises:
        UsageError: the run is unfinished.
    """
    films = list_films([run])
    columns = published_columns([run])
    numbers = _Numbers()
    drawn = _spread([(film, shard) for film in films for shard in film.shards], _CLIPS_DRAWN)
    clips: list[dict[str, Any]] = []
    overviews: list[dict[str, str]] = []
    for film in films:
        rows = []
        for shard in film.shards:
            part = list(clip_rows(film, columns, [shard]))
            rows += part if len(overviews) < _FILMS_DRAWN else []
            for row in part:
                numbers.add(row)
            if (film, shard) in drawn:
                real = [row for row in part if row["clip_id"]]
                clips += [_clip(film, row) for row in _spread(real, max(1, _CLIPS_DRAWN // len(drawn)))]
        if len(overviews) < _FILMS_DRAWN and film.row.get("film_duration"):
            overviews.append(_overview(film, rows))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = resources.files("cineforge_hf.runs").joinpath("templates/report.html.jinja").read_text(encoding="utf-8")
    html = environment.from_string(template).render(
        name=str(run.path),
        recipe=run.recipe.name,
        version=__version__,
        films=len(films),
        accepted=numbers.accepted,
        rejected=numbers.rejected,
        seconds=sum(numbers.durations),
        failures=[asdict(f) for f in failures(run)],
        stages=run_status(run),
        charts=numbers.charts(),
        overviews=overviews,
        hidden_films=sum(bool(f.row.get("film_duration")) for f in films) - len(overviews),
        clips=clips,
        hidden_clips=numbers.clips - len(clips),
    )
    write_atomic(path, lambda temporary: _write(temporary, html))


class _Numbers:
    """What the charts show, gathered row by row."""

    def __init__(self) -> None:
        self.accepted = self.rejected = self.clips = 0
        self.durations: list[float] = []
        self.rates: list[float] = []
        self.reasons: Counter[str] = Counter()

    def add(self, row: Row) -> None:
        self.clips += bool(row["clip_id"])
        if not row["accept"]:
            self.rejected += 1
            self.reasons.update(reasons(row) or ["no_clips"])
            return
        self.accepted += 1
        self.durations.append(row["duration"])
        if row.get("speech_rate") is not None:
            self.rates.append(row["speech_rate"])

    def charts(self) -> list[str]:
        charts = []
        if self.durations:
            charts.append(_histogram(self.durations, "length of accepted clips", "seconds"))
        if self.rates:
            charts.append(_histogram(self.rates, "speech rate", "characters (zh) or words (en) per second"))
        if self.reasons:
            charts.append(_bars(self.reasons, "why rows were rejected"))
        return charts


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` items, evenly spread."""
    if len(items) <= count:
        return list(items)
    return [items[int(i * len(items) / count)] for i in range(count)]


def _clip(film: FilmRef, row: Row) -> dict[str, Any]:
    facts: dict[str, Any] = {key: row[key] for key in ("clip_id", "start", "end", "source")}
    facts |= {"text": row["text"] or row["asr_text"] or "", "reasons": reasons(row), "picture": "", "error": ""}
    try:
        picture = timeline_picture(row, open_clip({**row, "source": film.path}))
        facts["picture"] = base64.b64encode(picture).decode()
    except RowError as error:
        facts["error"] = error.message
    return facts


def _overview(film: FilmRef, rows: Sequence[Row]) -> dict[str, str]:
    """A film as bars: voice activity, cues, and clips by what became of them."""
    figure = _figure(12, 1.5)
    axes = figure.subplots()
    for y, spans, colour in ((2, film.row.get("speech"), SPEECH), (1, film.row.get("cues"), CUE)):
        axes.broken_barh([(s["start"], s["end"] - s["start"]) for s in spans or ()], (y + 0.1, 0.8), color=colour)
    for accepted, colour in ((True, _ACCEPTED), (False, _REJECTED)):
        clips = [r for r in rows if r["clip_id"] and r["accept"] is accepted]
        axes.broken_barh([(r["start"], r["duration"]) for r in clips], (0.1, 0.8), color=colour, edgecolor="white", linewidth=0.5)
    for edge in (film.row["trim_start"], film.row["trim_end"]):
        axes.axvline(edge, color=SOUND, linestyle=":", linewidth=1)
    axes.set_yticks([0.5, 1.5, 2.5], ["clips", "cues", "speech"])
    axes.set_xlim(0, film.row["film_duration"])
    axes.set_xlabel("seconds")
    axes.spines[["left", "right", "top"]].set_visible(False)
    facts = [f"{film.row['film_duration']:.1f} s", f"{film.row['width']}x{film.row['height']}", f"{film.row['fps']:.3f} fps"]
    if film.row.get("subtitle_offset") is not None:
        facts.append(f"subtitles moved {film.row['subtitle_offset']:+.2f} s, rate {film.row['subtitle_rate']:.4f}")
    return {"source": film.row["source"], "note": " · ".join(facts), "svg": _svg(figure)}


def _histogram(values: Sequence[float], title: str, label: str) -> str:
    figure = _figure(4, 2.6)
    axes = figure.subplots()
    axes.hist(values, bins=min(30, max(5, len(values) // 2)), color=_ACCEPTED)
    axes.set_xlabel(label)
    axes.set_ylabel("clips")
    return _svg(figure, title)


def _bars(counts: Counter[str], title: str) -> str:
    figure = _figure(4, 2.6)
    axes = figure.subplots()
    names = [name for name, _ in counts.most_common(8)][::-1]
    axes.barh(names, [counts[name] for name in names], color=_REJECTED)
    axes.set_xlabel("rows")
    return _svg(figure, title)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure, title: str | None = None) -> str:
    if title:
        figure.suptitle(title, fontsize=11)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _write(path: Path, html: str) -> None:
    path.write_text(html, encoding="utf-8")
