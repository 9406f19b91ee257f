"""The import budget, the arrows between the folders, and what nobody may do."""

from __future__ import annotations

import ast
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from factories import environment

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("cineforge_hf", "configs", "dataset_scripts", "evaluation", "modeling", "processors", "trainer")
SOURCES = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))
HEAVY = ("torch", "datasets", "pandas", "av", "transformers", "numpy", "pyarrow")

# What a layer may not know. `kernel` is everything in cineforge_hf/ that no other layer claims.
FORBIDDEN = {
    "kernel": ("processors", "modeling", "trainer", "dataset_scripts", "studio", "serve", "evaluation"),
    "commands": (),
    "modeling": ("processors", "media", "trainer", "dataset_scripts", "studio", "serve", "evaluation", "runs", "executors"),
    "processors": ("trainer", "dataset_scripts", "studio", "serve", "evaluation", "commands", "cli"),
    "dataset_scripts": ("trainer", "studio", "serve", "evaluation", "commands", "cli"),
    "evaluation": ("trainer", "studio", "serve", "commands", "cli"),
    "trainer": ("studio", "serve", "commands", "cli"),
    "studio": ("serve", "commands", "cli"),
    "serve": ("commands", "cli"),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "cineforge_hf" else ("cineforge_hf", *parts)
    return ".".join(parts).removesuffix(".__init__")


def layer(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    name = parts[1] if parts[0] == "cineforge_hf" and len(parts) > 2 else parts[0].removesuffix(".py")
    name = "commands" if parts[0] == "cineforge_hf" and parts[1] in ("cli.py", "__init__.py", "loading.py", "hub.py") else name
    return name if name in FORBIDDEN else "kernel"


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Modules that are named by import statements anywhere, type checking included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def test_the_scan_sees_the_package() -> None:
    names = {module_name(p) for p in SOURCES}
    assert {
        "cineforge_hf",
        "cineforge_hf.runs.plan",
        "cineforge_hf.processors.ingest",
        "cineforge_hf.dataset_scripts.export",
    } <= names
    assert {layer(p) for p in SOURCES} >= {"kernel", "commands", "processors", "dataset_scripts"}


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_the_arrows_point_one_way(path: Path) -> None:
    forbidden = tuple(f"cineforge_hf.{name}" for name in FORBIDDEN[layer(path)])
    for name, line in imports(ast.parse(path.read_text(encoding="utf-8"))):
        assert not any(name == f or name.startswith(f"{f}.") for f in forbidden), f"{path}:{line}: {layer(path)} imports {name}"
        assert name.split(".")[0] not in FOLDERS[1:], f"{path}:{line}: import cineforge_hf.{name}"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_only_media_opens_media(path: Path) -> None:
    roots = {name.split(".")[0] for name, _ in imports(ast.parse(path.read_text(encoding="utf-8")))}
    openers = {"av", "torchcodec", "moviepy", "imageio", "decord"} & roots
    # The program that makes the sample film writes media with FFmpeg itself: it has no film to be right about.
    allowed = path.parent == ROOT / "cineforge_hf" / "media" or "sample_film" in str(path)
    assert allowed or not openers, f"{path}: {openers}"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_nobody_does_what_nobody_may(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    roots = {name.split(".")[0] for name, _ in imports(tree)}
    assert not roots & {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"}, path
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{path}:{node.lineno}: bare except"
        if not isinstance(node, ast.Call):
            continue
        where = f"{path}:{node.lineno}"
        named = {k.arg: k.value for k in node.keywords}
        called = ast.unparse(node.func)
        assert called not in {"eval", "exec", "print", "os.system", "os.popen"} or is_program(path), where
        shell = named.get("shell")
        assert shell is None or (isinstance(shell, ast.Constant) and shell.value is False), f"{where}: shell"
        if called == "torch.load":
            safe = named.get("weights_only")
            assert isinstance(safe, ast.Constant) and safe.value is True, f"{where}: torch.load without weights_only=True"
        if called.endswith(("np.load", "numpy.load")):
            assert "allow_pickle" not in named, where


def is_program(path: Path) -> bool:
    return path.name.startswith("make_") and path.parent.name == "dataset_scripts"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_everything_public_is_documented_and_typed(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{path}: no module docstring"
    public = [n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
    for node in [*tree.body, *(n for c in public for n in c.body)]:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        assert ast.get_docstring(node), f"{path}:{node.lineno}: {node.name} has no docstring"
        if not isinstance(node, ast.ClassDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            bare = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
            assert not bare and node.returns is not None, f"{path}:{node.lineno}: {node.name} lacks types: {bare or 'return'}"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_no_file_is_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 450


BUDGETED = {
    "import": "import cineforge_hf",
    "help": "import sys; from cineforge_hf.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
}


@pytest.mark.parametrize("what", BUDGETED)
def test_importing_and_asking_for_help_cost_next_to_nothing(what: str) -> None:
    program = f"{BUDGETED[what]}\nimport sys; print('loaded', *[m for m in {HEAVY} if m in sys.modules])"
    costs = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment(), check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Processor time, not the clock's: other tests run beside this one.
        costs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.stdout.splitlines()[-1].strip() == "loaded"
    assert min(costs) < 0.5, costs


def test_workers_load_neither_torch_nor_datasets_nor_pandas() -> None:
    program = (
        "import sys; from cineforge_hf.recipe import load_recipe; from cineforge_hf.runs import task, runner\n"
        "from cineforge_hf.dataset_scripts import cutting; [s.check() for s in load_recipe('offline').processors()]\n"
        "print('loaded', *[m for m in ('torch', 'datasets', 'pandas', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout.strip() == "loaded"


def test_public_names_exist_and_unknown_ones_are_explained() -> None:
    import cineforge_hf

    for name in cineforge_hf.__all__:
        assert getattr(cineforge_hf, name) is not None
        assert name in dir(cineforge_hf)
    with pytest.raises(AttributeError, match=r"no attribute 'Ingst'; public names: .*Ingest"):
        _ = cineforge_hf.Ingst


def test_no_text_names_a_machine() -> None:
    texts = [
        p
        for pattern in ("*.py", "*.md", "*.toml", "*.yaml", "*.jinja")
        for f in (*FOLDERS, "tests", "benchmarks")
        for p in (ROOT / f).rglob(pattern)
    ]
    texts += [p for p in ROOT.glob("*") if p.suffix in {".md", ".toml", ".txt"}]
    for path in texts:
        found = re.findall(r"/(?:root|home/(?!me/|you/)|Users|mnt|work)/\w+", path.read_text(encoding="utf-8"))
        assert not found, f"{path}: {found}"
