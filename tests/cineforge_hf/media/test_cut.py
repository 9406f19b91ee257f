"""Clips: the right frames at the right times, by encoding or by copying, and the same bytes every time."""

import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from cineforge_hf.errors import MediaError, SystemicError
from cineforge_hf.media import copying, cut, cut_clip, iter_frames, iter_sound, probe, read_sound
from cineforge_hf.media.cut import _plays as plays

H264 = {"preset": "veryfast", "crf": "24", "bf": "3"}
# Groups of one second at odd places, so that copied runs begin and end inside clips.
GROUPS = {"seconds": 10.0, "video_options": H264 | {"g": "25", "sc_threshold": "0"}}
KINDS = {
    "25.mp4": {"rate": 25},
    "23.976.mp4": {"rate": Fraction(24000, 1001)},
    "29.97.mkv": {"rate": Fraction(30000, 1001)},
    "30.ts": {"rate": 30},
    "50.mp4": {"rate": 50},
    "vfr.mp4": {"times": [0.0, 0.04, 0.08, 0.5, 0.52, 0.9, 1.3, 1.301, 1.7, 2.6, 2.64, 3.0]},
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
    "turned.mp4": {"rotation": 90},
    "anamorphic.mp4": {"aspect": Fraction(16, 15)},
    "mono-8k.mkv": {"sounds": [{"codec": "pcm_s16le", "rate": 8000, "layout": "mono"}]},
    "surround.mp4": {"sounds": [{"layout": "5.1", "rate": 48000}]},
    "late.mp4": {"sounds": [{"start": 1.25}]},
    "groups.mp4": GROUPS,
    "groups.mkv": GROUPS | {"rate": Fraction(24000, 1001)},
}


def numbers(frames, read, turned=False):
    return [read.number(np.rot90(f.image, -1) if turned else f.image) for f in frames]


def check(path, clip, start, end, read, turned=False):
    """The clip shows and sounds what the film does."""
    wanted = list(iter_frames(path, start=start, end=end, fps=None))
    got = list(iter_frames(clip, fps=None))
    assert numbers(got, read, turned) == numbers(wanted, read, turned)
    assert [f.time for f in got] == pytest.approx([f.time for f in wanted], abs=2e-5)
    assert probe(clip).duration == pytest.approx(end - start, abs=0.001)
    mine, theirs = (
        s.mean(axis=0, keepdims=True)
        for s in (read_sound(clip, 0, end - start, rate=16000), read_sound(path, start, end, rate=16000))
    )
    assert read.onsets(mine, 16000, 0.12) == pytest.approx(read.onsets(theirs, 16000, 0.12), abs=0.02)


@pytest.mark.parametrize("name", [name for name in KINDS if not name.startswith("groups")])
def test_clips_are_exact_to_the_frame(film, read, tmp_path, name):
    path, clip = film(name, **KINDS[name]), tmp_path / "clip.mp4"
    for start, end in ((0.0, 1.0), (1.24, 2.76)):
        info = cut_clip(path, start, end, destination=clip)
        check(path, clip, start, end, read, turned=name == "turned.mp4")
        assert info.frames == probe(clip).video.frames and info.size == clip.stat().st_size
        assert info.duration == pytest.approx(end - start)
        picture = probe(clip).video
        assert (picture.codec, picture.pixel_format, picture.rotation, picture.interlaced) == ("h264", "yuv420p", 0, False)
        assert (picture.width, picture.height) == (probe(path).video.width, probe(path).video.height)


@pytest.mark.parametrize("name", ["groups.mp4", "groups.mkv"])
@pytest.mark.parametrize(("start", "end"), [(1.48, 4.6), (2.0, 4.0), (0.0, 3.0), (3.12, 5.04), (7.96, 10.0)])
def test_whole_groups_are_copied(film, read, tmp_path, monkeypatch, name, start, end):
    monkeypatch.setattr(copying, "COPY_BITS_PER_PIXEL", 10.0)  # tiny pictures need many bits each
    path, clip = film(name, **KINDS[name]), tmp_path / "clip.mp4"
    info = cut_clip(path, start, end, destination=clip)
    assert 25 <= info.copied <= info.frames and info.copied >= info.frames - 2 * 25
    check(path, clip, start, end, read)
    # What is copied is the film's own, to the last bit of every pixel.
    pairs = zip(iter_frames(path, start=start, end=end, fps=None), iter_frames(clip, fps=None), strict=True)
    assert sum(np.array_equal(a.image, b.image) for a, b in pairs) >= info.copied


def test_a_joined_clip_plays_elsewhere(film, read, ffmpeg, tmp_path, monkeypatch):
    monkeypatch.setattr(copying, "COPY_BITS_PER_PIXEL", 10.0)
    path, clip = film("groups.mp4", **GROUPS), tmp_path / "clip.mp4"
    info = cut_clip(path, 1.48, 6.6, destination=clip)
    assert 0 < info.copied < info.frames == 128
    assert ffmpeg("-xerror", "-err_detect", "explode", "-i", clip, "-f", "null", "-") == ""
    shots = tmp_path / "shots"
    shots.mkdir()
    ffmpeg("-i", clip, "-vsync", "passthrough", shots / "%04d.png")
    files = sorted(shots.iterdir())
    assert len(files) == 128
    for number in (0, 10, 37, 38, 100, 127):
        with av.open(str(files[number])) as image:
            assert read.number(next(image.decode(video=0)).to_ndarray(format="rgb24")) == 37 + number


def test_a_joined_clip_plays_in_torchcodec(film, read, tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="torchcodec needs torch")
    decoders = pytest.importorskip(
        "torchcodec.decoders", reason="torchcodec is not installed", exc_type=(ImportError, RuntimeError)
    )
    monkeypatch.setattr(copying, "COPY_BITS_PER_PIXEL", 10.0)
    clip = tmp_path / "clip.mp4"
    cut_clip(film("groups.mp4", **GROUPS), 1.48, 6.6, destination=clip)
    decoder = decoders.VideoDecoder(str(clip), seek_mode="exact")
    assert decoder.metadata.num_frames == 128
    for number in range(128):
        frame = decoder.get_frame_at(number)
        assert read.number(frame.data.permute(1, 2, 0).numpy()) == 37 + number
        assert frame.pts_seconds == pytest.approx(number / 25, abs=1e-4)
    # Out of order, so that it seeks across the joins.
    for time in (4.99, 0.51, 3.0, 0.0, 5.07):
        assert read.number(decoder.get_frame_played_at(time).data.permute(1, 2, 0).numpy()) == 37 + int(time * 25 + 1e-6)


def test_large_groups_are_encoded_anew(film, tmp_path, monkeypatch):
    monkeypatch.setattr(copying, "COPY_BITS_PER_PIXEL", 1e-3)
    path = film("groups.mp4", **GROUPS)
    assert cut_clip(path, 1.48, 6.6, destination=tmp_path / "clip.mp4").copied == 0


def test_a_stream_that_breaks_the_rules_is_encoded_after_all(film, read, tmp_path, monkeypatch):
    monkeypatch.setattr(copying, "COPY_BITS_PER_PIXEL", 10.0)
    monkeypatch.setattr(cut, "_plays", lambda clip, segments: False)
    path, clip = film("groups.mp4", **GROUPS), tmp_path / "clip.mp4"
    assert cut_clip(path, 1.48, 6.6, destination=clip).copied == 0
    check(path, clip, 1.48, 6.6, read)


def test_the_check_sees_missing_frames(film, tmp_path, monkeypatch):
    monkeypatch.setattr(copying, "COPY_BITS_PER_PIXEL", 10.0)
    path = film("groups.mp4", **GROUPS)
    segments, form, _ = cut._picture(path, 1.48, 6.6, copy=True)
    clip = tmp_path / "clip.mp4"
    cut.write_mp4(clip, segments, form, round(5.12 / form.unit), None, 0)
    assert plays(clip, segments)
    assert not plays(clip, segments[:-1])


@pytest.mark.parametrize("name", ["25.mp4", "groups.mp4"])
def test_the_same_cut_gives_the_same_bytes(film, tmp_path, monkeypatch, name):
    monkeypatch.setattr(copying, "COPY_BITS_PER_PIXEL", 10.0)
    path = film(name, **KINDS[name])
    for copy in ("one.mp4", "two.mp4"):
        cut_clip(path, 1.48, 3.8, destination=tmp_path / copy)
    data = (tmp_path / "one.mp4").read_bytes()
    assert data == (tmp_path / "two.mp4").read_bytes()
    assert b"Lavf" not in data and b"Lavc" not in data
    assert b"x264" not in data or name == "groups.mp4"  # the film's own notes are copied with it


def test_bytes_do_not_depend_on_what_memory_held(film, tmp_path):
    # Fill fresh memory with other values (glibc) in two processes: an encoder that reads what it never wrote shows.
    path = film("odd.mp4", seconds=2.0, size=(176, 144))
    program = "import pathlib, sys; from cineforge_hf.media import cut_clip as cut\n"
    program += "cut(sys.argv[1], 0.2, 1.8, destination=pathlib.Path(sys.argv[2]))"
    for fill in ("1", "170"):
        environment = os.environ | {"MALLOC_PERTURB_": fill}
        subprocess.run([sys.executable, "-c", program, str(path), str(tmp_path / fill)], check=True, env=environment)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "170").read_bytes()


def test_sound_begins_with_the_picture(film, read, tmp_path):
    path, clip = film("25.mp4", rate=25), tmp_path / "clip.mp4"
    cut_clip(path, 0.52, 3.0, destination=clip)
    sound = np.concatenate(list(iter_sound(clip, end=2.48)), axis=1)
    assert sound.shape == (2, round(2.48 * 44100))
    assert read.onsets(sound[:, 4410:], 44100) == pytest.approx([0.98 - 0.1, 1.98 - 0.1], abs=0.005)
    stored = probe(clip).audio[0]
    assert (stored.codec, stored.channels, stored.start) == ("aac", 2, 0.0)


def test_a_clip_without_picture_or_without_sound(film, tmp_path):
    clip = tmp_path / "clip.mp4"
    info = cut_clip(film("25.mp4", rate=25), 1.0, 2.0, video=False, destination=clip)
    assert (info.frames, info.width) == (0, 0) and probe(clip).video is None and probe(clip).audio
    info = cut_clip(film("silent.mp4", sounds=[]), 1.0, 2.0, destination=clip)
    assert info.sample_rate == 0 and not probe(clip).audio and info.frames == 25


def test_interlaced_film_becomes_progressive(film, ffmpeg, tmp_path):
    path, clip = tmp_path / "fields.mkv", tmp_path / "clip.mp4"
    ffmpeg(
        "-i",
        film("50.mp4", rate=50),
        "-vf",
        "tinterlace=interleave_top,setfield=tff",
        "-c:v",
        "libx264",
        "-flags",
        "+ildct+ilme",
        "-c:a",
        "copy",
        path,
    )
    info = cut_clip(path, 1.0, 2.0, destination=clip)
    assert (info.copied, probe(clip).video.interlaced) == (0, False)
    assert info.frames in {25, 26}  # one more where the start cuts a frame in two


def test_full_range_colours_survive(ffmpeg, tmp_path):
    path, clip = tmp_path / "full.mp4", tmp_path / "clip.mp4"
    colour = "color=c=0xC86428:s=64x64:r=25:d=1"
    ffmpeg("-f", "lavfi", "-i", colour, "-vf", "scale=out_range=full,format=yuvj420p", "-c:v", "libx264", "-qp", 8, path)
    cut_clip(path, 0.2, 0.8, destination=clip)
    assert next(iter_frames(clip)).image[30, 30].tolist() == pytest.approx([200, 100, 40], abs=4)


def test_names_of_any_script_are_written(film, tmp_path):
    for name in ('it\'s a "clip".mp4', "片段 1.mp4", "🎬.mp4", "100%d.mp4"):
        cut_clip(film("25.mp4", rate=25), 1.0, 1.2, destination=tmp_path / name)
        assert probe(tmp_path / name).video.frames == 5


def test_a_failing_cut_leaves_nothing(film, tmp_path, monkeypatch):
    path, clip = film("25.mp4", rate=25), tmp_path / "clip.mp4"
    clip.write_bytes(b"older")
    monkeypatch.setattr(cut, "write_mp4", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        cut_clip(path, 1.0, 2.0, destination=clip)
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"] and clip.read_bytes() == b"older"
    with pytest.raises(SystemicError, match="nowhere"):
        cut_clip(path, 1.0, 2.0, destination=tmp_path / "nowhere" / "clip.mp4")


def test_wrong_ranges_are_refused(film, tmp_path):
    for start, end in ((2.0, 1.0), (1.0, 1.0), (-1.0, 1.0)):
        with pytest.raises(MediaError) as caught:
            cut_clip(film("25.mp4", rate=25), start, end, destination=tmp_path / "clip.mp4")
        assert caught.value.code == "bad_range"
    assert not list(tmp_path.iterdir())


def test_real_clips_keep_their_look(clips, tmp_path):
    path = clips / "en_monologue_1.mp4"
    info = cut_clip(path, 1.0, 1.4, destination=tmp_path / "clip.mp4")
    pairs = list(zip(iter_frames(path, start=1.0, end=1.4), iter_frames(tmp_path / "clip.mp4", end=0.4), strict=True))
    assert info.frames in {10, 11} and len(pairs) == 10
    assert np.mean([np.abs(a.image.astype(int) - b.image).mean() for a, b in pairs]) < 3
