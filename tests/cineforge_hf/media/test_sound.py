"""Blocks, ranges, resampling, mixing and FLAC."""

import io

import hypothesis.strategies as st
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings

from cineforge_hf.errors import MediaError
from cineforge_hf.media import encode_flac, iter_sound, iter_sound_ranges, probe, read_sound
from cineforge_hf.media.mixing import mix, quantise


def test_blocks_are_even_and_add_up(film):
    path = film("25.mp4", rate=25)
    blocks = list(iter_sound(path, rate=16000, mono=True, start=0.3, end=3.9, block=0.5))
    assert [b.shape for b in blocks] == [(1, 8000)] * 7 + [(1, 1600)]
    assert all(b.dtype == np.float32 for b in blocks)


def test_without_an_end_the_sound_is_walked_to_its_end(film):
    path = film("short.mp4", sounds=[{"seconds": 2.0}])
    assert sum(b.shape[1] for b in iter_sound(path)) / 44100 == pytest.approx(2.0, abs=0.05)


def test_what_lies_beyond_the_sound_is_silence(film):
    path = film("short.mp4", sounds=[{"seconds": 2.0}])
    sound = read_sound(path, 1.0, 5.0)
    assert sound.shape == (2, 4 * 44100) and not sound[:, 2 * 44100 :].any() and sound[:, :44100].any()
    assert not read_sound(path, 100.0, 101.0, rate=8000).any()
    assert read_sound(path, 1.0, 1.0).shape == (2, 0)


def test_wrong_ranges_and_streams_are_refused(film):
    path = film("25.mp4", rate=25)
    for call, code in (
        (lambda: read_sound(path, 2.0, 1.0), "bad_range"),
        (lambda: read_sound(path, -1.0, 1.0), "bad_range"),
        (lambda: list(iter_sound_ranges(path, [(1.0, 2.0), (0.0, 1.0)])), "bad_range"),
        (lambda: read_sound(path, 0.0, 1.0, stream=0), "no_audio_stream"),
        (lambda: read_sound(path, 0.0, 1.0, stream=9), "no_audio_stream"),
        (lambda: read_sound(film("silent.mp4", sounds=[]), 0.0, 1.0), "no_audio_stream"),
    ):
        with pytest.raises(MediaError) as caught:
            call()
        assert caught.value.code == code


def test_the_chosen_track_is_read(film, read):
    path = film("two.mkv", sounds=[{"layout": "mono"}, {"layout": "stereo", "start": 1.0}])
    second = probe(path).audio[1]
    assert read_sound(path, 0.0, 4.0, stream=second.index).shape[0] == 2
    assert read.onsets(read_sound(path, 0.0, 4.0, stream=second.index), 44100)[0] == pytest.approx(1.5, abs=0.05)
    (_, samples, _), *_ = iter_sound_ranges(path, [(0.0, 1.0)], stream=second.index)
    assert samples.shape == (44100, 2)


def test_24_bit_sound_is_cut_without_loss(film, read):
    path = film("hires.mkv", sounds=[{"codec": "flac", "rate": 96000, "format": "s32"}])
    (_, samples, rate), *_ = iter_sound_ranges(path, [(0.48, 0.56)])
    assert samples.dtype == np.int32 and rate == 96000 and np.abs(samples).max() > 1 << 20
    expected = np.rint(read.clicks(4.0, 96000, 2)[:, 46080:53760].astype(np.float64) * (1 << 23)).T
    assert np.abs(samples - expected).max() <= 1


@settings(max_examples=15)
@given(
    cuts=st.lists(st.tuples(st.integers(0, 420), st.integers(0, 120)), min_size=1, max_size=6),
)
def test_any_ranges_are_exact(film, cuts):
    path = film("pcm.mkv", video=None, sounds=[{"codec": "pcm_s16le", "rate": 16000, "noise": 0.1}])
    whole = quantise(np.concatenate(list(iter_sound(path, end=6.0)), axis=1), 16)
    ranges = sorted((start / 100, (start + length) / 100) for start, length in cuts)
    got = {number: samples for number, samples, _ in iter_sound_ranges(path, ranges)}
    assert sorted(got) == list(range(len(ranges)))
    for number, (start, end) in enumerate(ranges):
        first = round(start * 16000)
        assert np.array_equal(got[number], whole[first : first + round((end - start) * 16000)])


@settings(max_examples=15)
@given(rate=st.sampled_from([8000, 11025, 16000, 22050, 24000, 48000]), start=st.integers(0, 80), length=st.integers(1, 40))
def test_resampling_a_part_is_a_part_of_the_resampled(film, rate, start, length):
    path = film("tone.mkv", video=None, sounds=[{"codec": "pcm_s16le", "rate": 44100, "layout": "mono", "noise": 0.05}])
    begin, end = start * 0.04, (start + length) * 0.04
    whole = np.concatenate(list(iter_sound(path, rate=rate, end=5.0)), axis=1)
    part = read_sound(path, begin, end, rate=rate)
    assert np.array_equal(part, whole[:, round(begin * rate) :][:, : part.shape[1]])


def test_resampling_moves_nothing(film):
    rate = 44100
    tone = np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)[None].astype(np.float32) * np.hanning(2 * rate).astype(np.float32)
    path = film("hann.mkv", video=None, sounds=[{"codec": "pcm_s24le", "format": "s32", "layout": "mono", "data": tone}])
    got = read_sound(path, 0.0, 2.0, rate=16000)[0]
    time = np.arange(32000) / 16000
    assert (
        np.abs(got - np.sin(2 * np.pi * 440 * time) * np.interp(time * rate, np.arange(2 * rate), np.hanning(2 * rate))).max()
        < 1e-3
    )


@pytest.mark.parametrize(("bits", "dtype"), [(16, np.int16), (24, np.int32)])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_flac_keeps_every_integer(bits, dtype, channels):
    rng = np.random.default_rng(1)
    full = 1 << (bits - 1)
    samples = rng.integers(-full, full, (4000, channels)).astype(dtype)
    samples[0], samples[1] = -full, full - 1
    data = encode_flac(samples, 48000, bits)
    back, rate = soundfile.read(io.BytesIO(data), dtype="int32", always_2d=True)
    assert rate == 48000 and np.array_equal(back >> (32 - bits), samples)
    assert encode_flac(samples, 48000, bits) == data
    assert soundfile.info(io.BytesIO(data)).subtype == f"PCM_{bits}"


def test_flac_refuses_what_it_cannot_hold():
    for samples, rate, bits in (
        (np.zeros(8, np.float32), 16000, 16),
        (np.zeros((8, 9), np.int16), 16000, 16),
        (np.zeros(8, np.int16), 16000, 8),
    ):
        with pytest.raises(MediaError) as caught:
            encode_flac(samples, rate, bits)
        assert caught.value.code == "bad_sound"


@given(st.lists(st.floats(-1.5, 1.5, width=32), min_size=1, max_size=50), st.sampled_from([16, 24]))
def test_quantising_rounds_and_clips(values, bits):
    got = quantise(np.array([values], np.float32), bits)[:, 0]
    full = 1 << (bits - 1)
    assert got.tolist() == [int(np.clip(np.rint(np.float64(np.float32(v)) * full), -full, full - 1)) for v in values]


@given(
    st.sampled_from([["FC"], ["FL", "FR"], ["FL", "FR", "FC", "LFE", "BL", "BR"], ["LFE"], ["NONE", "USR5"]]),
    st.sampled_from([1, 2]),
)
def test_mixing_never_clips(names, channels):
    loud = np.ones((len(names), 4), np.float32)
    mixed = mix(loud, names, channels)
    assert mixed.shape == (channels, 4) and np.abs(mixed).max() <= 1.0001 and np.abs(mixed).min() > 0.99


def test_stereo_is_mixed_to_its_mean_and_dialogue_goes_to_both_sides():
    assert mix(np.array([[1.0], [0.0]], np.float32), ["FL", "FR"], 1) == pytest.approx(0.5)
    names = ["FL", "FR", "FC", "LFE", "BL", "BR"]
    centre, left, low = (mix(np.eye(6, dtype=np.float32)[:, [k]], names, 2)[:, 0] for k in (2, 0, 3))
    assert centre[0] == centre[1] > 0 and left[0] > 0 == left[1] and not low.any()
