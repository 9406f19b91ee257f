"""Media that stages make, inside a run: small ones as bytes in the row, large ones once in `media/`, named by content.

A stage returns {"bytes", "path"} values wherever its columns have the type `schema.MEDIA`, at any depth: bytes, or the
path of a temporary file that it wrote. It never learns of the run. Readers get absolute paths back.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from cineforge_hf import schema
from cineforge_hf.runs.files import sha256_of, write_atomic

# A shard holds small media itself, so that one file is read for many rows.
INLINE_BYTES = 1_000_000
FOLDER = "media"


def store_media(run: Path, kind: pa.DataType, value: Any) -> Any:
    """Puts large media of a value into the run; temporary files are moved, whatever their size.

    Args:
        run: the run directory.
        kind: the value's Arrow type.
        value: what a stage returned for it.

    Returns:
        The value as shards hold it: paths relative to the run.
    """
    return _map_media(kind, value, lambda media: _store(run, media))


def resolve_media(run: Path, kind: pa.DataType, value: Any) -> Any:
    """The value with absolute paths, as stages read it."""

    def place(media: dict[str, Any]) -> dict[str, Any]:
        return {**media, "path": str((run / media["path"]).absolute())} if _is_stored(media) else media

    return _map_media(kind, value, place)


def media_paths(kind: pa.DataType, value: Any) -> list[str]:
    """Paths, relative to the run, of the media files that a value names."""
    found: list[str] = []

    def note(media: dict[str, Any]) -> dict[str, Any]:
        found.extend([media["path"]] if _is_stored(media) else [])
        return media

    _map_media(kind, value, note)
    return found


def holds_media(kind: pa.DataType) -> bool:
    """Whether a type has media anywhere inside."""
    if kind == schema.MEDIA:
        return True
    if pa.types.is_list(kind):
        return holds_media(kind.value_type)
    return pa.types.is_struct(kind) and any(holds_media(kind.field(i).type) for i in range(kind.num_fields))


def _map_media(kind: pa.DataType, value: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    if value is None or not holds_media(kind):
        return value
    if kind == schema.MEDIA:
        return change(value)
    if pa.types.is_list(kind):
        return [_map_media(kind.value_type, item, change) for item in value]
    fields = [kind.field(i) for i in range(kind.num_fields)]
    return {**value, **{f.name: _map_media(f.type, value[f.name], change) for f in fields if f.name in value}}


def _store(run: Path, media: dict[str, Any]) -> dict[str, Any]:
    content, path = media.get("bytes"), media.get("path")
    suffix = Path(path).suffix if path else ""
    if content is None:
        return _adopt(run, Path(path)) if path else media
    if len(content) > INLINE_BYTES:
        return _put(run, hashlib.sha256(content).hexdigest(), suffix, lambda target: _write(content, target))
    return {"bytes": content, "path": Path(path).name if path else None}


def _adopt(run: Path, path: Path) -> dict[str, Any]:
    stored = _put(run, sha256_of(path), path.suffix, lambda target: _move(path, target))
    if path.parent != (run / FOLDER).absolute():  # a row that is kept by a retry names its file where it already is
        path.unlink(missing_ok=True)
    return stored


def _put(run: Path, digest: str, suffix: str, write: Callable[[Path], None]) -> dict[str, Any]:
    target = run / FOLDER / f"{digest}{suffix}"
    if not target.is_file():
        write_atomic(target, write)
    return {"bytes": None, "path": f"{FOLDER}/{target.name}"}


def _write(content: bytes, target: Path) -> None:
    target.write_bytes(content)


def _move(source: Path, target: Path) -> None:
    shutil.move(source, target)


def _is_stored(media: dict[str, Any]) -> bool:
    return media.get("bytes") is None and bool(media.get("path"))
