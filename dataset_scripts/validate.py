"""Checks a dataset folder as a stranger would: opens it with `datasets`, reads every row, decodes all media.

Findings are data, not exceptions: a folder with ten faults reports ten lines.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import soundfile

from cineforge_hf.dataset_scripts.export import MANIFEST
from cineforge_hf.dataset_scripts.parquet import CONFIGS, published_features
from cineforge_hf.errors import RowError, UsageError
from cineforge_hf.media import probe
from cineforge_hf.runs.files import read_json, sha256_of

# A picture may end up to one frame of the slowest common film rate before or after its sound.
_FRAME_SECONDS = 1 / 23
_GRID_SECONDS = 1e-6


@dataclass(frozen=True)
class Finding:
    """One fault: where it is and what it is."""

    where: str
    message: str


def validate_dataset(folder: Path, decode: bool = True) -> Iterator[Finding]:
    """Checks a dataset folder.

    Args:
        folder: what `export` made.
        decode: also decode all sound and read all pictures' packets.

    Yields:
        What is wrong, in the order of the files.

    Raises:
        UsageError: the folder is no exported dataset.
    """
    manifest = read_json(folder / MANIFEST) if folder.is_dir() else None
    if not isinstance(manifest, dict):
        raise UsageError(f"{folder}: not a dataset that `cineforge export` made")
    yield from _check_files(folder, manifest)
    counts = {config: _count(folder, config) for config in CONFIGS}
    expected = {"default": manifest["accepted"], "video": manifest["accepted"], "rejected": manifest["rejected"]}
    for config, count in counts.items():
        if count != expected[config]:
            yield Finding(config, f"{count} rows, but the manifest says {expected[config]}")
    seen: set[str] = set()
    for path in sorted((folder / "data" / "default").glob("*.parquet")):
        pictures = path.parent.parent / "video" / path.name
        yield from _check_schema(path)
        yield from _check_rows(path, pictures, seen, decode)


def _check_files(folder: Path, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    for name, facts in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            yield Finding(name, "missing")
        elif path.stat().st_size != facts["bytes"] or sha256_of(path) != facts["sha256"]:
            yield Finding(name, "differs from what was exported" + (" (edited?)" if name == "README.md" else "; export again"))
    extra = {p.relative_to(folder).as_posix() for p in (folder / "data").rglob("*.parquet")} - set(manifest["files"])
    for name in sorted(extra):
        yield Finding(name, "not in the manifest; load_dataset would read it")


def _count(folder: Path, config: str) -> int:
    return sum(
        pq.read_metadata(path).num_rows for path in sorted((folder / "data" / config).glob("*.parquet")) if _readable(path)
    )


def _readable(path: Path) -> bool:
    try:
        pq.read_metadata(path)
    except (OSError, ValueError):
        return False
    return True


def _check_schema(path: Path) -> Iterator[Finding]:
    if not _readable(path):
        yield Finding(path.name, "not a whole Parquet file; export again")
        return
    names = pq.read_schema(path).names
    try:
        wanted = published_features([n for n in names if n not in {"accept", "audio"}])["default"].arrow_schema
    except KeyError as error:
        yield Finding(path.name, f"column {error} is not in the contract of this version")
        return
    if not pq.read_schema(path).equals(wanted):
        yield Finding(path.name, "columns or types differ from the contract of this version")


def _check_rows(path: Path, pictures: Path, seen: set[str], decode: bool) -> Iterator[Finding]:
    if not (_readable(path) and _readable(pictures)):
        yield Finding(pictures.name, "its two halves cannot be read side by side")
        return
    left, right = pq.ParquetFile(path).iter_batches(batch_size=16), pq.ParquetFile(pictures).iter_batches(batch_size=16)
    for rows, videos in zip(left, right, strict=False):
        for row, video in zip(rows.to_pylist(), videos.to_pylist(), strict=False):
            where = f"{path.name}, clip {row['clip_id']}"
            for message in (*_check_times(row), *(_check_media(row, video) if decode else ())):
                yield Finding(where, message)
            if row["clip_id"] in seen:
                yield Finding(where, "the same clip_id twice")
            seen.add(row["clip_id"])


def _check_times(row: Mapping[str, Any]) -> Iterator[str]:
    if not 0 <= row["start"] < row["end"]:
        yield f"starts at {row['start']} and ends at {row['end']}"
    if abs(row["end"] - row["start"] - row["duration"]) > _GRID_SECONDS:
        yield f"duration {row['duration']} is not end - start"
    for column in ("clip_cues", "words", "clip_speech"):
        for item in row.get(column) or ():
            if not -_GRID_SECONDS <= item["start"] <= item["end"] <= row["duration"] + _GRID_SECONDS:
                yield f"{column}: {item['start']} to {item['end']} lies outside the clip"
                break
    if not (row["text"] or "").strip():
        yield "no text"
    if row["errors"] or row["reject_reasons"] or not row["accept"]:
        yield "a rejected row among the accepted"


def _check_media(row: Mapping[str, Any], video: Mapping[str, Any]) -> Iterator[str]:
    try:
        samples, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="int32", always_2d=True)
        if abs(len(samples) - row["duration"] * rate) > 1:
            yield f"sound of {len(samples) / rate:.3f} s in a clip of {row['duration']:.3f} s"
    except (RuntimeError, TypeError) as error:
        yield f"sound does not decode: {error}"
    try:
        picture = probe(video["video"]["bytes"])
        if picture.video is None:
            yield "no picture"
        elif abs(picture.video.duration - row["duration"]) > _FRAME_SECONDS:
            yield f"picture of {picture.video.duration:.3f} s in a clip of {row['duration']:.3f} s"
    except RowError as error:
        yield f"picture does not open: {error}"
