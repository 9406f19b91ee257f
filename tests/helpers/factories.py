"""Tiny films with their subtitles, made on the spot, and the command line as users call it.

Sounds and pictures come from seeded noise, so that equal arguments give equal bytes on one machine.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = 16000
CUES = ((0.5, 3.0, "Good morning, my friends."), (4.2, 7.0, "Did you sleep well last night?"))
# Noise is nobody speaking: without these two settings the subtitles of a synthetic film would be taken for another film's.
NO_VOICES = ("--set", "transcribe.align=false", "--set", "transcribe.min_match=0")

Cue = tuple[float, float, str]


def make_film(
    path: Path,
    seconds: float = 8.0,
    cues: Iterable[Cue] | None = CUES,
    seed: int = 0,
    fps: int = 25,
    video: bool = True,
    audio: bool = True,
) -> Path:
    """A film of 64x48 with mono sound, and `cues` as its sidecar SRT (none with None)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "g": "25"}) if video else None
        sound = container.add_stream("aac", rate=RATE, layout="mono") if audio else None
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
            picture.codec_context.thread_count = 1
            base = random.integers(0, 255, (48, 64, 3), np.uint8)
            for i in range(round(seconds * fps)):
                frame = av.VideoFrame.from_ndarray(np.roll(base, i, axis=1), format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, fps)
                container.mux(picture.encode(frame))
            container.mux(picture.encode(None))
        if sound is not None:
            samples = random.normal(0, 0.1, round(seconds * RATE)).astype(np.float32)
            for at in range(0, len(samples), 1024):
                frame = av.AudioFrame.from_ndarray(samples[None, at : at + 1024], format="fltp", layout="mono")
                frame.sample_rate, frame.pts = RATE, at
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    if cues is not None:
        write_srt(path.with_suffix(".srt"), cues)
    return path


def write_srt(path: Path, cues: Iterable[Cue], encoding: str = "utf-8") -> Path:
    """Subtitles in SRT."""
    blocks = [f"{n}\n{_stamp(start)} --> {_stamp(end)}\n{text}\n" for n, (start, end, text) in enumerate(cues, start=1)]
    path.write_text("\n".join(blocks), encoding=encoding)
    return path


def _stamp(seconds: float) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3600000:02}:{ms // 60000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"


def command(*arguments: object) -> list[str]:
    """`cineforge ARGUMENTS` of the tree under test, as a list for subprocess."""
    return [sys.executable, "-m", "cineforge_hf.cli", *map(str, arguments)]


def environment() -> dict[str, str]:
    """The environment of subprocesses: the tree under test, the test stages, plain output without wrapping."""
    helpers = Path(__file__).resolve().parent
    paths = [str(helpers.parent.parent), str(helpers), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p), "COLUMNS": "400", "NO_COLOR": "1"}


def cineforge(
    *arguments: object, timeout: float = 120, preexec: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs `cineforge` in a process of its own; `preexec` is called in it first."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=timeout, env=environment(), preexec_fn=preexec, check=False
    )


def forbid(path: Path) -> None:
    """Takes a file or folder away from everybody, and from root if `obey_permissions` was called."""
    if os.getuid() == 0:
        os.chown(path, 65534, 65534)
    path.chmod(0)


def obey_permissions() -> None:
    """Makes root obey permissions as others do: without this capability it may read and write everything."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH of linux/capability.h
        if os.getuid() == 0 and libc.prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP of linux/prctl.h
            raise OSError(ctypes.get_errno(), "cannot give up the right to read everything")


def run_offline(
    films: object, run: Path, *more: object, preexec: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """`cineforge run offline` on synthetic films."""
    arguments = ("run", "offline", "--input", films, "--output", run, "--workers", 2, *NO_VOICES, *more)
    return cineforge(*arguments, preexec=preexec)


def tree_digest(folder: Path, leave_out: Sequence[str] = ()) -> dict[str, str]:
    """SHA-256 of every file below a folder, by relative path."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in leave_out)
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def shards_digest(run: Path) -> dict[str, str]:
    """SHA-256 of every shard of a run, by relative path."""
    return {name: digest for name, digest in tree_digest(run).items() if name.endswith(".parquet")}
