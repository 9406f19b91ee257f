"""SIGKILL at any moment, then the same command again: the dataset is that of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from factories import NO_VOICES, cineforge, command, environment, tree_digest


def run_command(films: Path, base: Path, workers: int) -> list[str]:
    return command("run", "offline", "--input", films, "--output", base / "run", "--workers", workers, *NO_VOICES)


def export_command(base: Path, workers: int) -> list[str]:
    return command("export", base / "run", "--output", base / "cinedub", "--workers", workers)


def kill_after(arguments: list[str], seconds: float) -> bool:
    """Starts a command and kills it, not its workers, after some seconds; False if it was done before. No worker outlives it."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    parent = psutil.Process(process.pid)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    if process.poll() is not None:
        assert process.returncode == 0
        return False
    children = parent.children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 5
    while (alive := [child for child in children if lives(child)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive, f"orphans after {seconds:.2f} s: {alive}"
    return True


def lives(process: psutil.Process) -> bool:
    """Whether a process still runs. A dead one that nobody has waited for (a zombie) does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def markers(base: Path) -> dict[Path, int]:
    """Finished tasks and files of the export, with their time of writing."""
    found = [p for p in base.rglob("*.json") if p.with_suffix(".parquet").exists()]
    found += [p for p in base.rglob("*.parquet") if ".partial" in str(p)]
    return {p: p.stat().st_mtime_ns for p in found}


def finish(films: Path, base: Path) -> None:
    for arguments in (run_command(films, base, 1), export_command(base, 1)):
        done = subprocess.run(arguments, capture_output=True, text=True, env=environment(), timeout=120, check=False)
        assert done.returncode == 0, done.stderr


def seconds_of(arguments: list[str]) -> float:
    began = time.monotonic()
    subprocess.run(arguments, capture_output=True, env=environment(), timeout=240, check=True)
    return time.monotonic() - began


def disturb(films: Path, base: Path, stage: str, rounds: int, seed: int, undisturbed: tuple[float, float]) -> int:
    """Kills a command at random moments and starts it again, `rounds` times; returns how often it was really killed."""
    chance = random.Random(seed)  # noqa: S311 (the same moments every time)
    kills = 0
    for _ in range(rounds):
        arguments = run_command(films, base, 2) if stage == "run" else export_command(base, 2)
        length = undisturbed[0] if stage == "run" else undisturbed[1]
        before = markers(base / "run") if stage == "run" else {}
        kills += kill_after(arguments, chance.uniform(0.2, 1.0) * length)
        after = markers(base / "run")
        assert {p: after.get(p) for p in before} == before, "a finished shard was done again"
    return kills


@pytest.fixture(scope="module")
def undisturbed(films_once: Path, once: Callable[..., Path]) -> tuple[Path, tuple[float, float]]:
    """Run and dataset made by one worker in peace, and how long that took."""

    def make(base: Path) -> None:
        times = seconds_of(run_command(films_once, base, 1)), seconds_of(export_command(base, 1))
        (base / "seconds").write_text(f"{times[0]} {times[1]}")

    base = once("undisturbed", make)
    run, export = map(float, (base / "seconds").read_text().split())
    return base, (run, export)


def test_killed_runs_and_exports_end_like_undisturbed_ones(
    films_once: Path, tmp_path: Path, undisturbed: tuple[Path, tuple[float, float]]
) -> None:
    base, times = undisturbed
    kills = disturb(films_once, tmp_path, "run", 2, seed=1, undisturbed=times)
    subprocess.run(run_command(films_once, tmp_path, 2), capture_output=True, env=environment(), timeout=120, check=True)
    kills += disturb(films_once, tmp_path, "export", 2, seed=2, undisturbed=times)
    assert kills >= 2, "killed too late to prove anything"
    finish(films_once, tmp_path)
    assert tree_digest(tmp_path / "cinedub") == tree_digest(base / "cinedub")
    assert not list(tmp_path.rglob(".*.tmp")) and not list(tmp_path.glob(".cinedub*"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_kills(films_once: Path, tmp_path: Path, undisturbed: tuple[Path, tuple[float, float]]) -> None:
    base, times = undisturbed
    kills = 0
    for seed in range(5):
        home = tmp_path / str(seed)
        home.mkdir()
        kills += disturb(films_once, home, "run", 3, seed, times)
        subprocess.run(run_command(films_once, home, 2), capture_output=True, env=environment(), timeout=120, check=True)
        kills += disturb(films_once, home, "export", 3, seed + 100, times)
        finish(films_once, home)
        assert tree_digest(home / "cinedub") == tree_digest(base / "cinedub"), f"seed {seed}"
    assert kills >= 20, "killed too late too often to prove anything"


def test_one_and_two_workers_make_the_same_bytes(
    dataset_once: Path, finished_once: Path, undisturbed: tuple[Path, tuple[float, float]]
) -> None:
    base, _ = undisturbed
    ours = {n: d for n, d in tree_digest(finished_once).items() if n.endswith(".parquet")}
    assert ours == {n: d for n, d in tree_digest(base / "run").items() if n.endswith(".parquet")}
    two = {n: d for n, d in tree_digest(dataset_once).items() if n.startswith("data/")}
    assert two == {n: d for n, d in tree_digest(base / "cinedub").items() if n.startswith("data/")}


def test_a_second_runner_is_refused_while_the_first_works(films_once: Path, tmp_path: Path) -> None:
    first = subprocess.Popen(
        run_command(films_once, tmp_path, 1), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "run.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)
    try:
        for verb in (
            ("run", "offline", "--input", films_once, "--output", tmp_path / "run", *NO_VOICES),
            ("retry", tmp_path / "run"),
        ):
            second = cineforge(*verb)
            assert second.returncode == 2
            assert second.stderr.startswith(f"cineforge {verb[0]}: {tmp_path}/run: in use by process {first.pid} on ")
            assert len(second.stderr.splitlines()) == 1
    finally:
        first.send_signal(signal.SIGCONT)
    assert first.wait(120) == 0
