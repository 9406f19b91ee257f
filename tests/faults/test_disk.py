"""Disks that are full or may not be written to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from factories import cineforge, forbid, obey_permissions, run_offline, tree_digest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"needs the right to mount: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path, leave: int) -> Path:
    ballast = disk / "ballast"
    free = os.statvfs(disk)
    ballast.write_bytes(b"\0" * max(0, free.f_bavail * free.f_bsize - leave))
    return ballast


def one_line(stderr: str, about: str) -> None:
    assert "Traceback" not in stderr
    lines = [line for line in stderr.splitlines() if line.startswith("cineforge ")]
    assert len(lines) == 1 and about in lines[0], stderr


@pytest.mark.parametrize("leave", [0, 60_000])
def test_a_full_disk_stops_the_run_cleanly_and_it_goes_on_when_there_is_room(
    films_once: Path, finished_once: Path, small_disk: Path, leave: int
) -> None:
    ballast = fill(small_disk, leave)
    stopped = run_offline(films_once, small_disk / "run")
    assert stopped.returncode == 1
    one_line(stopped.stderr, "No space left on device")
    ballast.unlink()
    assert run_offline(films_once, small_disk / "run").returncode == 0
    wanted = {n: d for n, d in tree_digest(finished_once).items() if n.endswith(".parquet")}
    assert {n: d for n, d in tree_digest(small_disk / "run").items() if n.endswith(".parquet")} == wanted


def test_a_full_disk_stops_the_export_cleanly_and_it_goes_on(finished_once: Path, dataset_once: Path, small_disk: Path) -> None:
    ballast = fill(small_disk, 30_000)
    target = small_disk / "cinedub-test"
    stopped = cineforge("export", finished_once, "--output", target)
    assert stopped.returncode == 1 and not target.exists()
    one_line(stopped.stderr, "No space left on device")
    ballast.unlink()
    assert cineforge("export", finished_once, "--output", target).returncode == 0
    assert tree_digest(target) == tree_digest(dataset_once)


def test_an_output_that_may_not_be_written_to_is_one_line(films_once: Path, finished_once: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    stopped = run_offline(films_once, small_disk / "run")
    assert stopped.returncode == 1
    one_line(stopped.stderr, f"{small_disk}/run: Read-only file system")
    stopped = cineforge("export", finished_once, "--output", small_disk / "cinedub")
    assert stopped.returncode == 1
    one_line(stopped.stderr, "Read-only file system")


def test_somebody_without_permission_gets_one_line(films_once: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    forbid(tmp_path / "theirs")
    done = run_offline(films_once, tmp_path / "theirs" / "run", preexec=obey_permissions)
    (tmp_path / "theirs").chmod(0o700)
    assert (done.returncode, done.stderr) == (1, f"cineforge run: {tmp_path}/theirs/run: Permission denied\n")
