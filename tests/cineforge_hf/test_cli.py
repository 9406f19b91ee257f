"""The command line: exit codes, help, errors in one line."""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from factories import NO_VOICES, cineforge, command, environment, make_film

from cineforge_hf import __version__
from cineforge_hf.cli import build_parser, main
from cineforge_hf.errors import SystemicError


def verbs() -> dict[str, argparse.ArgumentParser]:
    parser = build_parser()
    [action] = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(action.choices)


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    try:
        code = main([str(a) for a in arguments])
    except SystemExit as stopped:  # argparse leaves so
        code = int(stopped.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("verb", sorted(verbs()))
def test_every_verb_explains_itself_with_examples_that_parse(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, verb, "--help")
    assert code == 0
    examples = re.findall(rf"^  cineforge ({verb}\b.*)$", out.partition("examples:\n")[2], re.MULTILINE)
    assert examples
    for example in examples:
        assert build_parser().parse_args(example.split()).command == verb


def test_every_option_has_a_help_text() -> None:
    for verb, parser in verbs().items():
        for action in parser._actions:
            assert action.help or not action.option_strings, f"{verb} {action.option_strings}"


def test_help_names_every_verb_and_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "--help")
    assert all(verb in out for verb in verbs())
    assert call(capsys, "--version")[1].strip() == f"cineforge {__version__}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["rnu"], "invalid choice: 'rnu'"),
        (["run", "offline"], "--output"),
        (["run", "offlin", "--input", "x", "--output", "r"], "no recipe 'offlin'"),
        (["run", "offline", "--output", "r"], "no films: give --input"),
        (["run", "offline", "--input", "nowhere.mp4", "--output", "r"], "nowhere.mp4: no such file or folder"),
        (["run", "offline", "--input", "nowhere", "--output", "r", "--dry-run"], "nowhere: no such file or folder"),
        (["run", "offline", "--input", ".", "--output", "r"], "no films in this folder"),
        (["run", "offline", "--input", "x", "--output", "r", "--set", "x.y=1"], "no stage 'x'"),
        (["run", "offline", "--input", "x", "--output", "r", "--until", "x"], "--until x: the recipe's stages are ingest"),
        (["run", "offline", "--input", "x", "--output", "r", "--workers", "0"], "'0' is not a whole number"),
        (["run", "offline", "--input", "films.jsonl", "--output", "r"], "unknown key 'titel' (did you mean 'title'?)"),
        (["status", "r"], "r: not a run"),
        (["retry", "r"], "r: not a run"),
        (["prune", "r"], "r: not a run"),
        (["export", "r", "--output", "d"], "r: not a run"),
        (["validate", "d"], "d: not a dataset"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "films.jsonl").write_text('{"path": "a.mp4", "titel": "A"}')
    code, out, err = call(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1] and "Traceback" not in err
    assert err.startswith("usage: ") or len(err.splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["films.jsonl"], "wrong usage leaves nothing behind"


def test_a_command_without_films_shows_no_traceback_in_a_process_of_its_own(tmp_path: Path) -> None:
    done = cineforge("run", "offline", "--input", tmp_path / "no films", "--output", tmp_path / "r")
    assert (done.returncode, done.stderr) == (2, f"cineforge run: {tmp_path}/no films: no such file or folder\n")


def failing(error: BaseException) -> Any:
    def fail(_: argparse.Namespace) -> int:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (SystemicError("the key was refused"), "cineforge status: the key was refused\n"),
        (OSError(28, "No space left on device", "/x"), "cineforge status: /x: No space left on device\n"),
        (OSError("odd"), "cineforge status: a file: odd\n"),
        (KeyboardInterrupt(), "stopped; the same command goes on where it stood\n"),
    ],
)
def test_what_did_not_finish_is_one_line_and_exit_code_1(
    error: BaseException, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cineforge_hf.commands.run.status", failing(error))
    assert call(capsys, "status", "r") == (1, "", line)


def test_a_reader_that_stops_reading_is_no_error(finished_once: Path) -> None:
    process = subprocess.Popen(
        command("status", finished_once), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), errors) == (1, "")


def test_status_says_what_was_done_and_exits_0(finished_once: Path) -> None:
    done = cineforge("status", finished_once)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split()[0] for line in done.stdout.splitlines()]
    assert lines == ["stage", "films", "ingest", "transcribe", "segment", "check_text", "cot", "verify"]


def test_failed_rows_are_one_line_each_and_exit_code_3(tmp_path: Path) -> None:
    make_film(tmp_path / "films" / "silent.mp4", seconds=2, audio=False)
    run = ("run", "offline", "--input", tmp_path / "films", "--output", tmp_path / "r", "--workers", 1, *NO_VOICES)
    first = cineforge(*run)
    assert first.returncode == 3
    [line] = [line for line in first.stderr.splitlines() if "silent.mp4" in line]
    assert line.startswith("ingest: silent.mp4: no sound") and line.endswith("[no_audio_stream]")
    again = cineforge("status", tmp_path / "r")
    assert again.returncode == 3 and line in again.stderr
    rejected = cineforge("status", tmp_path / "r", "--rejected")
    assert (rejected.returncode, rejected.stdout) == (0, "silent.mp4: ingest:no_audio_stream\n")


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(films_once: Path, tmp_path: Path) -> None:
    done = cineforge("run", "offline", "--input", films_once, "--output", tmp_path / "r", "--dry-run")
    assert done.returncode == 0 and "0 films known, 2 new: one.mp4, two.mp4" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_other_settings_says_why(finished: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*")}
    done = cineforge(
        "run",
        "offline",
        "--output",
        finished,
        "--dry-run",
        *NO_VOICES,
        "--set",
        "cot.engine=skip",
        "--set",
        "segment.padding=0.3",
    )
    assert "settings changed: padding 0.1 -> 0.3" in done.stdout and "waits for segment" in done.stdout
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*")} == before


def test_prune_says_what_it_removes(finished: Path) -> None:
    assert cineforge("prune", finished).stdout == "nothing to remove\n"
    stray = finished / "films" / "0123456789ab-000.parquet"
    stray.write_bytes(b"x")
    assert cineforge("prune", finished, "--dry-run").stdout == f"would remove {stray}\n" and stray.exists()
    assert cineforge("prune", finished).stdout == f"removed {stray}\n" and not stray.exists()
