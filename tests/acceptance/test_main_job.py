"""The main job on a real film: recipe `offline`, then `export`, held against the film's own truth."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pysubs2
import pytest
import soundfile
from datasets import Audio, Video, concatenate_datasets, load_dataset
from factories import cineforge

Sound = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def film(clips_folder: Path, once: Callable[..., Path]) -> Path:
    """film.mp4 of the real clips, with ten seconds of cards at both ends, and film.srt beside it."""

    def make(folder: Path) -> None:
        subprocess.run([sys.executable, str(clips_folder / "make_film.py"), str(folder)], check=True, capture_output=True)

    return once("real_film", make) / "film.mp4"


@pytest.fixture(scope="module")
def rows(film: Path, once: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The rows of the exported dataset, media undecoded."""
    folder = once("main_job", lambda folder: do_main_job(film, folder)) / "cinedub-cn"
    cache = str(tmp_path_factory.mktemp("cache"))
    parts = [load_dataset(str(folder), config, split="train", cache_dir=cache) for config in ("default", "video")]
    both = concatenate_datasets(parts, axis=1).cast_column("audio", Audio(decode=False)).cast_column("video", Video(decode=False))
    return list(both)


def do_main_job(film: Path, base: Path) -> None:
    trims = ("--set", "ingest.intro=10", "--set", "ingest.outro=10")
    done = cineforge("run", "offline", "--input", film, "--output", base / "run", "--workers", 2, *trims, timeout=280)
    assert done.returncode == 0, done.stderr
    done = cineforge("export", base / "run", "--output", base / "cinedub-cn", "--workers", 2, timeout=280)
    assert done.returncode == 0, done.stderr
    assert cineforge("validate", base / "cinedub-cn").stdout.endswith(": valid\n")


@pytest.fixture(scope="module")
def decoded(film: Path) -> tuple[Sound, int]:
    """The whole sound of the film, decoded in one go: (channels, samples), Hz."""
    with av.open(str(film)) as container:
        stream = container.streams.audio[0]
        pieces = [(f.pts, f.to_ndarray()) for f in container.decode(stream)]
        rate = stream.codec_context.sample_rate
    assert pieces[0][0] == 0, "the first sample lies at zero on the film's clock"
    return np.concatenate([samples for _, samples in pieces], axis=1), rate


def frames(source: Any, start: float, end: float) -> Iterator[tuple[float, npt.NDArray[np.int16]]]:
    """Times and small grey pictures of a stretch."""
    with av.open(source) as container:
        container.seek(int(start * av.time_base))
        for frame in container.decode(video=0):
            if frame.time is not None and start - 1e-6 <= frame.time <= end:
                yield frame.time, frame.reformat(width=320, height=180, format="gray").to_ndarray().astype(np.int16)
            elif frame.time is not None and frame.time > end + 1:
                return


def test_six_clips_say_what_the_subtitles_say_where_they_say_it(rows: list[dict[str, Any]], film: Path) -> None:
    cues = list(pysubs2.load(str(film.with_suffix(".srt"))))
    assert len(rows) == len(cues) == 6
    for row, cue in zip(rows, cues, strict=True):
        assert row["text"] == row["asr_text"] == cue.plaintext.replace("\n", " ").strip()
        assert abs(row["start"] - cue.start / 1000) <= 0.15 and abs(row["end"] - cue.end / 1000) <= 0.15
        assert row["accept"] and not row["errors"] and row["subtitle_source"] == "film.srt"


def test_the_sound_of_each_clip_is_the_films_sample_for_sample(rows: list[dict[str, Any]], decoded: tuple[Sound, int]) -> None:
    whole, rate = decoded
    for row in rows:
        found, found_rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="int32", always_2d=True)
        bits = int(soundfile.info(io.BytesIO(row["audio"]["bytes"])).subtype.removeprefix("PCM_").replace("S8", "8"))
        first = round(row["start"] * rate)
        wanted = np.rint(whole[:, first : first + len(found)].T.astype(np.float64) * 2 ** (bits - 1))
        wanted = wanted.clip(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).astype(np.int64)
        assert found_rate == rate and len(found) == round(row["duration"] * rate)
        assert ((found.astype(np.int64) >> (32 - bits)) == wanted).all(), row["clip_id"]


def test_picture_and_sound_of_each_clip_are_together(rows: list[dict[str, Any]], film: Path, tmp_path: Path) -> None:
    for row in rows:
        path = tmp_path / row["video"]["path"]
        path.write_bytes(row["video"]["bytes"])
        late_sound = sound_lag(path, row["audio"]["bytes"])
        late_picture = picture_lag(path, film, row["start"])
        assert abs(late_sound - late_picture) < 0.02, (row["clip_id"], late_sound, late_picture)


def sound_lag(clip: Path, flac: bytes) -> float:
    """Seconds by which the clip's own sound comes later than its FLAC, by correlation."""
    true, rate = soundfile.read(io.BytesIO(flac), dtype="float32", always_2d=True)
    with av.open(str(clip)) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.sample_rate == rate
        parts = [(float(f.pts * f.time_base), f.to_ndarray().mean(axis=0)) for f in container.decode(stream)]
    found = np.concatenate([samples for _, samples in parts])
    size = 1 << (len(true) + len(found)).bit_length()
    spectrum = np.fft.rfft(found, size) * np.conj(np.fft.rfft(true.mean(axis=1), size))
    lag = int(np.argmax(np.fft.irfft(spectrum)))
    lag = lag - size if lag > size // 2 else lag
    return lag / rate + parts[0][0]


def picture_lag(clip: Path, film: Path, start: float) -> float:
    """Seconds by which the clip's picture comes later than the film's: the shift that fits best for most frames."""
    ours = list(frames(str(clip), 0.4, 1.2))
    theirs = list(frames(str(film), start + 0.2, start + 1.4))
    shifts = [min(theirs, key=lambda t, p=picture: float(np.square(t[1] - p).mean()))[0] - start - time for time, picture in ours]
    return -float(np.median(shifts))


def test_shifted_and_stretched_subtitles_are_put_right(film: Path, tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    shutil.copy(film, films)
    subtitles = pysubs2.load(str(film.with_suffix(".srt")))
    cues = [(c.start / 1000, c.end / 1000) for c in subtitles]
    subtitles.transform_framerate(23.976, 25)
    subtitles.shift(s=3.7)
    subtitles.save(str(films / "film.srt"))
    assert abs(subtitles[0].start / 1000 - cues[0][0]) > 3
    trims = ("--set", "ingest.intro=10", "--set", "ingest.outro=10", "--until", "segment")
    done = cineforge("run", "offline", "--input", films, "--output", tmp_path / "run", *trims, timeout=280)
    assert done.returncode == 0, done.stderr
    clips = [row for p in sorted((tmp_path / "run").glob("segment-*/*.parquet")) for row in pq.read_table(p).to_pylist()]
    assert len(clips) == len(cues)
    for clip, (start, end) in zip(clips, cues, strict=True):
        assert abs(clip["start"] - start) <= 0.3 and abs(clip["end"] - end) <= 0.3, json.dumps(clip["clip_id"])
