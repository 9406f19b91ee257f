"""Pictures and sounds lie where they are, whatever the film's rate, container and codecs."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from cineforge_hf.media import iter_frames, iter_sound, iter_sound_ranges, probe, read_sound

RATES = {"23.976": Fraction(24000, 1001), "24": 24, "25": 25, "29.97": Fraction(30000, 1001), "30": 30, "50": 50}
KINDS = {f"{name}.{suffix}": {"rate": rate} for name, rate in RATES.items() for suffix in ("mp4", "mkv")}
KINDS |= {
    "25.ts": {"rate": 25},
    "29.97.ts": {"rate": Fraction(30000, 1001)},
    "mono-8k.mkv": {"sounds": [{"codec": "pcm_s16le", "rate": 8000, "layout": "mono"}]},
    "surround.mp4": {"sounds": [{"layout": "5.1", "rate": 48000}]},
    "hires.mkv": {"sounds": [{"codec": "flac", "rate": 96000, "format": "s32"}]},
    "late.mp4": {"sounds": [{"start": 1.25}]},
    "late.mkv": {"sounds": [{"start": 1.25}]},
    "short.mp4": {"sounds": [{"seconds": 2.0}]},
    "vp9.webm": {
        "video": "libvpx-vp9",
        "video_options": {"cpu-used": "8", "crf": "20"},
        "sounds": [{"codec": "libopus", "rate": 48000}],
    },
    "hevc10.mp4": {
        "video": "libx265",
        "pixels": "yuv420p10le",
        "video_options": {"preset": "ultrafast", "x265-params": "log-level=0"},
    },
    "mpeg4.avi": {"video": "mpeg4", "video_options": {"qscale": "3"}, "sounds": [{"codec": "pcm_s16le"}]},
    "mp3.mkv": {"sounds": [{"codec": "libmp3lame"}]},
}


@pytest.mark.parametrize("name", KINDS)
def test_picture_and_sound_are_where_they_are(film, read, name):
    settings = KINDS[name]
    path = film(name, **settings)
    rate = Fraction(settings.get("rate", 25))
    track = probe(path).audio[0]

    # MPEG-TS and Matroska keep the encoder's delay, so that zero is where the sound's priming begins.
    delay = probe(path).video.start
    assert delay < 0.1
    for tick, frame in enumerate(iter_frames(path, end=4.0)):
        assert frame.time == pytest.approx(tick / 25)
        # Matroska's stamps are rounded to a millisecond, so that either frame is right that near to a change.
        shown = {min(max(0, int((frame.time - delay + slip) * rate)), round(4 * rate) - 1) for slip in (-0.0006, 0.0006)}
        assert read.number(frame.image) in shown, frame.time
    assert tick == 99

    sound = np.concatenate(list(iter_sound(path, end=4.0)), axis=1)
    assert sound.shape == (track.channels, 4 * track.sample_rate)
    start, length = settings.get("sounds", [{}])[0].get("start", 0.0), settings.get("sounds", [{}])[0].get("seconds", 4.0)
    expected = [t for t in (0.5, 1.5, 2.5, 3.5) if start <= t < length]
    assert read.onsets(sound, track.sample_rate) == pytest.approx([t + delay for t in expected], abs=0.02)


@pytest.mark.parametrize("name", ["mono-8k.mkv", "hires.mkv"])
def test_lossless_sound_is_placed_to_the_sample(film, read, name):
    path = film(name, **KINDS[name])
    track = probe(path).audio[0]
    sound = np.concatenate(list(iter_sound(path, end=4.0)), axis=1)
    wanted = read.clicks(4.0, track.sample_rate, track.channels)
    assert np.abs(sound - wanted).max() < 1e-4


def test_a_transport_stream_starts_at_zero(film):
    found = probe(film("25.ts", rate=25))
    assert found.audio[0].start == pytest.approx(0, abs=0.001)
    assert found.duration == pytest.approx(4.0, abs=0.1)


def test_a_variable_rate_keeps_every_frame_at_its_time(film, read):
    times = [0.0, 0.04, 0.08, 0.5, 0.52, 0.9, 1.3, 1.301, 1.7, 2.6, 2.64, 3.0]
    for name in ("vfr.mp4", "vfr.mkv"):
        path = film(name, times=times)
        assert probe(path).video.is_vfr
        zero = probe(path).video.start
        own = [(frame.time - zero, read.number(frame.image)) for frame in iter_frames(path, fps=None)]
        assert [number for _, number in own] == list(range(len(times)))
        assert [time for time, _ in own] == pytest.approx(times, abs=1e-3)
        for frame in iter_frames(path, end=3.2, fps=100):
            shown = max(k for k, t in enumerate(times) if k == 0 or t + zero <= frame.time + 0.0006)
            assert read.number(frame.image) == shown


def test_a_gap_in_the_sound_is_silence_and_what_follows_stays_in_place(film, read):
    # Ten frames of AAC are missing from 1.6 to 2.4 s.
    path = film("gap.mkv", sounds=[{"codec": "pcm_s16le", "rate": 16000, "gap": (1.6, 2.4)}])
    sound = np.concatenate(list(iter_sound(path, end=4.0)), axis=1)
    assert not sound[:, 27000:38000].any()
    assert read.onsets(sound, 16000) == pytest.approx([0.5, 1.5, 2.5, 3.5], abs=0.002)


@pytest.mark.parametrize(
    "name", ["25.mp4", "23.976.mkv", "25.ts", "surround.mp4", "hires.mkv", "vp9.webm", "late.mkv", "mpeg4.avi", "mp3.mkv"]
)
def test_reading_a_range_equals_reading_through(film, name):
    path = film(name, **KINDS[name])
    rate = probe(path).audio[0].sample_rate
    for hertz, mono in ((None, False), (16000, True)):
        whole = np.concatenate(list(iter_sound(path, rate=hertz, mono=mono, end=5.0)), axis=1)
        for start, end in ((0.0, 0.2), (2.04, 2.48), (3.6, 5.0)):
            part = read_sound(path, start, end, rate=hertz, mono=mono)
            first = round(start * (hertz or rate))
            assert part.shape == (whole.shape[0], round((end - start) * (hertz or rate)))
            # AAC's noise substitution is the only codec state that a seek cannot restore.
            assert np.abs(part - whole[:, first : first + part.shape[1]]).max() < 2e-2


def test_ranges_of_one_pass_are_the_full_decode_bit_for_bit(film):
    # Noise at a low bit rate makes the encoder substitute noise, the decoder's state that seeking loses.
    path = film("noise.mp4", sounds=[{"noise": 0.05}])
    whole = np.concatenate(list(iter_sound(path, end=6.0)), axis=1)
    integers = np.clip(np.rint(whole.astype(np.float64) * 32768), -32768, 32767).astype(np.int16).T
    ranges = [(0.0, 0.5), (0.2, 3.9), (0.24, 0.28), (1.0, 1.0), (2.0, 6.0), (6.0, 6.0)]
    cut = {number: samples for number, samples, rate in iter_sound_ranges(path, ranges) if rate == 44100}
    assert sorted(cut) == list(range(len(ranges)))
    for number, (start, end) in enumerate(ranges):
        assert cut[number].dtype == np.int16
        assert np.array_equal(cut[number], integers[round(start * 44100) : round(end * 44100)])


def test_names_of_any_script_are_read(film, tmp_path):
    source = film("25.mp4", rate=25)
    for name in ('a film\'s "best" cut.mp4', "电影 第1集.mp4", "🎬 finale #1 %d.mp4", "-v.mp4", "http:film.mp4"):
        path: Path = tmp_path / name
        path.write_bytes(source.read_bytes())
        assert probe(path).video.frames == 100
        assert len(list(iter_frames(path, end=0.2))) == 5
