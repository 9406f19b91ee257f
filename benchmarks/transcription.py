"""How fast and how good the transcription engines are: `python benchmarks/transcription.py [--clips FOLDER] [--engine NAME ...]`.

For each engine that can run here, over the real clips: real-time factor (seconds of work per second of film, lower is better),
CPU seconds per second, peak memory, and the error rate against the clips' texts: words for English, characters for Chinese. Each
engine runs in a process of its own; its models are loaded before the clock starts.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ENGINES = ("ocr", "pocketsphinx", "asr", "funasr")
HERE = Path(__file__).resolve().parent


def main() -> None:
    """Runs every engine and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = HERE.parent.parent / "shared" / "clips"
    parser.add_argument("--clips", type=Path, default=Path(os.environ.get("CINEFORGE_CLIPS", beside)))
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--model", default="", help="recogniser for asr and funasr: repository on the Hub or folder")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        for line in measure(options.engine[0], options.clips, options.model):
            print(line)
        return
    print(f"{'engine':<13}{'clip':<17}{'RTF':>7}{'CPU':>7}{'error':>8}  text")
    for engine in options.engine:
        again = [sys.executable, __file__, "--alone", "--engine", engine, "--clips", str(options.clips), "--model", options.model]
        subprocess.run(again, check=False)


def measure(name: str, clips: Path, model: str) -> list[str]:
    """One line per clip, and one of memory."""
    from cineforge_hf.errors import RowError, UsageError
    from cineforge_hf.media import probe
    from cineforge_hf.processors.engines.transcribe.base import EngineSettings, load_engine

    engine = load_engine(name, EngineSettings(model=model))
    try:
        engine.check()
    except UsageError as error:
        return [f"{name:<13}cannot run here: {error}"]
    lines, wrong, said = [], 0, 0
    known = [json.loads(line) for line in (clips / "clips.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [(clip, _row(str(clips / f"{clip['clip']}.mp4"), probe)) for clip in known]
    for clip, row in [rows[0], *rows]:  # The first run loads the models, and is not shown.
        begun, used = time.perf_counter(), time.process_time()
        try:
            text = " ".join(cue.text for cue in engine.transcribe(row, clip["lang"]).cues)
        except RowError as error:
            text, errors = f"({error.code})", None
        else:
            errors, units = _errors(text, clip["text"], clip["lang"])
        wall, cpu = time.perf_counter() - begun, time.process_time() - used
        seconds = row["film_duration"]
        rate = "-" if errors is None else f"{errors / units:.1%}"
        lines.append(f"{name:<13}{clip['clip']:<17}{wall / seconds:>7.2f}{cpu / seconds:>7.2f}{rate:>8}  {text[:60]}")
        if errors is not None and len(lines) > 1:
            wrong, said = wrong + errors, said + units
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    total = f"{wrong / said:.1%} errors" if said else "nothing recognised"
    return [*lines[1:], f"{name:<13}all: {total}, peak memory {peak:.2f} GB"]


def _row(path: str, probe: Any) -> dict[str, Any]:
    facts = probe(path)
    film = {"source": path, "audio_stream": facts.audio[0].index, "film_duration": facts.duration}
    return {**film, "trim_start": 0.0, "trim_end": facts.duration}


def _errors(text: str, truth: str, lang: str) -> tuple[int, int]:
    """Wrong units, and units in the truth: words, or characters for Chinese, without case and punctuation."""
    from rapidfuzz.distance import Levenshtein

    pattern = r"[a-z0-9']+" if lang == "en" else r"\w"
    heard, said = (re.findall(pattern, part.lower()) for part in (text, truth))
    return Levenshtein.distance(said, heard), len(said)


if __name__ == "__main__":
    main()
