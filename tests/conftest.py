"""Fixtures that several folders share. Films are made once per test process and copied where a test changes them."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

# Workers and subprocesses import these by name. The folder of the tests itself would hide the package behind its own tests.
sys.path.insert(0, str(Path(__file__).resolve().parent / "helpers"))

from factories import CUES, cineforge, make_film, run_offline

# Every run tries the same examples, and a busy machine fails none of them.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None, max_examples=60)
hypothesis.settings.load_profile("steady")

Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Makes a folder once for all test processes: `once(name, make)` calls `make(folder)` unless another has done so."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def get(name: str, make: Callable[[Path], object]) -> Path:
        folder = shared / name
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (shared / f"{name}.made").exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                (shared / f"{name}.made").touch()
        return folder

    return get


@pytest.fixture(scope="session")
def films_once(once: Once) -> Path:
    """Two films in two folders with two clips each, and one clip more that is too short; only to be read."""

    def make(folder: Path) -> None:
        make_film(folder / "Alpha" / "one.mp4", seed=1)
        second = [*((s, e, f"Well, {t}") for s, e, t in CUES), (10.0, 10.6, "Yes.")]
        make_film(folder / "Beta" / "two.mp4", seed=2, seconds=12, cues=second)

    return once("films_once", make)


@pytest.fixture
def films(films_once: Path, tmp_path: Path) -> Path:
    """A private copy of the two films."""
    return Path(shutil.copytree(films_once, tmp_path / "films"))


@pytest.fixture(scope="session")
def finished_once(films_once: Path, once: Once) -> Path:
    """A finished run over the two films; only to be read."""

    def make(folder: Path) -> None:
        done = run_offline(films_once, folder / "run")
        assert done.returncode == 0, done.stderr

    return once("finished_once", make) / "run"


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path) -> Path:
    """A private copy of the finished run; its films are those of `films_once`."""
    return Path(shutil.copytree(finished_once, tmp_path / "run"))


@pytest.fixture(scope="session")
def dataset_once(finished_once: Path, once: Once) -> Path:
    """The exported dataset of the finished run; only to be read."""

    def make(folder: Path) -> None:
        done = cineforge("export", finished_once, "--output", folder / "cinedub-test", "--workers", 2)
        assert done.returncode == 0, done.stderr

    return once("dataset_once", make) / "cinedub-test"


@pytest.fixture
def dataset(dataset_once: Path, tmp_path: Path) -> Path:
    """A private copy of the exported dataset."""
    return Path(shutil.copytree(dataset_once, tmp_path / "cinedub-test"))


@pytest.fixture(scope="session")
def clips_folder() -> Path:
    """The real clips with their truth, and make_film.py; skips where they are not at hand."""
    given = os.environ.get("CINEFORGE_CLIPS")
    folder = Path(given) if given else Path(__file__).resolve().parent.parent.parent / "shared" / "clips"
    if not (folder / "make_film.py").is_file():
        pytest.skip("needs the real clips: set CINEFORGE_CLIPS to their folder")
    return folder
