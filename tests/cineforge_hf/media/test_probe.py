"""What probe says about good files, and how it refuses bad ones."""

import pickle
from fractions import Fraction
from pathlib import Path

import av.stream
import pytest

from cineforge_hf.errors import MediaError
from cineforge_hf.media import choose_audio, open_clip, probe

FLAGS = av.stream.Disposition


def refused(path) -> MediaError:
    with pytest.raises(MediaError) as caught:
        probe(path)
    error = caught.value
    assert error.message.count("\n") == 0
    assert isinstance(path, bytes) or str(path) in error.message
    assert pickle.loads(pickle.dumps(error)).code == error.code  # noqa: S301
    return error


def test_what_is_no_film_is_refused_with_a_code(tmp_path, film):
    good = film("25.mp4", rate=25).read_bytes()
    bad = {
        "text.mp4": (b"INT. KITCHEN - NIGHT\nShe waits.\n" * 50, "not_media"),
        "subtitles.mkv": (b"1\n00:00:01,000 --> 00:00:02,000\nHello.\n", "not_media"),
        "noise.mp4": (bytes(range(256)) * 400, "not_media"),
        "empty.mp4": (b"", "empty_file"),
        "one byte.mp4": (b"\0", "not_media"),
        "half.mp4": (good[: len(good) // 2], "truncated"),
    }
    for name, (data, code) in bad.items():
        (tmp_path / name).write_bytes(data)
        assert refused(tmp_path / name).code == code, name
    assert refused(tmp_path / "missing.mp4").code == "missing_file"
    assert refused(tmp_path).code == "not_media"
    assert refused(b"").code == "empty_file"
    assert refused(b"no film").code == "not_media"


def test_a_file_without_permission_is_refused(film, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    path = film("25.mp4", rate=25)
    monkeypatch.setattr(Path, "open", refuse)  # the tests may run as root, whom no mode bits stop
    assert refused(path).code == "unreadable"


@pytest.mark.parametrize("name", ["front.mp4", "long.mkv", "long.avi"])
def test_a_film_cut_short_is_refused(film, tmp_path, name):
    settings = {"options": {"movflags": "faststart"}} if name.endswith("mp4") else {}
    if name.endswith("avi"):
        settings = {"video": "mpeg4", "video_options": {"qscale": "3"}, "sounds": [{"codec": "libmp3lame"}]}
    whole = film(name, seconds=8.0, **settings)
    assert probe(whole).duration == pytest.approx(8, abs=0.1)
    data = whole.read_bytes()
    for share in (0.3, 0.6):
        cut = tmp_path / name
        cut.write_bytes(data[: int(len(data) * share)])
        assert refused(cut).code == "truncated"
    assert refused(data[: len(data) // 2]).code == "truncated"


def test_no_sound_and_no_picture_are_facts(film):
    silent, blind = probe(film("silent.mp4", sounds=[])), probe(film("blind.mp4", video=None))
    assert silent.audio == () and silent.video is not None
    assert blind.video is None and len(blind.audio) == 1 and blind.duration == pytest.approx(4, abs=0.05)
    with pytest.raises(MediaError, match="no sound"):
        choose_audio(silent, "zh")


def test_facts_of_a_plain_film(film):
    found = probe(film("25.mp4", rate=25))
    picture, sound = found.video, found.audio[0]
    assert (picture.codec, picture.width, picture.height, picture.frames) == ("h264", 160, 64, 100)
    assert (picture.fps_num, picture.fps_den, picture.is_vfr, picture.interlaced, picture.rotation) == (25, 1, False, False, 0)
    assert (sound.codec, sound.sample_rate, sound.channels, sound.layout, sound.bits) == ("aac", 44100, 2, "stereo", 16)
    assert found.duration == picture.duration == pytest.approx(4.0, abs=1e-6)


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(50)])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_rates_are_exact_and_not_variable(film, rate, suffix):
    picture = probe(film(f"rate.{suffix}", rate=rate)).video
    assert not picture.is_vfr
    assert picture.fps_num / picture.fps_den == pytest.approx(float(rate), rel=1e-4)


def test_late_sound_and_short_sound(film):
    late = probe(film("late.mp4", sounds=[{"start": 1.25}])).audio[0]
    assert late.start == pytest.approx(1.25, abs=0.03) and late.start + late.duration == pytest.approx(4.0, abs=0.05)
    short = probe(film("short.mp4", sounds=[{"seconds": 2.0}]))
    assert short.audio[0].duration == pytest.approx(2.0, abs=0.05) and short.duration == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("settings", "bits"),
    [
        ({"codec": "pcm_s16le"}, 16),
        ({"codec": "pcm_s24le", "format": "s32"}, 24),
        ({"codec": "flac", "format": "s32", "rate": 96000}, 24),
        ({"codec": "flac", "format": "s16"}, 16),
        ({"codec": "ac3", "rate": 48000, "layout": "5.1"}, 16),
        ({"codec": "libopus", "rate": 48000}, 16),
    ],
)
def test_bits_to_store(film, settings, bits):
    assert probe(film("bits.mkv", video=None, seconds=1.0, sounds=[settings])).audio[0].bits == bits


def test_the_track_is_chosen_by_language_and_never_the_commentary(film):
    path = film(
        "tracks.mkv",
        seconds=1.0,
        sounds=[
            {"language": "eng", "title": "Director's commentary", "disposition": FLAGS.default},
            {"language": "eng", "layout": "mono"},
            {"language": "chi", "title": "评论音轨"},
            {"language": "zho"},
            {"language": "jpn", "disposition": FLAGS.comment},
        ],
    )
    found = probe(path)
    assert [a.commentary for a in found.audio] == [True, False, True, False, True]
    assert [a.language for a in found.audio] == ["eng", "eng", "chi", "zho", "jpn"]
    for lang, index in (("zh", 4), ("cmn", 4), ("en", 2), ("ENG", 2), ("auto", 2), (None, 2), ("fr", 2)):
        assert choose_audio(found, lang).index == index, lang


def test_a_commentary_alone_is_better_than_nothing(film):
    found = probe(film("commentary.mkv", seconds=1.0, sounds=[{"language": "eng", "title": "Commentary"}]))
    assert choose_audio(found, "en").commentary


def test_a_title_names_the_language_where_no_tag_does(film):
    found = probe(film("titles.mkv", seconds=1.0, sounds=[{"title": "English 5.1"}, {"title": "国语"}]))
    assert choose_audio(found, "zh").index == 2
    assert choose_audio(found, "en").index == 1


@pytest.mark.parametrize("degrees", [90, -90, 180])
def test_rotation_swaps_the_displayed_sides(film, degrees):
    picture = probe(film("turned.mp4", rotation=degrees, seconds=1.0)).video
    assert picture.rotation == -degrees % 360
    assert (picture.width, picture.height) == ((160, 64) if degrees == 180 else (64, 160))


def test_pixel_aspect_widens_the_displayed_picture(film):
    picture = probe(film("anamorphic.mp4", aspect=Fraction(16, 15), seconds=1.0)).video
    assert picture.pixel_aspect == pytest.approx(16 / 15)
    assert (picture.width, picture.height, picture.coded_width) == (171, 64, 160)


def test_interlaced_and_ten_bits_and_subtitles(film, ffmpeg, tmp_path):
    interlaced, plain, subtitles = tmp_path / "i.ts", film("25.mp4", rate=25), tmp_path / "s.srt"
    ffmpeg(
        "-i",
        plain,
        "-t",
        1,
        "-vf",
        "tinterlace=interleave_top,setfield=tff",
        "-c:v",
        "mpeg2video",
        "-flags",
        "+ildct+ilme",
        interlaced,
    )
    assert probe(interlaced).video.interlaced
    deep = film(
        "hevc10.mp4", video="libx265", pixels="yuv420p10le", video_options={"preset": "ultrafast", "x265-params": "log-level=0"}
    )
    assert probe(deep).video.pixel_format == "yuv420p10le"
    subtitles.write_text("1\n00:00:01,000 --> 00:00:02,000\n你好\n", encoding="utf-8")
    both = tmp_path / "both.mkv"
    ffmpeg(
        "-i", plain, "-i", subtitles, "-map", 0, "-map", 1, "-c", "copy", "-c:s", "srt", "-metadata:s:s:0", "language=chi", both
    )
    (track,) = probe(both).subtitles
    assert (track.codec, track.language, track.text) == ("subrip", "chi", True)


def test_a_cover_picture_is_not_the_film(film, ffmpeg, tmp_path):
    source, cover, path = film("blind.mp4", video=None), tmp_path / "cover.jpg", tmp_path / "song.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", 1, cover)
    ffmpeg("-i", source, "-i", cover, "-map", 0, "-map", 1, "-c", "copy", "-disposition:v:0", "attached_pic", path)
    assert probe(path).video is None
    with pytest.raises(MediaError) as caught:
        next(open_clip({"source": str(path)}).frames())
    assert caught.value.code == "no_video_stream"
