#!/usr/bin/env python3
"""Memory and time of the whole way from film to dataset, for a short film and a long one.

    python benchmarks/memory.py FILM --srt FILE [--minutes 10 120] [--workers 2] [--json FILE]

FILM is repeated by stream copy until it is as long as asked, and its subtitles with it. Each length goes through
`cineforge run offline` and `cineforge export` in processes of their own. Reported for each command:

- peak of the proportional set size (PSS) of the command and all its workers together, sampled ten times a second: pages
  that processes share are counted once, file pages that are mapped are counted, the page cache is not;
- wall-clock seconds, and processor seconds, which other work on the machine disturbs less.

The aims: a film of two hours needs at most 1.5 GB and at most 1.2 times what ten minutes need, and time is linear.
Needs the ffmpeg program and psutil.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import pysubs2

_SECONDS_BETWEEN_SAMPLES = 0.1


def loop_film(film: Path, subtitles: Path, minutes: float, folder: Path) -> Path:
    """A film of at least so many minutes, made of copies of another, with its SRT."""
    probe = ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", str(film)]
    length = float(subprocess.run(probe, check=True, capture_output=True, text=True).stdout)
    times = math.ceil(minutes * 60 / length)
    listing = folder / "parts.txt"
    listing.write_text(f"file '{film.absolute()}'\n" * times, encoding="utf-8")
    long = folder / "film.mp4"
    join = ["ffmpeg", "-v", "error", "-nostdin", "-f", "concat", "-safe", "0", "-i", str(listing), "-c", "copy", str(long)]
    subprocess.run(join, check=True)
    once, many = pysubs2.load(str(subtitles)), pysubs2.SSAFile()
    for n in range(times):
        for cue in once:
            many.append(cue.copy())
            many[-1].shift(s=n * length)
    many.save(str(long.with_suffix(".srt")))
    return long


def measure(arguments: list[str]) -> dict[str, float]:
    """Runs a command and watches it.

    Returns:
        seconds, processor_seconds and peak_pss in bytes.
    """
    began = time.perf_counter()
    process = psutil.Popen([sys.executable, "-m", "cineforge_hf.cli", *arguments], stdout=subprocess.DEVNULL)
    peak, used = 0, {}
    while process.poll() is None:
        total = 0
        for member in [process, *_children(process)]:
            try:
                total += member.memory_full_info().pss
                times = member.cpu_times()
                used[member.pid] = times.user + times.system
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        peak = max(peak, total)
        time.sleep(_SECONDS_BETWEEN_SAMPLES)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with exit code {process.returncode}")
    return {"seconds": time.perf_counter() - began, "processor_seconds": sum(used.values()), "peak_pss": peak}


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def main() -> None:
    """Measures every length and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path, help="a film with dialogue, a minute or more")
    parser.add_argument("--srt", type=Path, required=True, help="its subtitles")
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0, 120.0], help="lengths to measure")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    print(f"{'minutes':>8} {'command':<8} {'peak PSS':>10} {'seconds':>9} {'processor s':>12} {'processor s / minute':>21}")
    for minutes in options.minutes:
        with tempfile.TemporaryDirectory() as temporary:
            base = Path(temporary)
            film = loop_film(options.film, options.srt, minutes, base)
            workers = ["--workers", str(options.workers)]
            commands = {
                "run": ["run", "offline", "--input", str(film), "--output", str(base / "run"), *workers],
                "export": ["export", str(base / "run"), "--output", str(base / "dataset"), *workers],
            }
            for name, arguments in commands.items():
                numbers = measure(arguments)
                found.append({"minutes": minutes, "command": name, **numbers})
                print(
                    f"{minutes:8.0f} {name:<8} {numbers['peak_pss'] / 1e6:7.0f} MB {numbers['seconds']:9.1f} "
                    f"{numbers['processor_seconds']:12.1f} {numbers['processor_seconds'] / minutes:21.2f}",
                    flush=True,
                )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
