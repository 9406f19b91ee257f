"""The sound of the sample film: espeak-ng's voices, a music bed, the mix, and the mouth movement that follows the voice."""

from __future__ import annotations

import io
import shutil
import subprocess
import wave

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from cineforge_hf.dataset_scripts.sample_film.script import FPS, LANGUAGES, SAMPLE_RATE, SCENES, SPEAKERS, Line, Timeline
from cineforge_hf.errors import UsageError

Audio = NDArray[np.float32]

SPEECH_RMS_DB = -20.0  # of the spoken samples, re full scale
SPEECH_TO_BED_DB = 13.5
_EDGE_DB = -34.0  # below its loudest 10 ms, a voice counts as silent
_MUSIC_ALONE_GAIN = 1.9  # the bed comes up where nobody is going to speak


def find_espeak() -> str:
    """Path of espeak-ng.

    Raises:
        UsageError: it is not installed.
    """
    path = shutil.which("espeak-ng")
    if path is None:
        raise UsageError("espeak-ng speaks the sample film and was not found; on Debian or Ubuntu: apt-get install espeak-ng")
    return path


def speak(espeak: str, line: Line, lang: str) -> Audio:
    """Speak one line: mono at 48 kHz, cut to the audible part, at the film's speech level."""
    speaker = SPEAKERS[line.speaker]
    voice, speed = LANGUAGES[lang]
    manner = ["-v", f"{voice}+{speaker.variant}", "-p", str(speaker.pitch), "-s", str(round(speed * speaker.speed))]
    done = subprocess.run([espeak, *manner, "--stdout", line.spoken or line.text], check=True, capture_output=True)
    with wave.open(io.BytesIO(done.stdout)) as file:
        # espeak-ng streams, so the header's length is a placeholder: take what is there.
        rate, samples = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), np.int16)
    # 22.05 kHz to 48 kHz is 320/147.
    common = np.gcd(SAMPLE_RATE, rate)
    sound = signal.resample_poly(samples / 32768.0, SAMPLE_RATE // common, rate // common)
    sound = _trim(sound)
    sound *= 10 ** (SPEECH_RMS_DB / 20) / np.sqrt(np.mean(sound**2))
    # The loudest syllables are held back softly, as on any film's dialogue track, so that the mix cannot clip.
    sound = 0.6 * np.tanh(sound / 0.6)
    fade = np.linspace(0, 1, SAMPLE_RATE // 250)
    sound[: fade.size] *= fade
    sound[-fade.size :] *= fade[::-1]
    return sound.astype(np.float32)


def _trim(sound: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut silence before the onset and after the offset, found on a 2 ms grid; whole milliseconds remain."""
    step = SAMPLE_RATE // 500
    power = np.convolve(sound**2, np.ones(5 * step) / (5 * step), "same")[::step]
    loud = np.flatnonzero(power > power.max() * 10 ** (_EDGE_DB / 10))
    first, last = int(loud[0]) * step, int(loud[-1] + 1) * step
    return sound[first : min(last, sound.size // 48 * 48)].copy()


def voice_tracks(timeline: Timeline, spoken: list[Audio]) -> dict[str, Audio]:
    """Every speaker's voice on the film's clock, mono at 48 kHz."""
    length = timeline.frames * SAMPLE_RATE // FPS
    tracks = {name: np.zeros(length, np.float32) for name in SPEAKERS}
    for cue, sound in zip(timeline.cues, spoken, strict=True):
        first = round(cue.start * SAMPLE_RATE)
        tracks[cue.line.speaker][first : first + sound.size] += sound
    return tracks


def _pluck(hertz: float, seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A soft struck string: a few partials, the higher ones dying sooner."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    partials = [
        np.sin(2 * np.pi * hertz * k * t + rng.uniform(0, 6.28)) * np.exp(-t * (1.6 + 1.5 * k)) / k**1.4 for k in range(1, 6)
    ]
    attack = np.minimum(t / 0.008, 1.0)
    return np.asarray(np.sum(partials, axis=0) * attack)


# A minor, F, C, G with an added note, as semitones above A2.
_CHORDS = ((0, 7, 12, 15, 19), (-4, 3, 8, 12, 19), (3, 10, 15, 19, 22), (-2, 5, 10, 14, 17))
_BAR = 3.2  # seconds


def music_bed(length: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A slow chord loop under an arpeggio, panned to both sides, and soft room noise.

    Returns:
        Stereo, shape (2, length), of roughly unit RMS.
    """
    out = np.zeros((2, length + 4 * SAMPLE_RATE))
    t_bar = np.arange(round((_BAR + 0.8) * SAMPLE_RATE)) / SAMPLE_RATE
    swell = np.clip(np.minimum(t_bar / 0.8, (_BAR + 0.8 - t_bar) / 0.8), 0, 1)
    for bar in range(int(length / SAMPLE_RATE / _BAR) + 1):
        at, chord = round(bar * _BAR * SAMPLE_RATE), _CHORDS[bar % len(_CHORDS)]
        for i, semitone in enumerate(chord[:4]):
            hertz, pan = 110.0 * 2 ** (semitone / 12), 0.5 + 0.3 * (-1) ** i
            # Two strings a little out of tune with each other: a pad, not an organ.
            pad = sum(np.sin(2 * np.pi * hertz * d * t_bar + rng.uniform(0, 6.28)) for d in (1.0, 1.0031)) * swell * 0.35
            _add(out, pad, at, pan)
        for step in range(8):
            hertz = 220.0 * 2 ** (chord[(step * 3 + bar) % 5] / 12)
            note = _pluck(hertz, 1.6, rng) * (0.75 if step % 4 else 1.0)
            _add(out, note, at + round(step * _BAR / 8 * SAMPLE_RATE), 0.25 + 0.5 * (step % 2))
    music = out[:, :length] / np.sqrt(np.mean(out**2))
    noise = signal.lfilter([0.05], [1, -0.95], rng.standard_normal((2, length)))
    return np.asarray(music + 0.35 * noise / noise.std())


def mix(timeline: Timeline, tracks: dict[str, Audio], seed: int) -> tuple[Audio, float]:
    """Voices over the bed.

    Returns:
        Stereo sound, shape (2, samples), and the speech-to-bed ratio in dB over the spoken samples.
    """
    length = next(iter(tracks.values())).size
    bed = music_bed(length, np.random.default_rng(seed))
    gain = np.full(length, 1.0)
    for shot in timeline.shots:
        if SCENES[shot.scene].scene_type == "card":
            gain[shot.first * SAMPLE_RATE // FPS : shot.last * SAMPLE_RATE // FPS] = _MUSIC_ALONE_GAIN
    bed *= ndimage.uniform_filter1d(ndimage.uniform_filter1d(gain, SAMPLE_RATE // 2), SAMPLE_RATE // 2)
    t = np.arange(length) / SAMPLE_RATE
    bed *= np.clip(np.minimum(t / 0.8, (t[-1] - t) / 1.2), 0, 1)

    voices = np.zeros((2, length))
    for name, track in tracks.items():
        _add(voices, track.astype(np.float64), 0, (1 + SPEAKERS[name].pan) / 2)
    spoken = np.zeros(length, bool)
    for cue in timeline.cues:
        spoken[round(cue.start * SAMPLE_RATE) : round(cue.end * SAMPLE_RATE)] = True
    ratio = 10 * np.log10(np.mean(voices[:, spoken] ** 2) / np.mean(bed[:, spoken] ** 2))
    bed *= 10 ** ((ratio - SPEECH_TO_BED_DB) / 20)
    return (voices + bed).clip(-1, 1).astype(np.float32), SPEECH_TO_BED_DB


def _add(out: NDArray[np.float64], sound: NDArray[np.float64], at: int, right: float) -> None:
    """Add a mono sound to a stereo one with constant power; `right` runs from 0 (left) to 1."""
    sound = sound[: max(out.shape[1] - at, 0)]
    out[0, at : at + sound.size] += sound * np.cos(right * np.pi / 2)
    out[1, at : at + sound.size] += sound * np.sin(right * np.pi / 2)


def mouth_curves(track: Audio, frames: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How a mouth that speaks `track` moves, per video frame.

    Vowels are loud and carry their energy below 4 kHz, so the opening follows the level there; vowels that sit low (o, u) round
    the lips.

    Returns:
        Opening, 0 to 1, exactly 0 where the voice is silent; and rounding, 0 to 1.
    """
    per_frame = SAMPLE_RATE // FPS
    band = signal.sosfiltfilt(signal.butter(2, (200, 4000), "band", fs=SAMPLE_RATE, output="sos"), track)
    # Windows of one and a half frames around the middle of each frame: shorter ones would show the pitch.
    pad = np.pad(band, per_frame // 4)
    windows = np.stack([pad[i * per_frame : i * per_frame + per_frame * 3 // 2] for i in range(frames)])
    level = np.sqrt(np.mean(windows**2, axis=1))
    voiced = level > 1e-3
    if not voiced.any():
        return np.zeros(frames), np.zeros(frames)
    opening = np.clip(level / np.percentile(level[voiced], 95), 0, 1) ** 0.85
    opening[~voiced] = 0
    spectrum = np.abs(np.fft.rfft(windows * np.hanning(windows.shape[1]), axis=1)) ** 2
    hertz = np.fft.rfftfreq(windows.shape[1], 1 / SAMPLE_RATE)
    centre = (spectrum * hertz).sum(axis=1) / (spectrum.sum(axis=1) + 1e-9)
    rounding = np.convolve(np.where(voiced, np.clip((900 - centre) / 500, 0, 1), 0), [0.25, 0.5, 0.25], "same")
    return opening, rounding
