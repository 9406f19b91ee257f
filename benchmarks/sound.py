#!/usr/bin/env python3
"""Separation engines: time per second of film, and memory.

    python benchmarks/sound.py                                   repet, and htdemucs in full size with random weights
    python benchmarks/sound.py --engine repet --seconds 600
    python benchmarks/sound.py --model adefossez/HTDemucs        the real weights (84 MB from the Hub)

Each engine separates one stereo film of synthetic speech at 48 kHz through `SeparateVocals`, in a process of its own, on
one thread. `repet` is measured where its gate is shut (`speech`: film dialogue, as a rule) and where it is open all the
time (`music`: the worst case); time and memory of `demucs` do not depend on its weights. Printed are the real-time factor
(processor seconds per second of film; lower is better) and the peak memory of the whole process. Run it twice with
different `--seconds`: memory must not grow.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile

RATE = 48000
ARCHITECTURE = {"sources": ["drums", "bass", "other", "vocals"], "bottom_channels": 512, "t_layers": 5, "dconv_mode": 3}
"""What htdemucs differs in from `HTDemucs`' defaults, as far as it costs time (demucs' grid `mmi`)."""


def film(path: Path, seconds: int, kind: str) -> None:
    """Bursts of noise with pauses, and for `music` noise without any under them; written in blocks."""
    random = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 2, subtype="PCM_16") as file:
        for _ in range(seconds):
            speech = random.normal(0, 0.1, (RATE, 2)) * (np.arange(RATE) % (RATE // 2) < RATE // 3)[:, None]
            file.write(speech + (random.normal(0, 0.1, (RATE, 2)) if kind == "music" else 0))


def random_htdemucs(folder: Path) -> None:
    """A full-size htdemucs with random weights, in the format of the Hub's."""
    import torch
    from demucs.htdemucs import HTDemucs
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = HTDemucs(**ARCHITECTURE, segment=Fraction(39, 5))
    written = {**ARCHITECTURE, "segment": {"_type": "fraction", "numerator": 39, "denominator": 5}}
    metadata = {"klass": "demucs.htdemucs.HTDemucs", "args": "[]", "kwargs": json.dumps(written)}
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "00000000.safetensors", metadata)
    (folder / "htdemucs.yaml").write_text("models: ['00000000']\n")


def measure(engine: str, model: str, path: Path, seconds: int) -> None:
    """Separate the film and print one line; runs in a process of its own."""
    from cineforge_hf import SeparateVocals

    stage = SeparateVocals(engine=engine, **({"model": model} if model else {}), device="cpu")
    stage.check()
    began, wall = time.process_time(), time.perf_counter()
    (done,) = stage.run([{"source": str(path), "film_duration": float(seconds), "audio_stream": 0}])[0]
    spent, wall = time.process_time() - began, time.perf_counter() - wall
    if done.get("errors"):
        raise SystemExit(done["errors"][0]["message"])
    for name in ("vocals", "instrumental"):
        if done.get(name):
            Path(done[name]["path"]).unlink()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    share = done["separated_share"]
    print(f"real-time factor {spent / seconds:.3f} (wall {wall / seconds:.3f}), peak {peak:.0f} MB, separated {share:.0%}")


def cases(wanted: str) -> Iterator[tuple[str, str]]:
    """Engines with the films that they are measured on."""
    for engine, kinds in (("repet", ("speech", "music")), ("demucs", ("music",))):
        if wanted in ("all", engine):
            yield from ((engine, kind) for kind in kinds)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("all", "demucs", "repet"), default="all")
    parser.add_argument("--seconds", type=int, default=120, help="length of the film")
    parser.add_argument("--model", default="", help="weights of demucs; random ones without")
    parser.add_argument("--film", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.film:
        measure(given.engine, given.model, given.film, given.seconds)
        return
    with tempfile.TemporaryDirectory() as folder:
        for engine, kind in cases(given.engine):
            path = Path(folder) / f"{kind}.wav"
            film(path, given.seconds, kind)
            model = given.model
            if engine == "demucs" and not model:
                model = folder
                random_htdemucs(Path(folder))
            arguments = ["--engine", engine, "--seconds", str(given.seconds), "--model", model, "--film", str(path)]
            print(f"{engine:7} {kind:7} {given.seconds:5} s: ", end="", flush=True)
            threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
            subprocess.run([sys.executable, __file__, *arguments], check=True, env={**os.environ, **threads})


if __name__ == "__main__":
    main()
