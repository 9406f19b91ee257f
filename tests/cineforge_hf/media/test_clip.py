"""Rows to media, embedded or on disk; new sound under a picture; files written whole."""

import numpy as np
import pytest

from cineforge_hf.errors import MediaError
from cineforge_hf.media import (
    cut_clip,
    encode_flac,
    iter_frames,
    iter_sound,
    iter_sound_ranges,
    mux,
    open_clip,
    probe,
    read_sound,
)
from cineforge_hf.media.files import atomic_path


def test_a_row_of_a_run_reads_its_film(film, read):
    path = film("25.mp4", rate=25)
    row = {"clip_id": "c1", "source": str(path), "start": 1.24, "end": 2.76, "audio_stream": 1}
    with open_clip(row) as clip:
        assert clip.duration == pytest.approx(1.52)
        assert np.array_equal(clip.sound(), read_sound(path, 1.24, 2.76, rate=16000, mono=True))
        assert clip.sound(None, mono=False).shape == (2, round(1.52 * 44100))
        assert [read.number(f.image) for f in clip.frames()] == list(range(31, 69))
        assert len(list(clip.frames(fps=5, width=40, gray=True))) == 8


def test_a_film_row_is_the_whole_film(film):
    clip = open_clip({"source": film("25.mp4", rate=25)})
    assert clip.duration == pytest.approx(4.0) and clip.sound().shape == (1, 64000)


def test_a_published_row_reads_its_own_bytes(film, read, tmp_path):
    path = film("25.mp4", rate=25)
    cut_clip(path, 1.24, 2.76, destination=tmp_path / "clip.mp4")
    (_, samples, rate), *_ = iter_sound_ranges(path, [(1.24, 2.76)])
    row = {
        "clip_id": "c1",
        "start": 1.24,
        "end": 2.76,
        "source": "gone/film.mp4",
        "video": {"bytes": (tmp_path / "clip.mp4").read_bytes(), "path": None},
        "audio": {"bytes": encode_flac(samples, rate, 16), "path": "c1.flac"},
        "vocals": {"bytes": encode_flac(samples // 2, rate, 16), "path": None},
    }
    clip = open_clip(row)
    assert [read.number(f.image) for f in clip.frames()] == list(range(31, 69))
    assert np.allclose(clip.sound(None, mono=False), samples.T / 32768)
    assert np.allclose(clip.sound(None, mono=False, of="vocals"), (samples // 2).T / 32768)
    # Without its own sound the row's video gives it.
    preview = open_clip(row | {"audio": None}).sound(None, mono=False)
    assert preview.shape == (2, round(1.52 * 44100)) and preview.any()


def test_a_films_vocals_are_read_in_the_clips_range(film, tmp_path):
    path, vocals = film("25.mp4", rate=25), tmp_path / "vocals.flac"
    (_, samples, rate), *_ = iter_sound_ranges(path, [(0.0, 4.0)])
    vocals.write_bytes(encode_flac(samples, rate, 16))
    clip = open_clip({"source": str(path), "start": 1.0, "end": 2.0, "vocals": {"path": str(vocals), "bytes": None}})
    assert np.allclose(clip.sound(None, mono=False, of="vocals"), samples[44100:88200].T / 32768)


def test_rows_without_media_say_so(film):
    for row in ({"clip_id": "c7"}, {"clip_id": "c7", "source": "gone.mp4", "start": 0.0, "end": 1.0}):
        with pytest.raises(MediaError, match="c7") as caught:
            open_clip(row)
        assert caught.value.code == "missing_source"
    for call in (
        lambda: open_clip({"source": str(film("25.mp4", rate=25))}).sound(of="vocals"),
        lambda: next(open_clip({"audio": {"bytes": encode_flac(np.zeros((16000, 1), np.int16), 16000, 16)}}).frames()),
    ):
        with pytest.raises(MediaError) as caught:
            call()
        assert caught.value.code == "missing_source"


@pytest.mark.parametrize("name", ["25.mp4", "23.976.mkv", "25.ts", "turned.mp4"])
def test_mux_keeps_the_picture_and_places_the_sound(film, read, tmp_path, name):
    settings = {"turned.mp4": {"rotation": 90}}.get(name, {})
    path, made = film(name, **settings), tmp_path / "dubbed.mp4"
    sound = read.clicks(4.0, 24000, 1, first=0.25)
    mux(path, sound, 24000, made, metadata={"title": "配音"})
    one, other = list(iter_frames(path, fps=None)), list(iter_frames(made, fps=None))
    assert len(one) == len(other) and all(np.array_equal(a.image, b.image) for a, b in zip(one, other, strict=True))
    assert [f.time for f in other] == pytest.approx([f.time for f in one], abs=1e-3)
    heard = np.concatenate(list(iter_sound(made, end=4.0)), axis=1)
    assert read.onsets(heard, 24000) == pytest.approx([0.25, 1.25, 2.25, 3.25], abs=0.005)
    assert probe(made).video.rotation == probe(path).video.rotation
    first = made.read_bytes()
    mux(path, sound, 24000, made, metadata={"title": "配音"})
    assert made.read_bytes() == first


def test_mux_takes_the_sound_of_a_file(film, read, tmp_path):
    made = tmp_path / "dubbed.mp4"
    mux(film("silent.mp4", sounds=[]), film("blind.mp4", video=None), None, made, metadata={})
    assert read.onsets(read_sound(made, 0.0, 4.0), 44100) == pytest.approx([0.5, 1.5, 2.5, 3.5], abs=0.02)


def test_mux_refuses_what_mp4_cannot_hold(film, tmp_path):
    for sound, rate in ((np.zeros((3, 100), np.float32), 16000), (np.zeros((1, 100), np.float32), 12345)):
        with pytest.raises(MediaError) as caught:
            mux(film("25.mp4", rate=25), sound, rate, tmp_path / "x.mp4", metadata={})
        assert caught.value.code == "bad_sound"
    with pytest.raises(MediaError) as caught:
        mux(film("blind.mp4", video=None), np.zeros((1, 100), np.float32), 16000, tmp_path / "x.mp4", metadata={})
    assert caught.value.code == "no_video_stream"
    assert not list(tmp_path.iterdir())


def test_an_atomic_file_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "file.bin"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"new")
        assert not target.exists() and temporary.parent == tmp_path and temporary.suffix == ".bin"
    assert target.read_bytes() == b"new" and target.stat().st_mode & 0o777 != 0o600
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert target.read_bytes() == b"new" and list(tmp_path.iterdir()) == [target]
