"""REPET-SIM: what it takes out, and when it keeps its hands off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from music import mixed, music, si_sdr

from cineforge_hf.media import probe, read_sound
from cineforge_hf.processors.engines.separate.repet import RepetEngine, expected_gain, separate_window

RATE = 16000
Floats = npt.NDArray[np.float64]
CLIPS = ("en_dialogue_1", "en_monologue_1", "en_monologue_2", "en_narration_1", "zh_dialogue_1", "zh_monologue_1")
# `drums` alone is left out: it has no floor to be told from speech by, and passes through.
MUSIC = ("loop", "band", "loose_band", "arpeggio", "strings", "piano")


def voice(seconds: float, rate: int = RATE, seed: int = 0) -> Floats:
    """Syllables: harmonics of a gliding pitch in bursts with pauses, which never repeat."""
    random = np.random.default_rng(seed)
    out = np.zeros(round(seconds * rate))
    at = 0.1
    while at < seconds - 0.5:
        length = random.uniform(0.12, 0.3)
        t = np.arange(round(length * rate)) / rate
        pitch = random.uniform(110, 240) * (1 + random.uniform(-1.2, 1.2) * t)
        phase = 2 * np.pi * np.cumsum(pitch) / rate
        formant = random.uniform(300, 2000)
        parts = [np.exp(-(((h * pitch - formant) / 500) ** 2)) * np.sin(h * phase) for h in range(1, 25)]
        burst = sum(parts) * np.sin(np.pi * t / length)
        out[round(at * rate) :][: len(burst)] += burst[: len(out) - round(at * rate)]
        at += length + random.choice((0.02, 0.05, 0.3), p=(0.5, 0.3, 0.2))
    return 0.1 * out / np.abs(out).max()


def vocals(mix: Floats, rate: int = RATE) -> Floats:
    blocks = [b for b in np.array_split(mix.astype(np.float32)[None], 7, axis=1) if b.size]
    return np.concatenate(list(RepetEngine().separate(iter(blocks), rate)), axis=1)[0].astype(np.float64)


def gain(mix: Floats, truth: Floats, rate: int = RATE) -> float:
    return si_sdr(vocals(mix, rate), truth) - si_sdr(mix, truth)


def test_a_voice_alone_passes_through_to_the_bit() -> None:
    for seed in range(3):
        mix = np.stack([voice(9.0, seed=seed)] * 2).astype(np.float32)
        np.testing.assert_array_equal(separate_window(mix, RATE), mix)


def test_quiet_background_passes_through() -> None:
    speech = voice(9.0)
    for background in (music("band", len(speech), RATE, 1), np.random.default_rng(0).standard_normal(len(speech))):
        assert gain(mixed(speech, background, 20.0), speech) > -0.1


@pytest.mark.parametrize("kind", MUSIC)
def test_music_is_taken_out(kind: str) -> None:
    speech = voice(8.0)
    assert gain(mixed(speech, music(kind, len(speech), RATE, 5)), speech) >= 3.0


def test_rumble_goes_and_nothing_else() -> None:
    speech = voice(6.0)
    hum = np.sin(2 * np.pi * 30 * np.arange(len(speech)) / RATE)
    found = vocals(mixed(speech, hum, 3.0))
    assert si_sdr(found, speech) > 20.0


def test_stereo_keeps_its_image() -> None:
    speech, backing = voice(8.0), music("strings", 8 * RATE, RATE, 2)
    mix = mixed(speech, backing).astype(np.float32)
    found = separate_window(np.stack([mix, 0.5 * mix]), RATE)
    np.testing.assert_allclose(found[1], 0.5 * found[0], atol=1e-6)


@pytest.mark.parametrize("count", [1, 37, 2048, 5000])
@pytest.mark.parametrize("rate", [8000, 96000])
def test_short_sounds(count: int, rate: int) -> None:
    mix = np.random.default_rng(0).standard_normal((1, count)).astype(np.float32)
    assert separate_window(mix, rate).shape == mix.shape
    assert np.isfinite(separate_window(mix, rate)).all()


def test_the_expected_gain_is_zero_where_the_docstring_says() -> None:
    speech_over_noise = np.array([0.0, 8.3, 20.0])
    share = 1 / (1 + 10 ** (speech_over_noise / 10))
    found = expected_gain(share)
    assert found[0] > 3.0
    assert found[1] == pytest.approx(0.0, abs=0.05)
    assert found[2] < -9.0


def real(folder: Path, name: str, rate: int, of: str) -> Floats:
    seconds = probe(folder / f"{name}.wav").audio[0].duration
    return read_sound(folder / f"{name}.{of}", 0.0, seconds, rate=rate, mono=True)[0].astype(np.float64)


@pytest.mark.parametrize("name", CLIPS)
def test_real_film_sound_loses_nothing(clips_folder: Path, name: str) -> None:
    mix, truth = (real(clips_folder, name, 44100, of) for of in ("mp4", "wav"))
    assert gain(mix, truth, 44100) > -0.5


@pytest.mark.parametrize("kind", ["loop", "strings"])
def test_real_voices_in_a_scene_gain_under_music(clips_folder: Path, kind: str) -> None:
    assert scene_gain([real(clips_folder, name, RATE, "wav") for name in CLIPS], kind, 60) >= 3.0


@pytest.mark.slow
@pytest.mark.parametrize("kind", MUSIC)
def test_real_voices_gain_under_music(clips_folder: Path, kind: str) -> None:
    voices = [real(clips_folder, name, RATE, "wav") for name in CLIPS]
    alone = [gain(mixed(v, music(kind, len(v), RATE, 50 + i)), v) for i, v in enumerate(voices)]
    assert np.mean(alone) >= 3.0
    assert min(scene_gain(voices, kind, seed) for seed in (60, 61)) >= 3.0


def scene_gain(voices: list[Floats], kind: str, seed: int) -> float:
    """Gain over all voices on end, equally loud, with one piece of music under them."""
    joined = np.concatenate([v / np.sqrt(np.mean(v**2)) for v in voices])
    return gain(mixed(joined, music(kind, len(joined), RATE, seed)), joined)
