"""Checks a dataset folder as a stranger would: opens it with `datasets`, reads every row, decodes all media.

Findings are data, not exceptions: a folder with ten faults reports ten lines.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
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
# Rows in memory at once, with their media.
_BATCH = 16


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
    if not isinstance(manifest, dict) or not {"files", "accepted", "rejected"} <= set(manifest):
        raise UsageError(f"{folder}: not a dataset that `cineforge export` made")
    yield from _check_files(folder, manifest)
    expected = {"default": manifest["accepted"], "video": manifest["accepted"], "rejected": manifest["rejected"]}
    for config in CONFIGS:
        if (count := _count(folder, config)) != expected[config]:
            yield Finding(config, f"{count} rows, but the manifest says {expected[config]}")
    sound: set[Path] = set()
    for path in sorted((folder / "data").rglob("*.parquet")):
        if message := _schema_fault(path):
            yield Finding(path.relative_to(folder).as_posix(), message)
        else:
            sound.add(path)
    seen: set[str] = set()
    for path in sorted(p for p in sound if p.parent.name == "default"):
        pictures = path.parent.parent / "video" / path.name
        if pictures in sound:
            yield from _check_rows(folder, path, pictures, seen, decode)
        else:
            yield Finding(path.relative_to(folder).as_posix(), "its rows cannot be checked without their pictures")


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


def _schema_fault(path: Path) -> str:
    """What is wrong with a file's columns, or an empty string."""
    if not _readable(path):
        return "not a whole Parquet file; export again"
    found = pq.read_schema(path)
    try:
        wanted = published_features([n for n in found.names if n not in {"accept", "audio", "video"}])[path.parent.name]
    except KeyError as error:
        return f"{error} is not in the contract of this version"
    return "" if found.equals(wanted.arrow_schema) else "columns or types differ from the contract of this version"


def _check_rows(folder: Path, path: Path, pictures: Path, seen: set[str], decode: bool) -> Iterator[Finding]:
    name = path.relative_to(folder).as_posix()
    try:
        with pq.ParquetFile(path) as left, pq.ParquetFile(pictures) as right:
            for rows, videos in zip(left.iter_batches(_BATCH), right.iter_batches(_BATCH), strict=False):
                for row, video in zip(rows.to_pylist(), videos.to_pylist(), strict=False):
                    where = f"{name}, clip {row['clip_id']}"
                    for message in (*_check_times(row), *(_check_media(row, video["video"]) if decode else ())):
                        yield Finding(where, message)
                    if row["clip_id"] in seen:
                        yield Finding(where, "the same clip_id twice")
                    seen.add(row["clip_id"])
    except (OSError, pa.ArrowException) as error:
        yield Finding(name, f"its rows, or those of its pictures, cannot be read: {error}")


def _check_times(row: Mapping[str, Any]) -> Iterator[str]:
    if None in (row["start"], row["end"], row["duration"]) or not 0 <= row["start"] < row["end"]:
        yield f"starts at {row['start']}, ends at {row['end']} and lasts {row['duration']}"
        return
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


def _check_media(row: Mapping[str, Any], video: Mapping[str, Any] | None) -> Iterator[str]:
    for kind, media, suffix in (("sound", row["audio"], "flac"), ("picture", video, "mp4")):
        if media and media["path"] != f"{row['clip_id']}.{suffix}":
            yield f"its {kind} is that of {media['path']}"
    duration = row["duration"] or 0.0
    try:
        samples, rate = soundfile.read(io.BytesIO((row["audio"] or {}).get("bytes") or b""), dtype="int32", always_2d=True)
        if abs(len(samples) - duration * rate) > 1:
            yield f"sound of {len(samples) / rate:.3f} s in a clip of {duration:.3f} s"
    except RuntimeError as error:
        yield f"sound does not decode: {error}"
    try:
        picture = probe((video or {}).get("bytes") or b"").video
        if picture is None:
            yield "no picture"
        elif abs(picture.duration - duration) > _FRAME_SECONDS:
            yield f"picture of {picture.duration:.3f} s in a clip of {duration:.3f} s"
    except RowError as error:
        yield f"picture does not open: {error}"
