#!/usr/bin/env python3
"""Films to clips: our way against the ancestor's, side by side in one run.

    python benchmarks/ingest.py FILM --srt FILE [--moviepy PYTHON] [--json FILE]
    python benchmarks/ingest.py --clips DIR            # build the film with DIR/make_film.py first

What is measured, in wall-clock seconds on whatever cores the machine has (both ways may use all of them), and in seconds
of processor time, which other work on the machine disturbs less:

- The ancestor (FunCineForge, behaviour from its scripts): the whole film is re-encoded once, trimmed 10 s at both ends
  (libx264 preset fast, AAC, and a WAV); then every sentence is cut with moviepy 2.2.1 (libx264 preset medium, AAC; PCM16
  44.1 kHz stereo WAV), opening each file anew. `--moviepy` names a Python that has moviepy 2.2.1; without it the ffmpeg
  program does the same encodes, which is kinder to the ancestor (no frames through Python).
- Ours: `cut_clip` for every sentence and FLAC of all sentences in one pass, in two processes.

Not measured: starting Python and importing libraries, on either side (the pool is warmed up, moviepy times itself).
Then, outside the clock: SSIM on luma of both sides' clips against the film at 5 pictures a second (8x8 windows every 4
pixels, as in x264 and FFmpeg), the sizes of the MP4s, and whether our clips hold exactly the film's frames at their times.
The same is repeated with the film re-encoded to groups of pictures of 2 s, where copying helps.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TRIM = 10.0
PROCESSES = 2
GRID = 0.04
SSIM_RATE = 5.0

Range = tuple[float, float]


def clocks() -> tuple[float, float]:
    """Wall-clock seconds, and processor seconds of this process and of its finished children."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.perf_counter(), sum(u.ru_utime + u.ru_stime for u in usage)


def since(begun: tuple[float, float]) -> tuple[float, float]:
    """What both clocks have gone on."""
    wall, processor = clocks()
    return wall - begun[0], processor - begun[1]


def ffmpeg(*arguments: Any) -> None:
    """Run the ffmpeg program."""
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, arguments)], check=True)


def read_srt(path: Path) -> list[Range]:
    """Cue times in seconds, widened to the 25 Hz grid that clips lie on."""
    cues = []
    for line in path.read_text(encoding="utf-8").splitlines():
        stamps = re.findall(r"(\d+):(\d+):(\d+)[,.](\d+)", line) if "-->" in line else []
        if len(stamps) == 2:
            start, end = (int(h) * 3600 + int(m) * 60 + int(s) + int(ms) / 1000 for h, m, s, ms in stamps)
            cues.append((int(start / GRID + 1e-6) * GRID, -int(-end / GRID + 1e-6) * GRID))
    return cues


def moviepy_cuts(job: Path) -> None:
    """Cut as the ancestor does. Runs in the Python that has moviepy; prints what both clocks say."""
    from moviepy import AudioFileClip, VideoFileClip

    work = json.loads(job.read_text(encoding="utf-8"))
    begun = clocks()
    for number, (start, end) in enumerate(work["ranges"]):
        with VideoFileClip(work["film"]) as film:
            clip = film.subclipped(start, min(end, film.duration))
            temporary = f"{work['output']}/{number}.m4a"
            clip.write_videofile(
                f"{work['output']}/{number}.mp4", codec="libx264", audio_codec="aac", temp_audiofile=temporary, logger=None
            )
        with AudioFileClip(work["sound"]) as sound:
            sound.subclipped(start, min(end, sound.duration)).write_audiofile(f"{work['output']}/{number}.wav", logger=None)
    print(*since(begun))


def ancestor(film: Path, ranges: list[Range], output: Path, moviepy: str | None) -> list[tuple[float, float]]:
    """Do the ancestor's work; return (wall, processor) seconds of both its stages."""
    from cineforge_hf.media import probe

    output.mkdir()
    normal, sound = output / "film.mp4", output / "film.wav"
    stop = probe(film).duration - TRIM
    begun = clocks()
    # Its -to counts from the trimmed start, so that the end is hardly trimmed: its own fault, kept.
    picture = ["-to", stop, "-map_metadata", -1, "-c:v", "libx264", "-preset", "fast", "-c:a", "aac", normal]
    ffmpeg("-ss", TRIM, "-i", film, *picture, "-vn", "-c:a", "pcm_s16le", sound)
    normalise = since(begun)
    inside = [(start - TRIM, end - TRIM) for start, end in ranges]
    if moviepy:
        job = output / "job.json"
        job.write_text(json.dumps({"film": str(normal), "sound": str(sound), "output": str(output), "ranges": inside}))
        command = [moviepy, __file__, "--moviepy-cuts", str(job)]
        wall, processor = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-2:]
        return [normalise, (float(wall), float(processor))]
    begun = clocks()
    for number, (start, end) in enumerate(inside):
        span = ["-ss", f"{start:.3f}", "-t", f"{end - start:.3f}"]
        encode = ["-c:v", "libx264", "-preset", "medium", "-c:a", "aac", "-ar", 44100]
        ffmpeg(*span, "-i", normal, *encode, output / f"{number}.mp4")
        ffmpeg(*span, "-i", sound, "-ar", 44100, "-ac", 2, "-c:a", "pcm_s16le", output / f"{number}.wav")
    return [normalise, since(begun)]


def one_clip(task: tuple[Path, int, Range, Path]) -> tuple[int, float]:
    """Cut one clip; return how many of its frames were copied, and the processor seconds."""
    from cineforge_hf.media import cut_clip

    film, number, (start, end), output = task
    begun = clocks()
    copied = cut_clip(film, start, end, destination=output / f"{number}.mp4").copied
    return copied, since(begun)[1]


def all_sounds(task: tuple[Path, list[Range], Path]) -> float:
    """Write the FLAC of every range in one pass; return the processor seconds."""
    from cineforge_hf.media import choose_audio, encode_flac, iter_sound_ranges, probe

    film, ranges, output = task
    begun = clocks()
    bits = choose_audio(probe(film)).bits
    for number, samples, rate in iter_sound_ranges(film, ranges):
        (output / f"{number}.flac").write_bytes(encode_flac(samples, rate, bits))
    return since(begun)[1]


def warm(_: int) -> None:
    """Import what the work needs, before the clock starts."""
    from cineforge_hf.media import cut_clip, encode_flac, iter_sound_ranges, probe  # noqa: F401

    time.sleep(0.5)  # so that no worker takes two of these


def ours(film: Path, ranges: list[Range], output: Path) -> tuple[float, float, int]:
    """Do our work; return wall and processor seconds and the number of copied frames."""
    output.mkdir()
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        pool.map(warm, range(PROCESSES), chunksize=1)
        begun = time.perf_counter()
        sounds = pool.apply_async(all_sounds, [(film, ranges, output)])
        longest = sorted(range(len(ranges)), key=lambda number: ranges[number][0] - ranges[number][1])
        cuts = list(pool.imap_unordered(one_clip, [(film, number, ranges[number], output) for number in longest]))
        processor = sounds.get() + sum(seconds for _, seconds in cuts)
        return time.perf_counter() - begun, processor, sum(copied for copied, _ in cuts)


def ssim(one: Any, other: Any) -> float:
    """Mean SSIM of two 8-bit luma pictures over 8x8 windows every 4 pixels."""
    import numpy as np

    def sums(values: Any) -> Any:
        height, width = values.shape[0] // 4 * 4, values.shape[1] // 4 * 4
        blocks = values[:height, :width].reshape(height // 4, 4, width // 4, 4).sum(axis=(1, 3))
        return blocks[:-1, :-1] + blocks[1:, :-1] + blocks[:-1, 1:] + blocks[1:, 1:]

    x, y = one.astype(np.float64), other.astype(np.float64)
    mean_x, mean_y = sums(x) / 64, sums(y) / 64
    var_x, var_y, both = sums(x * x) / 64 - mean_x**2, sums(y * y) / 64 - mean_y**2, sums(x * y) / 64 - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return float(np.mean((2 * mean_x * mean_y + c1) * (2 * both + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))))


def similarity(film: Path, span: Range, clip: Path) -> float:
    """Mean SSIM of a clip to the film."""
    from cineforge_hf.media import iter_frames

    length = span[1] - span[0]
    source = iter_frames(film, start=span[0], end=span[1], fps=SSIM_RATE, gray=True)
    pairs = zip(source, iter_frames(clip, end=length, fps=SSIM_RATE, gray=True), strict=True)
    values = [ssim(a.image, b.image) for a, b in pairs]
    return sum(values) / len(values)


def same_frames(film: Path, span: Range, clip: Path) -> bool:
    """Whether the clip holds the film's frames at their times, to 0.1 ms."""
    from cineforge_hf.media import iter_frames

    source = [frame.time for frame in iter_frames(film, start=span[0], end=span[1], fps=None, width=16, gray=True)]
    cut = [frame.time for frame in iter_frames(clip, fps=None, width=16, gray=True)]
    return len(source) == len(cut) and all(abs(a - b) < 1e-4 for a, b in zip(source, cut, strict=True))


def compare(name: str, film: Path, ranges: list[Range], folder: Path, moviepy: str | None) -> dict[str, Any]:
    """Measure both ways on one film."""
    ours_at, theirs_at = folder / f"{name}-ours", folder / f"{name}-ancestor"
    wall, processor, copied = ours(film, ranges, ours_at)
    (normalise, normalise_cpu), (cut, cut_cpu) = ancestor(film, ranges, theirs_at, moviepy)
    sizes = [[(at / f"{n}.mp4").stat().st_size for n in range(len(ranges))] for at in (ours_at, theirs_at)]
    clips = list(enumerate(ranges))
    quality = [similarity(film, span, ours_at / f"{n}.mp4") for n, span in clips]
    seconds = sum(end - start for start, end in ranges)
    return {
        "film": name,
        "clips": len(ranges),
        "clip_seconds": round(seconds, 2),
        "ancestor_seconds": round(normalise + cut, 2),
        "ancestor_normalise_seconds": round(normalise, 2),
        "ancestor_cut_seconds": round(cut, 2),
        "ancestor_cpu_seconds": round(normalise_cpu + cut_cpu, 2),
        "ours_seconds": round(wall, 2),
        "ours_cpu_seconds": round(processor, 2),
        "ours_cpu_per_clip_second": round(processor / seconds, 3),
        "times_faster": round((normalise + cut) / wall, 2),
        "times_less_cpu": round((normalise_cpu + cut_cpu) / processor, 2),
        "ssim_mean": round(sum(quality) / len(quality), 4),
        "ssim_lowest_clip": round(min(quality), 4),
        "ancestor_ssim_mean": round(sum(similarity(film, span, theirs_at / f"{n}.mp4") for n, span in clips) / len(clips), 4),
        "size_ratio": round(sum(sizes[0]) / sum(sizes[1]), 3),
        "size_ratio_largest": round(max(a / b for a, b in zip(*sizes, strict=True)), 3),
        "copied_frames": copied,
        "frames_equal": all(same_frames(film, span, ours_at / f"{n}.mp4") for n, span in clips),
    }


def main() -> None:
    """Parse the command line, measure, print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path, nargs="?", help="a film of at least 25 s")
    parser.add_argument("--srt", type=Path, help="its sentences; default: the .srt beside it")
    parser.add_argument("--clips", type=Path, help="folder with make_film.py, to build the film from")
    parser.add_argument("--moviepy", help="a Python with moviepy 2.2.1")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    parser.add_argument("--moviepy-cuts", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.moviepy_cuts:
        moviepy_cuts(arguments.moviepy_cuts)
        return
    if (arguments.film is None) == (arguments.clips is None):
        parser.error("name a film, or --clips DIR to build one")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        film = arguments.film
        if film is None:
            subprocess.run([sys.executable, str(arguments.clips / "make_film.py"), str(folder)], check=True)
            film = folder / "film.mp4"
        ranges = read_srt(arguments.srt or film.with_suffix(".srt"))
        short = folder / "short-groups.mp4"
        ffmpeg("-i", film, "-c:v", "libx264", "-preset", "medium", "-crf", 23, "-g", 50, "-c:a", "copy", short)
        films = (("as given", film), ("2 s groups", short))
        results = [compare(title, path, ranges, folder, arguments.moviepy) for title, path in films]
    for key in results[0]:
        print(f"{key:30}" + "".join(f"{result[key]!s:>14}" for result in results))
    text = json.dumps({"moviepy": bool(arguments.moviepy), "results": results}, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
