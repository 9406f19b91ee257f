"""Commands and names that the READMEs show are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import cineforge_hf
from cineforge_hf.cli import build_parser

ROOT = Path(__file__).resolve().parents[2]
READMES = sorted(ROOT.glob("README*.md"))


def code(path: Path) -> list[str]:
    """Lines of the code blocks, continued lines joined."""
    blocks = re.findall(r"```\w*\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    return [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def test_there_are_two() -> None:
    assert [p.name for p in READMES] == ["README.md", "README_zh.md"]


@pytest.mark.parametrize("path", READMES, ids=lambda p: p.name)
def test_every_command_is_one(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    shown = [c for line in code(path) for c in re.split(r"\s(?:;|&&)\s", line) if c.startswith("cineforge ")]
    inline = re.findall(r"`(cineforge [a-z][^`]*)`", text)
    assert shown or inline
    for command in [*shown, *inline]:
        words = [w for w in shlex.split(command.partition("#")[0])[1:] if w not in ("...", "…")]
        try:
            build_parser().parse_args(words)
        except SystemExit as stopped:
            # Prose may name a verb alone, without what it needs.
            assert stopped.code == 0 or (command in inline and words[0] in build_parser().format_help()), command


@pytest.mark.parametrize("path", READMES, ids=lambda p: p.name)
def test_every_make_target_and_linked_file_is_there(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"\bmake ([a-z-]+)\b", "\n".join([*code(path), *re.findall(r"`([^`]+)`", text)]))) <= targets
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("http") or (ROOT / link).exists(), link


@pytest.mark.parametrize("path", READMES, ids=lambda p: p.name)
def test_every_imported_name_is_there(path: Path) -> None:
    for line in code(path):
        if found := re.match(r"from cineforge_hf import (.+)", line.partition("#")[0].strip()):
            for name in found.group(1).strip("()").split(","):
                assert hasattr(cineforge_hf, name.strip()), name
