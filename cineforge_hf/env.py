"""`cineforge doctor`: what this machine has, what it lacks, and the command that mends it.

Loadability counts, not presence: a wheel can be installed and still fail to load its libraries.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@dataclass(frozen=True)
class Check:
    """One line of the doctor.

    Args:
        name: what was looked at.
        state: `ok`, `missing` (something is not possible without it) or `broken` (installed, does not load).
        detail: version or reason.
        needed_for: what needs it.
        fix: the command that mends it; empty when all is well.
    """

    name: str
    state: str
    detail: str
    needed_for: str
    fix: str = ""


# package, module that must load, what needs it, the extra that brings it
_PACKAGES = (
    ("av", "av", "reading films (its FFmpeg is inside)", ""),
    ("datasets", "datasets", "datasets", ""),
    ("huggingface_hub", "huggingface_hub", "the Hub", ""),
    ("pyarrow", "pyarrow.parquet", "shards and Parquet", ""),
    ("soundfile", "soundfile", "FLAC", ""),
    ("pysubs2", "pysubs2", "subtitle files", ""),
    ("onnxruntime", "onnxruntime", "engines in ONNX: silero", "vad"),
    ("demucs", "demucs.api", "separating voices: demucs", "separation"),
    ("matplotlib", "matplotlib.figure", "reports and plots", "plots"),
    ("torch", "torch", "decoding Audio and Video columns; models", "decode"),
    ("torchcodec", "torchcodec.decoders", "decoding Audio and Video columns", "decode"),
)


@dataclass(frozen=True)
class Engine:
    """An engine that a stage can use, for the table of the doctor and of the README.

    Args:
        name: as in recipes.
        stage: the stage that uses it.
        package: package that must be installed; empty for none.
        size: what is downloaded at first use.
        licence: SPDX identifier of its weights.
        extra: the extra that brings the package.
    """

    name: str
    stage: str
    package: str
    size: str
    licence: str
    extra: str


ENGINES = (
    Engine(
        "demucs",
        "separate",
        "demucs",
        "84 MB from the Hub (adefossez/HTDemucs)",
        "MIT by its card; its author: for research",
        "separation",
    ),
    Engine("repet", "separate", "", "nothing", "none (no weights)", ""),
    Engine("subtitles", "transcribe", "pysubs2", "nothing", "none (no weights)", ""),
    Engine("ocr", "transcribe", "rapidocr", "nothing (in its wheel, 31 MB)", "Apache-2.0", "ocr"),
    Engine("asr", "transcribe", "transformers", "1.6 GB (openai/whisper-large-v3-turbo)", "MIT", "asr"),
    Engine("asr: Qwen3-ASR", "transcribe", "transformers", "3.9 GB, and 1.8 GB for Qwen3-ForcedAligner", "Apache-2.0", "asr"),
    Engine(
        "pocketsphinx", "transcribe", "pocketsphinx", "nothing (in its wheel, 38 MB; English)", "BSD-2-Clause", "pocketsphinx"
    ),
    Engine(
        "funasr",
        "transcribe",
        "funasr",
        "1 GB (paraformer-zh, ct-punc)",
        "FunASR model licence: attribution, see its page",
        "funasr",
    ),
    Engine("silero", "transcribe", "silero-vad", "nothing (in its wheel, 2 MB)", "MIT", "vad"),
    Engine("skip", "cot", "", "nothing", "none (no weights)", ""),
)


def machine() -> Iterator[Check]:
    """The machine: Python, cores, memory, disk, GPU."""
    state = "ok" if sys.version_info >= (3, 11) else "broken"
    yield Check("python", state, platform.python_version(), "everything", "" if state == "ok" else "install Python 3.11 or newer")
    yield Check("cores", "ok", str(os.cpu_count()), "workers")
    if (memory := _memory_gigabytes()) is not None:
        yield Check("memory", "ok" if memory >= 4 else "missing", f"{memory:.0f} GB", "about 0.3 GB per worker")
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    fix = "" if free > 5 else "free some space, or work on another disk"
    yield Check("disk", "ok" if free > 5 else "missing", f"{free:.0f} GB free here", "runs and datasets", fix)
    gpu = shutil.which("nvidia-smi")
    yield Check("gpu", "ok", _gpu_names(gpu) if gpu else "none (engines run on the CPU)", "large engines")


def packages() -> Iterator[Check]:
    """Each package: installed, and really loadable."""
    for name, module, needed_for, extra in _PACKAGES:
        fix = f"pip install 'cineforge_hf[{extra}]'" if extra else "pip install --force-reinstall cineforge_hf"
        try:
            found = version(name)
        except PackageNotFoundError:
            yield Check(name, "missing", "not installed", needed_for, fix)
            continue
        # In a process of its own: a broken library may end it.
        loaded = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False)
        if loaded.returncode == 0:
            yield Check(name, "ok", found, needed_for)
        else:
            reason = (loaded.stderr.strip().splitlines() or [f"exit code {loaded.returncode}"])[-1]
            fix = "apt-get install ffmpeg (torchcodec needs its libraries)" if name == "torchcodec" else fix
            yield Check(name, "broken", f"{found}: {reason}", needed_for, fix)


def engines() -> Iterator[Check]:
    """Each engine: usable or not, what it downloads, and under which licence."""
    for engine in ENGINES:
        detail = f"download: {engine.size}; licence: {engine.licence}"
        try:
            found = version(engine.package) if engine.package else ""
        except PackageNotFoundError:
            fix = f"pip install 'cineforge_hf[{engine.extra}]'"
            yield Check(engine.name, "missing", f"{engine.package} is not installed; {detail}", engine.stage, fix)
            continue
        yield Check(engine.name, "ok", f"{found}; {detail}".lstrip("; "), engine.stage)


def _memory_gigabytes() -> float | None:
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def _gpu_names(program: str) -> str:
    found = subprocess.run(
        [program, "--query-gpu=name,memory.total", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return "; ".join(found.stdout.strip().splitlines()) or "nvidia-smi finds none"
