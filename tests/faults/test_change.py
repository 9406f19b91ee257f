"""Real films, changed settings, added films and damage by hand, through the command line."""

from __future__ import annotations

from pathlib import Path

from factories import CUES, cineforge, make_film, run_offline, shards_digest


def touched(run: Path, before: dict[Path, int]) -> set[str]:
    """Stages of which a shard was written since `before`."""
    return {p.parent.name.rsplit("-", 1)[0] for p in run.rglob("*.parquet") if before.get(p) != p.stat().st_mtime_ns}


def times(run: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in run.rglob("*.parquet")}


def test_a_changed_setting_redoes_its_stage_and_its_readers(films_once: Path, finished: Path) -> None:
    before = times(finished)
    done = run_offline(films_once, finished, "--set", "segment.padding=0.3")
    assert done.returncode == 0
    assert touched(finished, before) == {"segment", "check_text", "cot", "verify"}
    assert "segment: 2 tasks, settings changed: padding 0.1 -> 0.3" in done.stderr
    assert "check_text: 2 tasks, its input changed: segment" in done.stderr
    status = cineforge("status", finished).stdout
    assert "done: settings changed: padding 0.1 -> 0.3 (2)" in status and "cineforge prune" in status


def test_an_added_film_is_the_only_one_processed(films: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert run_offline(films, run).returncode == 0
    before = times(run)
    make_film(films / "Gamma" / "three.mp4", seed=3, cues=[(s, e, f"Now, {t}") for s, e, t in CUES])
    assert run_offline(films, run).returncode == 0
    new = {p.stem.split("-")[0] for p in run.rglob("*.parquet") if before.get(p) != p.stat().st_mtime_ns}
    assert len(new) == 1 and all(before[p] == p.stat().st_mtime_ns for p in before)
    assert "new film" in cineforge("status", run).stdout


def test_a_truncated_shard_is_found_and_done_again(films_once: Path, finished: Path) -> None:
    whole = shards_digest(finished)
    shard = next(finished.glob("transcribe-*/*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1])
    status = cineforge("status", finished).stdout
    assert f"to do: shard {shard.name} is damaged" in status
    assert cineforge("export", finished, "--output", finished.parent / "d").returncode == 2
    before = times(finished)
    assert run_offline(films_once, finished).returncode == 0
    assert touched(finished, before) == {"transcribe"} and shards_digest(finished) == whole
