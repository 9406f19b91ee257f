"""Pictures at a true clock, as a viewer sees them."""

import io
from fractions import Fraction

import av
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from cineforge_hf.errors import MediaError
from cineforge_hf.media import iter_frames, probe

TIMES = [0.0, 0.04, 0.08, 0.5, 0.52, 0.9, 1.3, 1.301, 1.7, 2.6, 2.64, 3.0]


@settings(max_examples=25)
@given(start=st.integers(0, 90), length=st.integers(0, 40), fps=st.sampled_from([5, 12.5, 25, 30]))
def test_each_tick_shows_the_frame_on_the_screen(film, read, start, length, fps):
    path = film("vfr.mp4", times=TIMES)
    begin, end = start * 0.04, (start + length) * 0.04
    shown = list(iter_frames(path, start=begin, end=end, fps=fps))
    assert len(shown) == round((end - begin) * fps)
    for tick, frame in enumerate(shown):
        assert frame.time == pytest.approx(tick / fps)
        assert read.number(frame.image) == max(k for k, time in enumerate(TIMES) if time <= begin + frame.time + 1e-5)


@pytest.mark.parametrize("start", [0.0, 0.3, 1.0, 2.96, 3.9, 7.0])
def test_seeking_finds_the_frame_that_covers_the_start(film, read, start):
    # B-frames, and key frames seconds apart: what the index calls the nearest key frame may be too late.
    path = film("groups.mkv", seconds=8.0, video_options={"preset": "veryfast", "g": "60", "bf": "3"})
    zero = probe(path).video.start
    frames = [read.number(f.image) for f in iter_frames(path, start=start + zero + 0.001, end=start + zero + 0.401)]
    assert frames == [min(int(start * 25 + 1e-6) + k, 199) for k in range(10)]


def test_without_an_end_the_film_is_walked_to_its_end(film):
    path = film("25.mp4", rate=25)
    assert len(list(iter_frames(path))) == 100
    assert len(list(iter_frames(path, start=3.0, fps=10))) == 10
    assert len(list(iter_frames(path, start=1.0, fps=None))) == 75


def test_beyond_the_end_the_last_frame_stays(film, read):
    frames = list(iter_frames(film("25.mp4", rate=25), start=3.9, end=4.5))
    assert [read.number(f.image) for f in frames] == [97, 98] + [99] * 13


def test_own_times_begin_with_the_covering_frame(film, read):
    path = film("23.976.mp4", rate=Fraction(24000, 1001))
    frames = list(iter_frames(path, start=1.0, end=1.2, fps=None))
    own = [float(k * Fraction(1001, 24000)) - 1.0 for k in range(24, 29)]
    assert [read.number(f.image) for f in frames] == [23, 24, 25, 26, 27, 28]
    assert [f.time for f in frames] == pytest.approx([0.0, *own], abs=1e-6)


def test_width_gray_and_colour(film, read):
    path = film("25.mp4", rate=25)
    plain, small, gray = (next(iter_frames(path, start=1.0, **kw)).image for kw in ({}, {"width": 80}, {"gray": True}))
    assert plain.shape == (64, 160, 3) and small.shape == (32, 80, 3) and gray.shape == (64, 160)
    assert plain.dtype == np.uint8 and plain.flags.c_contiguous
    assert read.number(plain) == read.number(small) == read.number(gray) == 25
    x = 75 % (160 - 24) + 12
    assert plain[48, x].tolist() == pytest.approx([200, 85, 40], abs=8)
    assert int(gray[10, 150]) == pytest.approx(20, abs=4) and int(gray[10, 8]) == pytest.approx(235, abs=4)


@pytest.mark.parametrize("degrees", [90, -90, 180])
def test_turned_pictures_stand_upright_as_in_ffmpeg(film, ffmpeg, tmp_path, degrees):
    path, shot = film("turned.mp4", rotation=degrees, seconds=1.0), tmp_path / "shot.png"
    ffmpeg("-i", path, "-frames:v", 1, shot)
    with av.open(str(shot)) as image:
        expected = next(image.decode(video=0)).to_ndarray(format="rgb24")
    got = next(iter_frames(path)).image
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected).mean() < 3
    assert next(iter_frames(path, width=32)).image.shape[1] == 32


def test_pixel_aspect_is_applied(film, read):
    image = next(iter_frames(film("anamorphic.mp4", aspect=Fraction(16, 15), seconds=1.0), start=0.48)).image
    assert image.shape == (64, 171, 3) and read.number(image) == 12


def test_interlaced_frames_lose_their_combs(ffmpeg, tmp_path):
    path = tmp_path / "fields.ts"
    # A white bar that moves 8 pixels a field.
    bar = "color=black:s=160x64:r=50:d=2,geq=lum='if(between(X,mod(N*8,140),mod(N*8,140)+16),235,16)':cb=128:cr=128"
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        f"{bar},tinterlace=interleave_top,setfield=tff",
        "-c:v",
        "mpeg2video",
        "-q:v",
        2,
        "-flags",
        "+ildct+ilme",
        path,
    )
    assert probe(path).video.interlaced

    def comb(image: np.ndarray) -> float:
        rows = image.astype(float)
        return float(np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean())

    with av.open(str(path)) as container:
        raw = [comb(f.to_ndarray(format="gray")) for f in container.decode(video=0)]
    clean = [comb(f.image) for f in iter_frames(path, fps=None, gray=True)]
    assert len(clean) == len(raw) and np.mean(clean) < np.mean(raw) / 4


def test_unnamed_colours_of_hd_are_bt709(tmp_path):
    path = tmp_path / "hd.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 128, 720, "yuv420p"
        # Pure green in BT.709, limited range.
        frame = av.VideoFrame(128, 720, "yuv420p")
        for plane, value in zip(frame.planes, (173, 42, 26), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    assert next(iter_frames(path)).image[300, 60].tolist() == pytest.approx([0, 255, 0], abs=4)


def test_bytes_are_read_as_files_are(film):
    path = film("25.mp4", rate=25)
    one, other = iter_frames(path, start=1.0, end=1.4), iter_frames(path.read_bytes(), start=1.0, end=1.4)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(one, other, strict=True))
    assert io.BytesIO(path.read_bytes()).getbuffer().nbytes == path.stat().st_size


def test_wrong_requests_are_refused(film):
    for call, code in (
        (lambda: next(iter_frames(film("25.mp4", rate=25), start=2.0, end=1.0)), "bad_range"),
        (lambda: next(iter_frames(film("25.mp4", rate=25), fps=0)), "bad_range"),
        (lambda: next(iter_frames(film("blind.mp4", video=None))), "no_video_stream"),
        (lambda: next(iter_frames(film("25.mp4", rate=25), stream=1)), "no_video_stream"),
    ):
        with pytest.raises(MediaError) as caught:
            call()
        assert caught.value.code == code


def test_damaged_packets_are_skipped(film, tmp_path):
    data = bytearray(film("groups.mkv", seconds=8.0, video_options={"preset": "veryfast", "g": "60", "bf": "3"}).read_bytes())
    rng = np.random.default_rng(3)
    for at in rng.integers(len(data) // 4, len(data) * 3 // 4, 40):
        data[at] ^= 0xFF
    path = tmp_path / "damaged.mkv"
    path.write_bytes(bytes(data))
    assert len(list(iter_frames(path, end=8.0))) == 200
