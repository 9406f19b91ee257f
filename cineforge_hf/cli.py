"""The `cineforge` command: one verb per thing that users do.

Each verb imports what it needs when it runs, so that `cineforge --help` is instant.
Exit codes: 0 all rows well, 3 finished with rows that failed, 1 did not finish, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence

from cineforge_hf import __version__
from cineforge_hf.errors import CineforgeError, UsageError

OK, STOPPED, WRONG_USAGE, SOME_FAILED = 0, 1, 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.DEBUG if options.verbose else logging.INFO, format="%(message)s")
    for chatty in ("httpx", "httpx2", "httpcore2", "datasets", "matplotlib", "PIL", "fsspec", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        return int(options.verb(options))
    except UsageError as error:
        sys.stderr.write(f"cineforge {options.command}: {error}\n")
        return WRONG_USAGE
    except CineforgeError as error:
        sys.stderr.write(f"cineforge {options.command}: {error}\n")
        return STOPPED
    except BrokenPipeError:
        # The reader of our output has seen enough (`cineforge status RUN | head`); the interpreter must not flush into it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return STOPPED
    except OSError as error:
        sys.stderr.write(f"cineforge {options.command}: {error.filename or 'a file'}: {error.strerror or error}\n")
        return STOPPED
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the same command goes on where it stood\n")
        return STOPPED


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="cineforge",
        description="Films to a dubbing dataset, in the Hugging Face stack.",
        epilog="Try it: cineforge demo. Each command has --help with examples.",
    )
    parser.add_argument("--version", action="version", version=f"cineforge {__version__}")
    parser.add_argument("--verbose", action="store_true", help="say what happens in detail")
    verbs = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(verbs)
    _add_run_keepers(verbs)
    _add_dataset(verbs)
    _add_model(verbs)
    _add_help(verbs)
    return parser


def _add(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, module: str, about: str, examples: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=about,
        description=about[0].upper() + about[1:] + ".",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(verb=_lazy(module, name))
    return parser


def _lazy(module: str, function: str) -> Callable[[argparse.Namespace], int]:
    def call(options: argparse.Namespace) -> int:
        from importlib import import_module

        return int(getattr(import_module(module), function)(options))

    return call


def _add_run(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = _add(
        verbs,
        "run",
        "cineforge_hf.commands.run",
        "run a recipe over films; the same command goes on where it stopped",
        "  cineforge run offline --input films/ --output runs/first\n"
        "  cineforge run cinedub-cn --input films/ --output runs/cn --set segment.max_seconds=30\n"
        "  cineforge run offline --input films.jsonl --output runs/first --dry-run",
    )
    run.add_argument("recipe", metavar="RECIPE", help="offline, cinedub-cn, cinedub-en, or a YAML file")
    run.add_argument("--input", nargs="+", metavar="PATH", default=[], help="folders, films, or manifests (.jsonl, .csv)")
    run.add_argument("--output", required=True, metavar="RUN", help="the run's folder")
    run.add_argument("--lang", choices=("zh", "en", "auto"), help="language of films whose manifest does not say")
    run.add_argument("--until", metavar="STAGE", help="last stage to do")
    run.add_argument("--set", action="append", default=[], metavar="STAGE.KEY=VALUE", help="change a setting of the recipe")
    run.add_argument("--limit", type=_positive, metavar="N", help="take the first N films only")
    run.add_argument("--dry-run", action="store_true", help="say what would be done and why; write nothing")
    _add_workers(run)


def _add_run_keepers(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    status = _add(
        verbs,
        "status",
        "cineforge_hf.commands.run",
        "show what a run has done, what is left, and why",
        "  cineforge status runs/first\n"
        "  cineforge status runs/first --rejected\n"
        "  cineforge status runs/first --html report.html",
    )
    status.add_argument("run", metavar="RUN")
    status.add_argument("--rejected", action="store_true", help="list the rows that export would not accept, and why")
    status.add_argument("--html", metavar="FILE", help="write a report with charts and timelines of clips")
    retry = _add(
        verbs,
        "retry",
        "cineforge_hf.commands.run",
        "do the rows that failed again, and nothing else",
        "  cineforge retry runs/first",
    )
    retry.add_argument("run", metavar="RUN")
    _add_workers(retry)
    prune = _add(
        verbs,
        "prune",
        "cineforge_hf.commands.run",
        "remove stages made with settings no longer in force",
        "  cineforge prune runs/first --dry-run",
    )
    prune.add_argument("run", metavar="RUN")
    prune.add_argument("--dry-run", action="store_true", help="list what would be removed")


def _add_dataset(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    export = _add(
        verbs,
        "export",
        "cineforge_hf.commands.dataset",
        "turn finished runs into a dataset folder that load_dataset opens",
        "  cineforge export runs/first --output cinedub-cn\n"
        "  cineforge export runs/first runs/second --output cinedub-cn --overwrite\n"
        "  python -c 'from datasets import load_dataset; print(load_dataset(\"./cinedub-cn\"))'",
    )
    export.add_argument("runs", nargs="+", metavar="RUN")
    export.add_argument("--output", required=True, metavar="FOLDER", help="the dataset's folder")
    export.add_argument("--overwrite", action="store_true", help="replace a dataset that an earlier export made there")
    _add_workers(export, gpus=False)
    validate = _add(
        verbs,
        "validate",
        "cineforge_hf.commands.dataset",
        "check a dataset folder: schema, times, and that all media decode to their length",
        "  cineforge validate cinedub-cn",
    )
    validate.add_argument("dataset", metavar="FOLDER")


def _add_model(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    convert = _add(
        verbs,
        "convert",
        "cineforge_hf.commands.model",
        "turn released weights (Fun-CineForge, CosyVoice3, the S3 speech tokenizer) into a transformers folder",
        "  cineforge convert Fun-CineForge/ --output models/cinedub\n"
        "  cineforge convert FunAudioLLM/Fun-CineForge --revision COMMIT --output models/cinedub\n"
        "  cineforge convert speech_tokenizer_v3.onnx --output models/speech_tokenizer",
    )
    convert.add_argument("source", metavar="SOURCE", help="a release's folder, a Hub id, or the tokenizer's file")
    convert.add_argument("--output", required=True, metavar="DIR", help="the folder to write")
    convert.add_argument("--revision", metavar="COMMIT", help="commit of a Hub id; pin it, so that nothing changes under you")


def _add_help(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    doctor = _add(
        verbs,
        "doctor",
        "cineforge_hf.commands.help",
        "check this machine: packages, engines, libraries, disk; with the fix for what is missing",
        "  cineforge doctor",
    )
    doctor.add_argument("--json", action="store_true", help="print JSON")
    demo = _add(
        verbs,
        "demo",
        "cineforge_hf.commands.help",
        "run the bundled sample film through the offline recipe to a dataset and a report",
        "  cineforge demo\n  cineforge demo --output somewhere",
    )
    demo.add_argument("--output", default="demo", metavar="FOLDER", help="where to put it (default: demo)")
    _add_workers(demo, gpus=False)


def _add_workers(parser: argparse.ArgumentParser, gpus: bool = True) -> None:
    parser.add_argument("--workers", type=_positive, metavar="N", help="processes (default: one per core, or per GPU)")
    if gpus:
        parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where engines run")
        parser.add_argument("--gpus", nargs="+", type=int, default=[], metavar="N", help="one worker on each of these GPUs")


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
