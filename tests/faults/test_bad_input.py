"""One folder with good films and everything that can be wrong with a film: one clear line each, and the good ones untouched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import load_dataset
from factories import CUES, cineforge, forbid, make_film, obey_permissions, run_offline, write_srt

OVERLAPPING = [(0.5, 4.0, "Good morning, my friends."), (3.0, 7.0, "Did you sleep well last night?")]
CHINESE = [(0.5, 3.0, "今天天气真好，我们去公园吧。"), (4.2, 7.0, "你昨天晚上睡得好不好？")]

# What is wrong -> the code of its line.
WRONG = {
    "bad/empty.mp4": "empty_file",
    "bad/truncated.mp4": "truncated",
    "bad/text.mp4": "not_media",
    "bad/silent.mp4": "no_audio_stream",
    "bad/blind.mp4": "no_video_stream",
    "bad/half a second.mp4": "too_short",
    "bad/no words.mp4": "no_cues",
    "bad/no subtitles.mp4": "no_subtitles",
    "bad/loop.mp4": "unreadable",
    "bad/gone.mp4": "unreadable",
}
GOOD = {
    "gbk.mp4": [c[2] for c in CHINESE],
    "bom.mp4": [c[2] for c in CUES],
    "overlapping.mp4": [c[2] for c in OVERLAPPING],
    'it\'s "odd" 电影 🎬 [1].mp4': [c[2] for c in CUES],
    "one/same name.mp4": [c[2] for c in CUES],
    "two/same name.mp4": [c[2] for c in CUES],
}


@pytest.fixture(scope="module")
def trouble(once: Callable[..., Path]) -> tuple[Path, Path, str]:
    """The folder, the run over it, and what the run said."""
    base = once("trouble", make_trouble)
    return base / "films", base / "run", (base / "said").read_text()


def make_trouble(base: Path) -> None:
    films = base / "films"
    for seed, name in enumerate(GOOD, start=10):
        make_film(films / name, seed=seed)
    write_srt(films / "gbk.srt", CHINESE, "gbk")
    write_srt(films / "bom.srt", CUES, "utf-8-sig")
    write_srt(films / "overlapping.srt", OVERLAPPING)
    bad = films / "bad"
    bad.mkdir()
    (bad / "empty.mp4").touch()
    (bad / "truncated.mp4").write_bytes((films / "bom.mp4").read_bytes()[:20_000])
    (bad / "text.mp4").write_text("A film, I swear.\n")
    make_film(bad / "silent.mp4", audio=False, seed=30)
    make_film(bad / "blind.mp4", video=False, seed=31)
    make_film(bad / "half a second.mp4", seconds=0.5, seed=32)
    make_film(bad / "no words.mp4", cues=[], seed=33)
    make_film(bad / "no subtitles.mp4", cues=None, seed=34)
    (bad / "loop.mp4").symlink_to(bad / "loop.mp4")
    (bad / "gone.mp4").symlink_to(bad / "nothing.mp4")
    (bad / "circle").symlink_to(films)
    (films / "twice").mkdir()
    for suffix in (".mp4", ".srt"):
        shutil.copy(films / f"bom{suffix}", films / "twice" / f"again{suffix}")
    done = run_offline(films, base / "run", "--lang", "auto")
    assert done.returncode == 3, done.stderr
    (base / "said").write_text(done.stderr)


def test_each_bad_film_has_one_line_that_names_it(trouble: tuple[Path, Path, str]) -> None:
    _, _, said = trouble
    assert "Traceback" not in said
    for name, code in WRONG.items():
        lines = [line for line in said.splitlines() if f": {name}" in line]
        assert len(lines) == 1 and lines[0].endswith(f"[{code}]"), f"{name}: {lines}"
        assert len(lines[0].split(name, 1)[1]) > 20, f"{lines[0]}: says too little"
    failed = [line for line in said.splitlines() if line.endswith("]")]
    assert len(failed) == len(WRONG), failed


def test_links_in_circles_and_copies_are_said(trouble: tuple[Path, Path, str]) -> None:
    _, _, said = trouble
    assert len([line for line in said.splitlines() if "circle: links back to a folder already searched" in line]) == 1
    assert "twice/again.mp4: the same file as bom.mp4; taken once" in said


def test_good_films_are_exported_untouched(trouble: tuple[Path, Path, str], tmp_path: Path) -> None:
    _, run, _ = trouble
    done = cineforge("export", run, "--output", tmp_path / "d")
    assert done.returncode == 0, done.stderr
    clips = load_dataset(str(tmp_path / "d"), split="train", cache_dir=str(tmp_path / "cache")).remove_columns("audio")
    texts: dict[str, list[str]] = {}
    for row in clips:
        texts.setdefault(row["source"], []).append(row["text"])
    assert texts == GOOD
    assert len({row["title"] for row in clips}) == len(GOOD)
    rejected = load_dataset(str(tmp_path / "d"), "rejected", split="train", cache_dir=str(tmp_path / "cache"))
    reasons = {row["source"]: row["reject_reasons"] for row in rejected}
    assert {name: reasons[name][0].split(":")[-1] for name in WRONG} == WRONG
    assert reasons["twice/again.mp4"] == ["duplicate"]
    first = next(row["film_id"] for row in clips if row["source"] == "bom.mp4")
    assert next(row["duplicate_of"] for row in rejected if row["source"] == "twice/again.mp4") == first
    assert len(reasons) == len(WRONG) + 1


def test_a_run_and_its_films_are_no_worse_for_a_second_look(trouble: tuple[Path, Path, str]) -> None:
    films, run, said = trouble
    again = run_offline(films, run, "--lang", "auto")
    assert again.returncode == 3
    assert sorted(x for x in again.stderr.splitlines() if x.endswith("]")) == sorted(
        x for x in said.splitlines() if x.endswith("]")
    )
    assert "tasks," not in again.stderr, "something was done again"


def test_unreadable_films_folders_and_subtitles_are_one_line_each(films: Path, tmp_path: Path) -> None:
    make_film(films / "three.mp4", seed=3)
    make_film(films / "locked" / "four.mp4", seed=4)
    for path in (films / "Beta" / "two.mp4", films / "three.srt", films / "locked"):
        forbid(path)
    done = run_offline(films, tmp_path / "run", preexec=obey_permissions)
    (films / "locked").chmod(0o700)
    assert done.returncode == 3, done.stderr
    for name in ("Beta/two.mp4", "three.srt", "locked"):
        [line] = [line for line in done.stderr.splitlines() if name in line]
        assert "Permission denied" in line
    verify = cineforge("status", tmp_path / "run").stdout.splitlines()[-1].split()
    assert verify[2:6] == ["3", "2", "0", "2"], "the good film gave its two clips"


def test_a_manifest_with_unknown_columns_is_wrong_usage(films_once: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "films.jsonl"
    manifest.write_text(json.dumps({"path": str(films_once / "Alpha" / "one.mp4"), "titel": "A"}))
    done = run_offline(manifest, tmp_path / "run")
    assert done.returncode == 2
    assert done.stderr.startswith(f"cineforge run: {manifest}, film 1: unknown key 'titel' (did you mean 'title'?)")
    assert not (tmp_path / "run").exists()
