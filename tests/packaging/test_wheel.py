"""What a wheel holds: one import root, every package, every data file, and a command that works."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built from a copy so that nothing is left in it."""
    base = tmp_path_factory.mktemp("wheel")
    source = base / "source"
    source.mkdir()
    mapped = {Path(folder).parts[0] for folder in SETUPTOOLS["package-dir"].values()}
    for name in ("pyproject.toml", "README.md", "LICENSE", *mapped):
        (source / name).symlink_to(ROOT / name)
    modern = int(importlib.metadata.version("setuptools").split(".")[0]) >= 77
    here = ["-m", "build", "--wheel", "--no-isolation"] if modern else ["-m", "uv", "build", "--wheel"]
    done = subprocess.run(
        [sys.executable, *here, str(source), "--out-dir" if not modern else "--outdir", str(base / "dist")],
        capture_output=True,
        text=True,
        cwd=base,
        env={**os.environ, "PYTHONPATH": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [built] = (base / "dist").glob("*.whl")
    return built


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def tree_packages() -> dict[str, Path]:
    """Every folder with an __init__.py that belongs to the package, by import name."""
    roots = {"cineforge_hf": ROOT / "cineforge_hf"}
    for name, folder in SETUPTOOLS["package-dir"].items():
        roots[name] = ROOT / folder
    found = {}
    for name, root in roots.items():
        for init in root.rglob("__init__.py"):
            below = init.parent.relative_to(root).parts
            found[".".join((name, *below))] = init.parent
    return found


def test_no_package_is_forgotten_or_listed_in_vain() -> None:
    assert sorted(SETUPTOOLS["packages"]) == sorted(tree_packages())


def test_no_module_lies_outside_the_packages() -> None:
    folders = set(tree_packages().values())
    tops = {Path(folder).parts[0] for folder in SETUPTOOLS["package-dir"].values()}
    stray = [p for top in tops for p in (ROOT / top).rglob("*.py") if p.parent not in folders]
    assert stray == []


def test_only_one_name_lands_in_site_packages(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in names(wheel)}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"cineforge_hf"}


def test_all_modules_and_data_are_in_it(wheel: Path) -> None:
    inside = set(names(wheel))
    for name, folder in tree_packages().items():
        place = name.replace(".", "/")
        for path in folder.iterdir():
            if path.suffix in {".py", ".yaml", ".typed"} or path.name.endswith((".jinja", ".txt")):
                assert f"{place}/{path.name}" in inside, path
        for path in (folder / "templates").glob("*") if (folder / "templates").is_dir() else ():
            assert f"{place}/templates/{path.name}" in inside, path
    assets = [p.name for p in (ROOT / "cineforge_hf" / "assets").iterdir() if p.suffix in {".mp4", ".srt", ".json", ".rttm"}]
    assert {f"cineforge_hf/assets/{name}" for name in assets} <= inside
    assert any(name.endswith("licenses/LICENSE") for name in inside)
    assert not [n for n in inside if "test" in n.lower() or n.endswith((".pyc", ".ipynb"))]


def test_the_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    program = (
        "import cineforge_hf, cineforge_hf.processors.ingest as i; from importlib import resources\n"
        "from cineforge_hf.recipe import packaged_recipes, load_recipe\n"
        "print(cineforge_hf.__file__, i.__file__, *packaged_recipes(), len(load_recipe('offline').processors()))\n"
        "print(resources.files('cineforge_hf.dataset_scripts').joinpath('templates/card.md.jinja').is_file())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        check=True,
    )
    first, second = done.stdout.splitlines()
    site = str(tmp_path / "site" / "cineforge_hf")
    assert first.split() == [f"{site}/__init__.py", f"{site}/processors/ingest.py", "cinedub-cn", "cinedub-en", "offline", "6"]
    assert second == "True"


def test_the_metadata_say_what_users_need(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        folder = next(n.split("/")[0] for n in archive.namelist() if ".dist-info/" in n)
        metadata = archive.read(f"{folder}/METADATA").decode()
        points = archive.read(f"{folder}/entry_points.txt").decode()
    assert "License-Expression: Apache-2.0" in metadata and "Requires-Python: >=3.11" in metadata
    assert "cineforge = cineforge_hf.cli:main" in points
    for line in PROJECT["project"]["entry-points"]["cineforge_hf.processors"].values():
        module, _, attribute = line.partition(":")
        done = getattr(__import__(module, fromlist=[attribute]), attribute)
        assert done.__name__ == attribute


def test_pinned_versions_satisfy_what_is_asked_for() -> None:
    lines = (line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())
    pins = {plain(pin): pin for pin in map(Requirement, filter(None, lines))}
    needed = [Requirement(r) for r in PROJECT["project"]["dependencies"]]
    assert {plain(r) for r in needed} <= set(pins), "constraints.txt lacks a pin"
    extras = [Requirement(r) for group in PROJECT["project"]["optional-dependencies"].values() for r in group]
    for wanted in (r for r in [*needed, *extras] if plain(r) in pins):
        [pin] = pins[plain(wanted)].specifier
        assert pin.version in wanted.specifier, f"{pins[plain(wanted)]} does not satisfy {wanted}"


def plain(requirement: Requirement) -> str:
    return requirement.name.lower().replace("_", "-")
