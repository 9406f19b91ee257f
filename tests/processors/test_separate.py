"""`SeparateVocals` on whole files: clock, channels, bits, sums, and what a bad film does to its neighbours."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from datasets import Dataset

from cineforge_hf import schema
from cineforge_hf.env import engines
from cineforge_hf.errors import SystemicError, UsageError
from cineforge_hf.media import iter_sound, open_clip, probe, quantise
from cineforge_hf.media.mixing import Sound
from cineforge_hf.processor import EngineInfo, Row
from cineforge_hf.processors.engines.separate.channels import RATE as CHANNELS_RATE
from cineforge_hf.processors.engines.separate.channels import dialogue_groups, named
from cineforge_hf.processors.engines.separate.windows import in_windows
from cineforge_hf.processors.separate import SeparateVocals

Floats = npt.NDArray[np.float64]


class Linear:
    """An engine that multiplies by a factor, at a rate of its own, in windows."""

    def __init__(self, factor: float = 0.5, rate: int | None = 44100) -> None:
        self.factor, self.own_rate = factor, rate
        self.seen: list[tuple[int, int]] = []

    info = EngineInfo("linear", "1", "Apache-2.0")

    def check(self) -> None:
        """Nothing is needed."""

    def rate(self, native: int) -> int:
        return self.own_rate or native

    def separate(self, mix: Iterator[Sound], rate: int) -> Iterator[Sound]:
        def window(sound: Sound) -> Sound:
            self.seen.append(sound.shape)
            return sound * np.float32(self.factor)

        yield from in_windows(mix, window, rate, rate // 5)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Temporary files of the stage land here, and nowhere else."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def stage_with(engine: Any) -> SeparateVocals:
    stage = SeparateVocals(engine="repet")
    stage.__dict__["_engine"] = engine
    return stage


def voiced(seconds: float, rate: int, channels: int, seed: int = 0) -> Floats:
    """(n, channels): tones of the speech band, another set in each channel, so that every rate from 8 kHz up holds them."""
    random = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    tones = [
        sum(np.sin(2 * np.pi * f * t + p) for f, p in zip(random.uniform(200, 3000, 5), random.uniform(0, 6, 5), strict=True))
        for _ in range(channels)
    ]
    return 0.1 * np.stack(tones, axis=1)


def wav(path: Path, sound: Floats, rate: int, subtype: str = "PCM_16") -> Path:
    soundfile.write(path, sound, rate, subtype=subtype)
    return path


def row_of(path: Path, duration: float | None = None) -> Row:
    facts = probe(path)
    return {"source": str(path), "film_duration": duration or facts.duration, "audio_stream": facts.audio[0].index}


def run_one(stage: SeparateVocals, row: Row) -> Row:
    (produced,) = stage.run([row])[0]
    assert not produced.get("errors"), produced["errors"]
    return produced


def integers(path: str, bits: int) -> npt.NDArray[np.int64]:
    words, _ = soundfile.read(path, dtype="int16" if bits == 16 else "int32", always_2d=True)
    return words.astype(np.int64) if bits == 16 else words.astype(np.int64) >> 8


def mix_of(row: Row, bits: int) -> npt.NDArray[np.int64]:
    blocks = list(iter_sound(row["source"], stream=row["audio_stream"], end=row["film_duration"]))
    return quantise(np.concatenate(blocks, axis=1), bits).astype(np.int64)


@pytest.mark.parametrize(
    ("rate", "channels", "bits"),
    [(8000, 1, 16), (8000, 2, 24), (44100, 2, 16), (48000, 1, 24), (48000, 2, 16), (96000, 2, 24)],
)
def test_vocals_lie_on_the_films_clock_and_add_up(tmp_path: Path, rate: int, channels: int, bits: int) -> None:
    film = wav(tmp_path / "film.wav", voiced(3.217, rate, channels), rate, f"PCM_{bits}")
    row = row_of(film)
    done = run_one(stage_with(Linear(0.5)), row)
    mix = mix_of(row, bits)
    vocals, instrumental = (integers(done[name]["path"], bits) for name in ("vocals", "instrumental"))
    facts = soundfile.info(done["vocals"]["path"])
    assert (facts.samplerate, facts.channels, facts.subtype) == (rate, channels, f"PCM_{bits}")
    assert vocals.shape == mix.shape == (round(row["film_duration"] * rate), channels)
    np.testing.assert_array_equal(vocals + instrumental, mix)
    # Half of the mix, sample by sample: a shift by one sample at 8 kHz would be an error as large as the signal.
    inner = slice(rate // 20, -rate // 20)
    error = vocals[inner] - 0.5 * mix[inner]
    assert np.sqrt(np.mean(error.astype(float) ** 2)) < 2e-3 * np.sqrt(np.mean(mix.astype(float) ** 2)) + 1
    assert done["vocal_to_mix_ratio"] == pytest.approx(20 * math.log10(0.5), abs=0.05)
    assert done["separated_share"] == 1.0
    assert done["vocals"]["bytes"] is None


def test_an_engine_at_the_films_rate_is_not_resampled(tmp_path: Path) -> None:
    row = row_of(wav(tmp_path / "film.wav", voiced(2.5, 22050, 2), 22050))
    done = run_one(stage_with(Linear(-1.0, rate=None)), row)
    np.testing.assert_array_equal(integers(done["vocals"]["path"], 16), -mix_of(row, 16))


def test_overflow_keeps_the_sum(tmp_path: Path) -> None:
    loud = np.sign(voiced(2.0, 16000, 1)) * 0.99999
    row = row_of(wav(tmp_path / "film.wav", loud, 16000))
    done = run_one(stage_with(Linear(-1.0, rate=None)), row)
    vocals, instrumental = (integers(done[name]["path"], 16) for name in ("vocals", "instrumental"))
    np.testing.assert_array_equal(vocals + instrumental, mix_of(row, 16))
    clipped = row_of(wav(tmp_path / "clipped.wav", np.clip(9 * voiced(2.0, 16000, 1), -1, 1), 16000))
    done = run_one(stage_with(Linear(1.5, rate=None)), clipped)
    vocals, instrumental = (integers(done[name]["path"], 16) for name in ("vocals", "instrumental"))
    np.testing.assert_array_equal(vocals + instrumental, mix_of(clipped, 16))


def test_late_start_and_early_end_are_silence_in_both(tmp_path: Path) -> None:
    path, rate, late = tmp_path / "film.mkv", 48000, 0.75
    sound = voiced(1.0, rate, 1).T.astype(np.float32)
    with av.open(str(path), "w") as out:
        picture = out.add_stream("mpeg4", rate=25, width=64, height=48, pix_fmt="yuv420p")
        stream = out.add_stream("pcm_s16le", rate=rate, layout="mono")
        for i in range(75):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), "rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            out.mux(picture.encode(frame))
        out.mux(picture.encode())
        samples = np.clip(sound * 32767, -32768, 32767).astype(np.int16)
        for at in range(0, samples.shape[1], 1000):
            block = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[:, at : at + 1000]), "s16", "mono")
            block.sample_rate, block.pts, block.time_base = rate, round(late * rate) + at, Fraction(1, rate)
            out.mux(stream.encode(block))
        out.mux(stream.encode())
    row = row_of(path)
    assert row["film_duration"] == pytest.approx(3.0, abs=0.05)
    done = run_one(stage_with(Linear(0.5)), row)
    vocals = integers(done["vocals"]["path"], 16)[:, 0]
    assert len(vocals) == round(row["film_duration"] * rate)
    heard = np.flatnonzero(np.abs(vocals) > 200)
    assert heard[0] == pytest.approx(late * rate, abs=rate * 0.01)
    assert heard[-1] == pytest.approx((late + 1) * rate, abs=rate * 0.01)
    assert done["separated_share"] < 1


def test_silence_has_no_vocals_and_leaves_no_files(tmp_path: Path, scratch: Path) -> None:
    row = row_of(wav(tmp_path / "film.wav", np.zeros((32000, 2)), 16000))
    for engine in (Linear(0.5), None):
        stage = stage_with(engine) if engine else SeparateVocals(engine="repet")
        done = run_one(stage, row)
        assert done.get("vocals") is None
        assert done["separated_share"] == 0.0
    assert not list(scratch.iterdir())


def test_none_separates_nothing_and_says_so(tmp_path: Path) -> None:
    row = row_of(wav(tmp_path / "film.wav", voiced(1.0, 16000, 1), 16000))
    done = run_one(SeparateVocals(engine="none"), row)
    assert done.get("vocals") is None
    assert [entry["engine"] for entry in done["provenance"]] == ["none"]


def test_one_bad_film_among_good_ones(tmp_path: Path, scratch: Path) -> None:
    good = row_of(wav(tmp_path / "film.wav", voiced(1.0, 16000, 1), 16000))
    wide = row_of(wav(tmp_path / "wide.wav", voiced(0.5, 16000, 9), 16000))
    gone = {**good, "source": str(tmp_path / "gone.mkv")}
    moved = {**good, "audio_stream": 7}
    lacking = {**good, "audio_stream": None}
    results = [produced[0] for produced in stage_with(Linear()).run([good, gone, wide, moved, lacking, good])]
    codes = [[e["code"] for e in r.get("errors", ())] for r in results]
    assert codes == [[], ["missing_file"], ["too_many_channels"], ["no_audio_stream"], [], []]
    assert results[0]["vocals"] and results[5]["vocals"] and not results[4]
    assert len(list(scratch.iterdir())) == 4


def test_an_engine_that_fails_leaves_no_files(tmp_path: Path, scratch: Path) -> None:
    class Broken(Linear):
        def separate(self, mix: Iterator[Sound], rate: int) -> Iterator[Sound]:
            yield next(mix)
            raise RuntimeError("out of luck")

    row = row_of(wav(tmp_path / "film.wav", voiced(3.0, 16000, 1), 16000))
    (produced,) = stage_with(Broken()).run([row])[0]
    assert produced["errors"][0]["code"] == "unexpected"
    assert not list(scratch.iterdir())


def test_weights_that_are_gone_stop_the_run(tmp_path: Path) -> None:
    class Gone(Linear):
        def separate(self, mix: Iterator[Sound], rate: int) -> Iterator[Sound]:
            raise UsageError("no weights")
            yield

    row = row_of(wav(tmp_path / "film.wav", voiced(1.0, 16000, 1), 16000))
    with pytest.raises(SystemicError, match="no weights"):
        stage_with(Gone()).run([row])


SURROUND = ("FL", "FR", "FC", "LFE", "BL", "BR")


def surround(front: float, centre: float, copied: bool = False) -> Floats:
    sound = voiced(3.0, CHANNELS_RATE, 6, seed=4) * np.array([front, front, centre, 0.1, 0.3, 0.3])
    if copied:
        sound[:, 2] = 0.7 * (sound[:, 0] + sound[:, 1])
    return sound


@pytest.mark.parametrize(
    ("front", "centre", "copied", "groups"),
    [
        (1.0, 1.0, False, [(2,)]),
        (1.0, 0.5, False, [(2,)]),
        (1.0, 0.0, False, [(0, 1)]),
        (1.0, 0.05, False, [(0, 1)]),
        (1.0, 1.0, True, [(0, 1), (2,)]),
    ],
)
def test_where_the_dialogue_is(front: float, centre: float, copied: bool, groups: list[tuple[int, ...]]) -> None:
    sound = surround(front, centre, copied).T.astype(np.float32)
    blocks = np.array_split(sound, 3, axis=1)
    assert dialogue_groups(SURROUND, iter(blocks)) == groups
    assert dialogue_groups(named(6, ("NONE",) * 6), iter(blocks)) == groups


def test_other_layouts() -> None:
    assert dialogue_groups(("FC",), iter(())) == [(0,)]
    assert dialogue_groups(("FL", "FR"), iter(())) == [(0, 1)]
    assert dialogue_groups(("FL", "FR", "BL", "BR"), iter(())) == [(0, 1)]
    assert dialogue_groups(named(3, ()), iter(())) == [(0, 1)]


def test_of_surround_sound_the_centre_alone_is_separated(tmp_path: Path) -> None:
    row = row_of(wav(tmp_path / "film.wav", surround(1.0, 1.0), CHANNELS_RATE))
    engine = Linear(0.5)
    done = run_one(stage_with(engine), row)
    vocals, instrumental = (integers(done[name]["path"], 16) for name in ("vocals", "instrumental"))
    np.testing.assert_array_equal(vocals + instrumental, mix_of(row, 16))
    assert vocals.shape[1] == 6
    assert vocals[:, 2].any() and not vocals[:, [0, 1, 3, 4, 5]].any()
    assert {shape[0] for shape in engine.seen} == {1}
    assert done["dialogue_channels"] == ["FC"]


def test_windows_of_a_film_stay_small(tmp_path: Path) -> None:
    engine = Linear()
    run_one(stage_with(engine), row_of(wav(tmp_path / "film.wav", voiced(20.0, 8000, 1), 8000)))
    assert len(engine.seen) > 15
    assert max(count for _, count in engine.seen) < 2 * 44100


def test_map_and_clips(tmp_path: Path, film_row: Callable[..., Row]) -> None:
    film = wav(tmp_path / "film.wav", voiced(4.0, 16000, 2), 16000)
    rows = Dataset.from_list([film_row(**row_of(film))])
    stage = SeparateVocals(engine="repet")
    stage.check()
    mapped = rows.map(stage, batched=True, **stage.map_kwargs(rows), load_from_cache_file=False)
    assert mapped.features["vocals"] == schema.features(["vocals"])["vocals"]
    done = run_one(stage_with(Linear()), row_of(film))
    clip = {**row_of(film), "start": 1.0, "end": 2.5, "vocals": done["vocals"]}
    heard = open_clip(clip).sound(rate=None, mono=False, of="vocals")
    assert heard.shape == (2, 24000)
    np.testing.assert_allclose(heard.T, integers(done["vocals"]["path"], 16)[16000:40000] / 32768, atol=1e-6)


def test_settings_are_checked() -> None:
    with pytest.raises(UsageError, match="choose demucs, repet, none"):
        SeparateVocals(engine="spleeter").check()


def test_the_doctor_lists_the_engines() -> None:
    lines = {check.name: check for check in engines() if check.needed_for == "separate"}
    assert set(lines) == {"demucs", "repet"}
    assert "84 MB" in lines["demucs"].detail
