"""The films of a run: folders, files and manifests to film rows.

Invariants:
- Sources are only read. A film is known by the hash of its content; its path is a label.
- Every file that looks like a film gets a row, whatever is wrong with it; what is wrong is in the row's `errors`.
- The same content twice is one film and a row that names it in `duplicate_of`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cineforge_hf.errors import UsageError
from cineforge_hf.recipe import LANGUAGES, refuse_unknown
from cineforge_hf.runs.files import sha256_of

logger = logging.getLogger(__name__)

FILM_EXTENSIONS = frozenset(
    {".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".rmvb", ".ts"}
    | {".vob", ".webm", ".wmv"}
)
SUBTITLE_EXTENSIONS = frozenset({".ass", ".srt", ".ssa", ".vtt"})
MANIFEST_COLUMNS = (
    "path", "title", "season", "episode", "lang", "intro", "outro", "subtitles", "licence", "consent",
)  # fmt: skip

HashCache = dict[str, list[Any]]


@dataclass
class FilmFile:
    """One file to look at: where it is, what to call it, and what the manifest says of it."""

    path: Path
    source: str
    facts: dict[str, Any] = field(default_factory=dict)


def scan_films(
    inputs: str | Path | Sequence[str | Path],
    lang: str = "auto",
    hashes: HashCache | None = None,
    progress: Callable[[Path, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Film rows of folders, files and manifests, sorted by source; the seed of `Ingest`.

    Args:
        inputs: folders (searched recursively), film files, or manifests (.jsonl or .csv with a `path` column).
        lang: language of films whose manifest does not say.
        hashes: cache of content hashes by absolute path; entries of unchanged files are used, others are added.
        progress: called with a file and the bytes of it that were read.

    Returns:
        One dict per film file with the `films` columns of the schema. `source` and the subtitles' paths are absolute
        here; a run stores them relative to the input folder.

    Raises:
        UsageError: an input does not exist, holds no film, or a manifest is wrong.

    Example:
        >>> from cineforge_hf import Ingest, scan_films
        >>> from datasets import Dataset
        >>> films = Dataset.from_list(scan_films("films/"))  # doctest: +SKIP
        >>> films = films.map(Ingest(), batched=True, **Ingest().map_kwargs(films))  # doctest: +SKIP
    """
    inputs = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    rows = [film_row(file, lang, {} if hashes is None else hashes, progress) for file in find_films(inputs)]
    return [{k: v for k, v in row.items() if k != "label"} for row in mark_duplicates(rows)]


def find_films(inputs: Iterable[str | Path], remembered: Collection[str] = ()) -> Iterator[FilmFile]:
    """Film files of the inputs, each once, sorted inside each input; reads no film.

    Args:
        inputs: folders, film files, or manifests.
        remembered: inputs that nobody asks for now; where they hold no films any more, that is a warning.

    Raises:
        UsageError: see `scan_films`.
    """
    seen: set[str] = set()
    labels: set[str] = set()
    for given in inputs:
        try:
            found = _films_of(Path(given))
        except UsageError as error:
            if str(given) not in remembered:
                raise
            logger.warning("%s; passed over", error)
            continue
        for film in found:
            if (key := os.path.abspath(film.path)) not in seen:  # noqa: PTH100 (resolve would follow links)
                seen.add(key)
                film.source = _unique_label(film.source, key, labels)
                labels.add(film.source)
                yield film


def _films_of(path: Path) -> list[FilmFile]:
    if not path.exists() and not path.is_symlink():
        raise UsageError(f"{path}: no such file or folder")
    if path.is_dir():
        if found := [FilmFile(p, p.relative_to(path).as_posix()) for p in _walk(path)]:
            return found
        kinds = " ".join(sorted(e.lstrip(".") for e in FILM_EXTENSIONS))
        raise UsageError(f"{path}: no films in this folder; files that count: {kinds}")
    if path.suffix.lower() in {".jsonl", ".csv"}:
        return _read_manifest(path)
    if path.suffix.lower() in SUBTITLE_EXTENSIONS:
        raise UsageError(f"{path}: subtitles, not a film; give the film, and keep the subtitles beside it")
    return [FilmFile(path, path.name)]


def _unique_label(label: str, path: str, taken: Collection[str]) -> str:
    """The label, with as many folders before it as tell it from the films of other inputs."""
    parts = Path(path).parts[1:]
    for n in range(len(Path(label).parts), len(parts)):
        if label not in taken:
            break
        label = "/".join(parts[-n - 1 :])
    return label


def mark_duplicates(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Gives each row its id: the first of equal films keeps the content's, the others name it in `duplicate_of`."""
    first: dict[str, str] = {}
    for row in rows:
        sha256, label = row["sha256"], row["label"]
        if sha256 is None:
            row["film_id"], row["duplicate_of"] = _hash_text(f"unreadable {label}"), None
        elif sha256 in first:
            row["film_id"], row["duplicate_of"] = _hash_text(f"{sha256} {label}"), first[sha256]
        else:
            row["film_id"], row["duplicate_of"] = sha256[:12], None
            first[sha256] = sha256[:12]
    return rows


def _walk(folder: Path) -> Iterator[Path]:
    """Films under a folder, following links to folders but never into a loop."""
    visited: set[tuple[int, int]] = set()
    for here, folders, files in os.walk(folder, followlinks=True, onerror=_warn_unreadable):
        place = Path(here)
        status = place.stat()
        if (status.st_dev, status.st_ino) in visited:
            logger.warning("%s: links back to a folder already searched; skipped", place)
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        if {"run.json", "films.json"} <= set(files):  # a run among its films: the media in it are its own
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() in FILM_EXTENSIONS and not name.startswith("."):
                yield place / name


def _warn_unreadable(error: OSError) -> None:
    logger.warning("%s: %s; skipped", error.filename, error.strerror)


def _read_manifest(path: Path) -> list[FilmFile]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".csv":
            records: list[Any] = list(csv.DictReader(io.StringIO(text, newline="")))
        else:
            records = [json.loads(line) for line in text.split("\n") if line.strip()]
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{path}: cannot read this manifest: {error}; it is UTF-8 JSONL or CSV") from error
    if not records:
        raise UsageError(f"{path}: an empty manifest; give one film per line, at least its path")
    films = []
    for number, record in enumerate(records, start=1):
        where = f"{path}, film {number}"
        if not isinstance(record, dict):
            raise UsageError(f"{where}: a film is a JSON object, not {record!r}")
        refuse_unknown(record, MANIFEST_COLUMNS, where)
        if not record.get("path"):
            raise UsageError(f"{where}: each film needs a path")
        films.append(_manifest_film(record, path.parent, where))
    return films


def _manifest_film(record: Mapping[str, Any], folder: Path, where: str) -> FilmFile:
    facts = {key: value for key, value in record.items() if value not in (None, "") and key != "path"}
    if facts.get("lang", "auto") not in LANGUAGES:
        raise UsageError(f"{where}: lang is {facts['lang']!r}; choose {', '.join(LANGUAGES)}")
    for key in ("intro", "outro"):
        if key in facts:
            try:
                facts[key] = float(facts[key])
            except (TypeError, ValueError):
                facts[key] = -1.0
            if not 0 <= facts[key] < float("inf"):
                raise UsageError(f"{where}: {key} is {record[key]!r}; give seconds, 0 or more")
    if "subtitles" in facts:
        given = facts["subtitles"]
        facts["subtitles"] = [folder / str(p) for p in (given if isinstance(given, list) else [given])]
        for subtitle in facts["subtitles"]:
            if not subtitle.is_file():
                raise UsageError(f"{where}: no subtitle file {subtitle}")
    path = Path(os.path.normpath(str(record["path"])))
    # Labels are published: where a film lies outside the manifest's folder, its path is nobody's business.
    outside = path.is_absolute() or ".." in path.parts
    return FilmFile(folder / path, path.name if outside else path.as_posix(), facts)


def film_row(file: FilmFile, lang: str, hashes: HashCache, progress: Callable[[Path, int], None] | None) -> dict[str, Any]:
    """One film's row, with its `label` (the path relative to its input); hashes the file unless `hashes` knows it."""
    facts = file.facts
    path, label = os.path.abspath(file.path), _printable(file.source)  # noqa: PTH100
    folder = Path(label).parent.as_posix()
    row: dict[str, Any] = {
        "source": _printable(path),
        "label": label,
        "sha256": None,
        "title": _text(facts.get("title")) or (Path(label).stem if folder == "." else folder),
        "season": _text(facts.get("season")),
        "episode": _text(facts.get("episode")) or Path(label).stem,
        "lang": facts.get("lang", lang),
        "intro": facts.get("intro"),
        "outro": facts.get("outro"),
        "licence": _text(facts.get("licence")),
        "consent": _text(facts.get("consent")),
        "subtitles": [],
        "errors": [],
    }
    try:
        if _printable(path) != path:
            raise _UnusableError("file_name", f"{label}: its name or its folder's is not UTF-8; rename it")
        if file.path.stat().st_size == 0:
            raise _UnusableError("empty_file", f"{file.path}: an empty file; copy the film again")
        row["sha256"] = _cached_sha256(file.path, hashes, progress)
        sidecars = facts.get("subtitles") or _sidecars(file.path)
        row["subtitles"] = [{"path": os.path.abspath(p), "sha256": _cached_sha256(p, hashes, None)} for p in sidecars]  # noqa: PTH100
    except _UnusableError as error:
        row["errors"] = [{"stage": "films", "code": error.code, "message": str(error)}]
    except OSError as error:
        message = f"{error.filename or file.path}: cannot be read ({error.strerror}); check its permissions and links"
        row["sha256"] = None  # also where its subtitles are at fault: without them it would be another film
        row["errors"] = [{"stage": "films", "code": "unreadable", "message": message}]
    return row


def without_root(message: str, path: str, label: str) -> str:
    """The message with paths relative to the input: shards are published, and where films lie is nobody's business.

    >>> without_root("/home/me/films/a/b.mp4: no sound", "/home/me/films/a/b.mp4", "a/b.mp4")
    'a/b.mp4: no sound'
    """
    root = path.removesuffix(label) if path.endswith(f"/{label}") else f"{Path(path).parent}/"
    return message.replace(root, "") if root.strip("/") else message


def _sidecars(film: Path) -> list[Path]:
    """Subtitle files that belong to a film: `film.srt`, `film.zh.srt`, ... beside it or in a folder named subs."""
    folders = [film.parent, *(p for p in sorted(film.parent.iterdir()) if p.is_dir() and p.name.lower() in {"subs", "subtitles"})]
    found = [
        path
        for folder in folders
        for path in sorted(folder.iterdir(), key=lambda p: (len(p.name), p.name))
        if path.suffix.lower() in SUBTITLE_EXTENSIONS and (path.stem == film.stem or path.stem.startswith(f"{film.stem}."))
    ]
    return [path for path in found if path.is_file() and _printable(path.name) == path.name]


def _cached_sha256(path: Path, hashes: HashCache, progress: Callable[[Path, int], None] | None) -> str:
    status = path.stat()
    key = os.path.abspath(path)  # noqa: PTH100
    known = hashes.get(key)
    if known and known[:2] == [status.st_size, status.st_mtime_ns]:
        return str(known[2])
    digest = sha256_of(path, (lambda n: progress(path, n)) if progress else None)
    hashes[key] = [status.st_size, status.st_mtime_ns, digest]
    return digest


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _printable(text: str) -> str:
    """The text without the bytes that are no UTF-8; names of files may have some, Parquet and JSON may not."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _text(value: Any) -> str | None:
    return None if value in (None, "") else str(value)


class _UnusableError(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
