"""Every kind of damage to a dataset is found, and a sound one passes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import cineforge

from cineforge_hf.dataset_scripts.validate import validate_dataset
from cineforge_hf.errors import UsageError
from cineforge_hf.runs.files import sha256_of

DEFAULT = "data/default/train-00000-of-00001.parquet"
VIDEO = "data/video/train-00000-of-00001.parquet"


def findings(folder: Path) -> list[str]:
    return [f"{f.where}: {f.message}" for f in validate_dataset(folder)]


def bless(folder: Path) -> None:
    """Brings the manifest's hashes up to date, so that only the content can betray a change."""
    path = folder / "cinedub.json"
    manifest = json.loads(path.read_text())
    for name, facts in manifest["files"].items():
        facts.update(sha256=sha256_of(folder / name), bytes=(folder / name).stat().st_size)
    path.write_text(json.dumps(manifest))


def edit(folder: Path, name: str, change: Callable[[list[dict[str, Any]]], Any], sneaky: bool = True) -> None:
    """Rewrites the rows of a file."""
    table = pq.read_table(folder / name)
    rows = table.to_pylist()
    rows = change(rows) or rows
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), folder / name)
    if sneaky:
        bless(folder)


def setting(row: int, **values: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda rows: rows[row].update(values)


def swap(column: str) -> Callable[[list[dict[str, Any]]], None]:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[0][column], rows[1][column] = rows[1][column], rows[0][column]

    return change


def test_a_sound_dataset_has_no_findings(dataset_once: Path) -> None:
    assert findings(dataset_once) == []


def test_the_command_reports_and_exits_0_or_3(dataset: Path) -> None:
    done = cineforge("validate", dataset)
    assert (done.returncode, done.stdout) == (0, f"{dataset}: valid\n")
    (dataset / VIDEO).unlink()
    done = cineforge("validate", dataset)
    assert done.returncode == 3 and f"{VIDEO}: missing" in done.stdout and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", [DEFAULT, VIDEO, "data/rejected/train-00000-of-00001.parquet"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "text"])
def test_damaged_files_are_found(dataset: Path, name: str, damage: str) -> None:
    path = dataset / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "text":
        path.write_text("not parquet")
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        for at in range(8, len(content) - 8, 97):
            content[at] ^= 0xFF
        path.write_bytes(content)
    assert any(f.startswith(f"{name}: ") for f in findings(dataset))


def test_a_flipped_byte_anywhere_is_found_and_ends_nothing(dataset: Path) -> None:
    content = (dataset / DEFAULT).read_bytes()
    for at in range(5, len(content), len(content) // 12):
        broken = bytearray(content)
        broken[at] ^= 0x55
        (dataset / DEFAULT).write_bytes(broken)
        assert any("differs from what was exported" in f for f in findings(dataset)), at


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (DEFAULT, setting(1, duration=9.0), "duration 9.0 is not end - start"),
        (DEFAULT, setting(1, start=5.0, end=4.0), "starts at 5.0, ends at 4.0"),
        (DEFAULT, setting(1, start=1.0, end=3.0, duration=2.0), "in a clip of 2.000 s"),
        (DEFAULT, setting(1, text=" "), "no text"),
        (DEFAULT, setting(1, text=None), "no text"),
        (DEFAULT, setting(1, accept=False), "a rejected row among the accepted"),
        (DEFAULT, setting(1, reject_reasons=["too_short"]), "a rejected row among the accepted"),
        (DEFAULT, setting(1, clip_cues=[{"start": 0.0, "end": 99.0, "text": "x", "engine": "x"}]), "lies outside the clip"),
        (DEFAULT, setting(1, audio={"bytes": b"nothing", "path": "x"}), "sound does not decode"),
        (DEFAULT, setting(1, audio=None), "sound does not decode"),
        (DEFAULT, setting(1, start=None), "starts at None"),
        (DEFAULT, swap("audio"), "sound is that of"),
        (DEFAULT, swap("clip_id"), "is that of"),
        (DEFAULT, lambda rows: [rows[0], *rows[:1], *rows[2:]], "the same clip_id twice"),
        (DEFAULT, lambda rows: rows[:-1], "3 rows, but the manifest says 4"),
        (VIDEO, swap("video"), "picture is that of"),
        (VIDEO, lambda rows: rows[:-1], "3 rows, but the manifest says 4"),
        (VIDEO, setting(1, video={"bytes": b"nothing", "path": "x"}), "picture does not open"),
        (VIDEO, setting(1, video=None), "picture does not open"),
    ],
)
def test_edited_rows_are_found_even_where_the_hashes_were_forged(
    dataset: Path, name: str, change: Callable[[list[dict[str, Any]]], Any], said: str
) -> None:
    edit(dataset, name, change)
    assert any(said in f for f in findings(dataset)), findings(dataset)


def test_edited_rows_are_found_by_their_hash(dataset: Path) -> None:
    edit(dataset, DEFAULT, setting(0, text="Something else was said."), sneaky=False)
    assert findings(dataset) == [f"{DEFAULT}: differs from what was exported; export again"]


def test_an_extra_file_is_found(dataset: Path) -> None:
    (dataset / "data" / "default" / "train-00001-of-00001.parquet").write_bytes((dataset / DEFAULT).read_bytes())
    said = findings(dataset)
    assert "data/default/train-00001-of-00001.parquet: not in the manifest; load_dataset would read it" in said


def test_an_edited_card_is_found(dataset: Path) -> None:
    (dataset / "README.md").write_text("nothing")
    assert findings(dataset) == ["README.md: differs from what was exported (edited?)"]


@pytest.mark.parametrize("column", ["text", "n_latin"])
def test_other_columns_and_types_are_found(dataset: Path, column: str) -> None:
    table = pq.read_table(dataset / DEFAULT)
    at = table.schema.get_field_index(column)
    pq.write_table(table.set_column(at, column, pa.array([b"x"] * len(table), pa.binary())), dataset / DEFAULT)
    bless(dataset)
    assert any("columns or types differ from the contract" in f for f in findings(dataset))


def test_what_is_no_dataset_is_refused(tmp_path: Path, dataset: Path) -> None:
    for place in (tmp_path / "nothing", tmp_path):
        with pytest.raises(UsageError, match="not a dataset that `cineforge export` made"):
            findings(place)
    (dataset / "cinedub.json").write_text("{}")
    with pytest.raises(UsageError, match="not a dataset"):
        findings(dataset)
