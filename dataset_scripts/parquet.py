"""Parquet as `load_dataset` and the Hub's viewer want it: features in the metadata, row groups of bounded size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Audio, Features, Value, Video

from cineforge_hf import schema

# The Hub's viewer refuses row groups over about 286 MB; readers fetch whole groups. Bytes of media before encoding.
ROW_GROUP_BYTES = 64_000_000
ROW_GROUP_ROWS = 1_000

CONFIGS = ("default", "video", "rejected")


def published_features(columns: Sequence[str]) -> dict[str, Features]:
    """Features of each config. `default` and `video` share no column, so that they join side by side."""
    plain = schema.features(columns)
    plain["accept"] = Value("bool")
    return {
        "default": Features({**plain, "audio": Audio()}),
        "video": Features({"video": Video()}),
        "rejected": Features(plain),
    }


class RowGroupWriter:
    """Writes rows to a Parquet file, a row group as soon as enough bytes are there; a context manager.

    Args:
        path: the file.
        features: its columns; stored in the metadata where `datasets` looks for them.
    """

    def __init__(self, path: Path, features: Features) -> None:
        self._schema: pa.Schema = features.arrow_schema
        self._path = path
        self._rows: list[Mapping[str, Any]] = []
        self._bytes = 0

    def __enter__(self) -> RowGroupWriter:
        self._writer = pq.ParquetWriter(self._path, self._schema, compression="zstd", use_dictionary=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Adds a row; columns that the features lack are left out."""
        self._rows.append({name: row.get(name) for name in self._schema.names})
        self._bytes += sum(len(v["bytes"]) for v in row.values() if isinstance(v, dict) and v.get("bytes"))
        if self._bytes >= ROW_GROUP_BYTES or len(self._rows) >= ROW_GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows, self._bytes = [], 0
