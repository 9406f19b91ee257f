"""Folders, files and manifests to film rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from factories import environment, forbid, obey_permissions

from cineforge_hf.errors import UsageError
from cineforge_hf.films import find_films, scan_films, without_root


def touch(path: Path, content: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(path) if content is None else content)
    return path


def sources(*inputs: str | Path) -> list[str]:
    return [film.source for film in find_films(inputs)]


def by_name(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {Path(row["source"]).name: row for row in rows}


def test_a_folder_is_searched_below_for_files_that_look_like_films(tmp_path: Path) -> None:
    for name in ("b.MKV", "a.mp4", "sub/c.ts", "notes.txt", ".hidden.mp4", "sub/.cache/d.mp4", "a.srt"):
        touch(tmp_path / name)
    assert sources(tmp_path) == ["a.mp4", "b.MKV", "sub/c.ts"]


@pytest.mark.parametrize(
    "name", ["two words.mp4", 'it\'s "so".mp4', "电影 第一集.mp4", "film 🎬.mkv", "a.b.c.mp4", "-x.mp4", "[1] & $HOME.mp4"]
)
def test_names_are_taken_as_they_are(tmp_path: Path, name: str) -> None:
    touch(tmp_path / name)
    [row] = scan_films(tmp_path)
    assert Path(row["source"]).name == name
    assert (row["title"], row["episode"], row["errors"]) == (name[: -len(Path(name).suffix)], row["title"], [])


def test_a_name_that_is_not_utf8_is_refused_and_harms_nobody(tmp_path: Path) -> None:
    touch(tmp_path / "good.mp4")
    bad = os.fsencode(tmp_path) + b"/\xc4\xe3\xba\xc3.mp4"
    with open(bad, "w") as file:  # noqa: PTH123 (pathlib knows no bytes)
        file.write("x")
    rows = scan_films(tmp_path)
    assert sorted(e["code"] for row in rows for e in row["errors"]) == ["file_name"]
    json.dumps(rows, ensure_ascii=False).encode()


def test_links_are_followed_but_never_in_circles(tmp_path: Path) -> None:
    touch(tmp_path / "films" / "a" / "one.mp4")
    touch(tmp_path / "elsewhere" / "two.mp4")
    (tmp_path / "films" / "a" / "up").symlink_to(tmp_path / "films")
    (tmp_path / "films" / "linked").symlink_to(tmp_path / "elsewhere")
    assert sources(tmp_path / "films") == ["a/one.mp4", "linked/two.mp4"]


def test_files_that_link_to_themselves_or_nothing_are_rows_with_an_error(tmp_path: Path) -> None:
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "pool.mp4")
    (tmp_path / "pool.mp4").symlink_to(tmp_path / "loop.mp4")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nothing.mp4")
    rows = scan_films(tmp_path)
    assert [[e["code"] for e in row["errors"]] for row in rows] == [["unreadable"]] * 3
    assert all(Path(row["source"]).name in row["errors"][0]["message"] for row in rows)
    assert len({row["film_id"] for row in rows}) == 3


def test_an_empty_file_is_a_row_with_an_error(tmp_path: Path) -> None:
    touch(tmp_path / "empty.mp4", "")
    [row] = scan_films(tmp_path)
    assert (row["errors"][0]["code"], row["sha256"]) == ("empty_file", None)
    assert str(tmp_path / "empty.mp4") in row["errors"][0]["message"]


def test_an_unreadable_file_and_folder_are_no_end_of_the_scan(tmp_path: Path) -> None:
    touch(tmp_path / "films" / "good.mp4")
    forbid(touch(tmp_path / "films" / "secret.mp4"))
    forbid(touch(tmp_path / "films" / "locked" / "x.mp4").parent)
    program = (
        "import json, sys; from pathlib import Path; from cineforge_hf import scan_films\n"
        "print(json.dumps([[Path(r['source']).name, [e['code'] for e in r['errors']]] for r in scan_films(sys.argv[1])]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "films")],
        capture_output=True,
        text=True,
        env=environment(),
        preexec_fn=obey_permissions,
        check=True,
    )
    (tmp_path / "films" / "locked").chmod(0o700)
    assert json.loads(done.stdout) == [["good.mp4", []], ["secret.mp4", ["unreadable"]]]
    assert "locked" in done.stderr


def test_the_same_content_twice_is_one_film(tmp_path: Path) -> None:
    for name in ("a.mp4", "b/copy.mp4", "c.mp4"):
        touch(tmp_path / name, "same" if name != "c.mp4" else "other")
    rows = by_name(scan_films(tmp_path))
    assert rows["a.mp4"]["film_id"] == rows["a.mp4"]["sha256"][:12]
    assert rows["copy.mp4"]["duplicate_of"] == rows["a.mp4"]["film_id"] != rows["copy.mp4"]["film_id"]
    assert rows["c.mp4"]["duplicate_of"] is None


def test_films_of_one_name_have_titles_of_their_own(tmp_path: Path) -> None:
    for name in ("one/film.mp4", "two/film.mp4", "two/sub/film.mp4", "film.mp4"):
        touch(tmp_path / "in" / name)
    rows = scan_films(tmp_path / "in")
    assert [row["title"] for row in rows] == ["film", "one", "two", "two/sub"]


def test_films_of_one_name_in_several_inputs_have_titles_of_their_own(tmp_path: Path) -> None:
    for name in ("x/one/film.mp4", "y/one/film.mp4", "y/two/film.mp4"):
        touch(tmp_path / name)
    rows = scan_films([tmp_path / "x/one", tmp_path / "y/one", tmp_path / "y/two/film.mp4"])
    assert [row["title"] for row in rows] == ["film", "one", "two"]
    assert sources(tmp_path / "x/one", tmp_path / "y/one") == ["film.mp4", "one/film.mp4"]


def test_episodes_of_a_folder_share_its_title(tmp_path: Path) -> None:
    for name in ("Show/e1.mp4", "Show/e2.mp4"):
        touch(tmp_path / name)
    assert [(row["title"], row["episode"]) for row in scan_films(tmp_path)] == [("Show", "e1"), ("Show", "e2")]


def test_a_film_given_twice_is_taken_once(tmp_path: Path) -> None:
    film = touch(tmp_path / "a.mp4")
    assert sources(tmp_path, film, tmp_path / "." / "a.mp4") == ["a.mp4"]


def test_a_run_that_lies_among_its_films_is_not_searched(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4")
    for name in ("run.json", "films.json", "media/0123.mp4"):
        touch(tmp_path / "run" / name)
    assert sources(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "no such file or folder"),
        ("empty", "no films in this folder; files that count: 3gp avi"),
        ("a.srt", "subtitles, not a film"),
    ],
)
def test_an_input_that_holds_no_film_is_wrong_usage(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    touch(tmp_path / "a.srt")
    with pytest.raises(UsageError, match=message):
        sources(tmp_path / name)


def test_a_remembered_input_may_be_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path / "in" / "a.mp4")
    gone = str(tmp_path / "gone")
    assert [f.source for f in find_films([gone, tmp_path / "in"], remembered={gone})] == ["a.mp4"]
    assert gone in caplog.text


def test_sidecars_are_found_best_first(tmp_path: Path) -> None:
    for name in ("film.mp4", "film.srt", "film.zh.srt", "film.en.ASS", "other.srt", "Subs/film.vtt", "film.txt"):
        touch(tmp_path / name)
    [row] = scan_films(tmp_path)
    assert [Path(s["path"]).name for s in row["subtitles"]] == ["film.srt", "film.en.ASS", "film.zh.srt", "film.vtt"]
    assert all(len(s["sha256"]) == 64 for s in row["subtitles"])


def test_hashes_are_kept_until_a_file_changes(tmp_path: Path) -> None:
    film = touch(tmp_path / "a.mp4", "one")
    hashes: dict[str, list[Any]] = {}
    read: list[int] = []
    first = scan_films(tmp_path, hashes=hashes, progress=lambda _, n: read.append(n))
    assert scan_films(tmp_path, hashes=hashes, progress=lambda _, n: read.append(n)) == first
    assert read == [3]
    film.write_text("three")
    assert scan_films(tmp_path, hashes=hashes)[0]["film_id"] != first[0]["film_id"]


ENTRY = {
    "path": "a.mp4",
    "title": "A",
    "season": 1,
    "episode": "2",
    "lang": "zh",
    "intro": 5,
    "subtitles": "s/a.srt",
    "licence": "CC0",
}


def write_manifest(folder: Path, kind: str, records: list[dict[str, Any]]) -> Path:
    touch(folder / "a.mp4")
    touch(folder / "s" / "a.srt")
    path = folder / f"films.{kind}"
    if kind == "jsonl":
        path.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in records), encoding="utf-8")
    else:
        header = list(records[0])
        lines = [",".join(header), *(",".join(f'"{r.get(k, "")}"' for k in header) for r in records)]
        path.write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_manifests_say_what_the_file_does_not(tmp_path: Path, kind: str) -> None:
    [row] = scan_films(write_manifest(tmp_path, kind, [ENTRY]), lang="en")
    told = ("title", "season", "episode", "lang", "intro", "outro", "licence", "consent")
    assert [row[k] for k in told] == ["A", "1", "2", "zh", 5.0, None, "CC0", None]
    assert [s["path"] for s in row["subtitles"]] == [str(tmp_path / "s" / "a.srt")]
    assert row["source"] == str(tmp_path / "a.mp4")


def test_titles_with_line_separators_do_not_break_a_manifest(tmp_path: Path) -> None:
    [row] = scan_films(write_manifest(tmp_path, "jsonl", [{"path": "a.mp4", "title": "one\u2028two"}]))
    assert row["title"] == "one\u2028two"


def test_labels_of_films_outside_the_manifests_folder_hide_where_they_lie(tmp_path: Path) -> None:
    elsewhere = touch(tmp_path / "far" / "away" / "b.mp4")
    manifest = write_manifest(
        tmp_path / "m", "jsonl", [{"path": str(elsewhere)}, {"path": "../far/away/../away/c.mp4"}, {"path": "./a.mp4"}]
    )
    touch(tmp_path / "far" / "away" / "c.mp4")
    assert sources(manifest) == ["b.mp4", "c.mp4", "a.mp4"]
    assert [row["errors"] for row in scan_films(manifest)] == [[]] * 3


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"path": "a.mp4", "titel": "A"}, r"films\.\w+, film 1: unknown key 'titel' \(did you mean 'title'\?\)"),
        ({"paht": "a.mp4"}, r"unknown key 'paht' \(did you mean 'path'\?\)"),
        ({"title": "A"}, "each film needs a path"),
        ({"path": "a.mp4", "lang": "klingon"}, "lang is 'klingon'; choose zh, en, auto"),
        ({"path": "a.mp4", "intro": "-1"}, "intro is '-1'; give seconds, 0 or more"),
        ({"path": "a.mp4", "outro": "soon"}, "outro is 'soon'; give seconds"),
        ({"path": "a.mp4", "intro": "nan"}, "intro is 'nan'; give seconds"),
        ({"path": "a.mp4", "subtitles": "no.srt"}, "no subtitle file .*no.srt"),
    ],
)
def test_a_wrong_manifest_is_refused_by_film_with_the_fix(
    tmp_path: Path, kind: str, record: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        scan_films(write_manifest(tmp_path, kind, [record]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty manifest"),
        (b"{", "cannot read this manifest"),
        (b"[1]", "a film is a JSON object"),
        (b"\xff\xfe", "cannot read this manifest"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "films.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        scan_films(path)


def test_a_missing_film_of_a_manifest_is_a_row_with_an_error(tmp_path: Path) -> None:
    rows = scan_films(write_manifest(tmp_path, "jsonl", [{"path": "nowhere.mp4"}, {"path": "a.mp4"}]))
    assert [[e["code"] for e in row["errors"]] for row in rows] == [["unreadable"], []]


@pytest.mark.parametrize(
    ("path", "label", "shown"),
    [
        ("/in/a/film.mp4", "a/film.mp4", "a/film.mp4: bad"),
        ("/in/a/film.mp4", "film.mp4", "film.mp4: bad"),
        ("/film.mp4", "film.mp4", "/film.mp4: bad"),
    ],
)
def test_messages_lose_the_place_of_the_films(path: str, label: str, shown: str) -> None:
    assert without_root(f"{path}: bad", path, label) == shown
