"""Films of every kind through Ingest, Transcribe and SegmentClips: the right columns, or one clear line."""

from __future__ import annotations

import shutil
import subprocess
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cineforge_hf.media import probe
from cineforge_hf.processors.ingest import Ingest
from cineforge_hf.processors.segment import SegmentClips
from cineforge_hf.processors.transcribe import Transcribe

pytest.importorskip("silero_vad", reason="the extra `vad` is not installed")
pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="makes its films with ffmpeg")

SECONDS = 8.0
SPOKEN = ((1.0, 3.2), (4.5, 6.8))
SRT = "".join(
    f"{i}\n00:00:0{start:.3f} --> 00:00:0{end:.3f}\nLine number {i} is said.\n\n".replace(".", ",", 2)
    for i, (start, end) in enumerate(SPOKEN, 1)
)
PICTURE = ["-f", "lavfi", "-i", f"testsrc2=size=160x120:rate=25:duration={SECONDS}"]
SMALL = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "35"]


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stretches of a buzz with formants that a voice detector may or may not take for speech, at 48 kHz."""
    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    time = np.arange(round(SECONDS * 48000)) / 48000
    pitch = 120 + 15 * np.sin(2 * np.pi * 2.5 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / 48000
    buzz = sum(np.sin(k * phase) * np.exp(-(((k * 120 - f) / 160) ** 2)) for k in range(1, 28) for f in (500, 1500, 2500))
    syllables = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * time)
    gate = np.zeros_like(time)
    for start, end in SPOKEN:
        gate[(time >= start) & (time < end)] = 1
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(48000)
        out.writeframes((0.25 * buzz * syllables * gate * 32767).clip(-32768, 32767).astype("<i2").tobytes())
    return path


@pytest.fixture
def make(tmp_path: Path, voice: Path) -> Callable[..., dict[str, Any]]:
    """Renders a film and gives its row after each stage."""

    def run(name: str, *options: str, inputs: tuple[str, ...] = (), lang: str = "en") -> dict[str, Any]:
        film, subtitle = tmp_path / name, (tmp_path / name).with_suffix(".srt")
        sound = inputs or ("-i", str(voice))
        subprocess.run(
            ["ffmpeg", "-v", "error", "-y", *PICTURE, *sound, *options, str(film)], check=True, capture_output=True, timeout=60
        )
        subtitle.write_text(SRT, encoding="utf-8")
        row = {"film_id": "0123456789ab", "source": str(film), "sha256": "00", "lang": lang, "title": name}
        row["subtitles"] = [{"path": str(subtitle), "sha256": "00"}]  # type: ignore[assignment]
        return _through(row)

    return run


def _through(row: dict[str, Any]) -> dict[str, Any]:
    """The film's row with all columns, and its clips under `clips`."""
    for stage in (Ingest(), Transcribe(min_match=0.0)):
        done = stage.run([row])[0][0]
        row = {**row, **done, "errors": [*row.get("errors", []), *(done.get("errors") or [])]}
    row["clips"] = SegmentClips().run([row])[0] if not row["errors"] else []
    return row


def _is_right(row: dict[str, Any], tolerance: float = 0.3) -> None:
    assert row["errors"] == []
    assert len(row["clips"]) == 2
    assert [clip["asr_text"] for clip in row["clips"]] == ["Line number 1 is said.", "Line number 2 is said."]
    for clip, (start, end) in zip(row["clips"], SPOKEN, strict=True):
        assert clip["start"] == pytest.approx(start, abs=tolerance)
        assert clip["end"] == pytest.approx(end, abs=tolerance)


SOUNDS = {
    "mono": ("mono.mkv", "-ac", "1", "-c:a", "aac"),
    "5.1": ("surround.mkv", "-af", "pan=5.1|FC=c0|FL=0.1*c0|FR=0.1*c0", "-c:a", "ac3"),
    "8 kHz": ("low.mkv", "-ar", "8000", "-c:a", "pcm_s16le"),
    "96 kHz": ("high.mkv", "-ar", "96000", "-c:a", "flac"),
    "24-bit": ("deep.mkv", "-c:a", "pcm_s24le"),
    "clipping": ("loud.mkv", "-af", "volume=40dB", "-c:a", "pcm_s16le"),
    "late": ("late.mkv", "-af", "atrim=start=0.9", "-c:a", "aac"),
    "early end": ("early.mkv", "-af", "atrim=end=7.0", "-c:a", "aac"),
    "opus": ("film.webm", "-c:v", "libvpx", "-deadline", "realtime", "-b:v", "100k", "-c:a", "libopus"),
}
LAYOUTS = {"mono": 1, "5.1": 6}
RATES = {"8 kHz": 8000, "96 kHz": 96000}


@pytest.mark.parametrize("kind", SOUNDS)
def test_sounds(kind: str, make: Callable[..., dict[str, Any]]) -> None:
    name, *options = SOUNDS[kind]
    row = make(name, *([] if "-c:v" in options else SMALL), *options)
    _is_right(row)
    stream = row["audio_streams"][0]
    assert stream["channels"] == LAYOUTS.get(kind, 1)
    assert stream["sample_rate"] == RATES.get(kind, 48000)


def test_silence_has_text_and_says_that_nothing_is_heard(make: Callable[..., dict[str, Any]]) -> None:
    row = make("silent.mkv", *SMALL, "-shortest", inputs=("-f", "lavfi", "-i", f"anullsrc=r=48000:d={SECONDS}"))
    assert row["errors"] == []
    assert row["speech"] == []
    assert row["subtitle_match"] == 0.0


def test_a_film_without_sound_is_one_line(make: Callable[..., dict[str, Any]]) -> None:
    row = make("mute.mkv", *SMALL, "-an")
    assert [error["code"] for error in row["errors"]] == ["no_audio_stream"]
    assert "\n" not in row["errors"][0]["message"]


def test_two_languages_and_a_commentary(make: Callable[..., dict[str, Any]], voice: Path) -> None:
    streams = ["-map", "0:v", "-map", "1:a", "-map", "1:a", "-map", "1:a", "-c:a", "aac"]
    tags = ["-metadata:s:a:0", "language=chi", "-metadata:s:a:1", "language=eng", "-metadata:s:a:1", "title=Commentary"]
    row = make("two.mkv", *SMALL, *streams, *tags, "-metadata:s:a:2", "language=eng")
    _is_right(row)
    assert row["audio_stream"] == 3
    assert [s["commentary"] for s in row["audio_streams"]] == [False, True, False]


PICTURES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "10-bit": (("ten.mkv", *SMALL, "-pix_fmt", "yuv420p10le"), {"video_codec": "h264"}),
    "hevc": (("hevc.mkv", "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none"), {"video_codec": "hevc"}),
    "vp9": (("vp9.webm", "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"), {"video_codec": "vp9"}),
    "interlaced": (("fields.mkv", *SMALL, "-vf", "setfield=tff", "-flags", "+ildct+ilme"), {"width": 160, "height": 120}),
    "anamorphic": (("wide.mkv", *SMALL, "-vf", "setsar=2/1"), {"width": 320, "height": 120}),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures(kind: str, make: Callable[..., dict[str, Any]]) -> None:
    (name, *options), expected = PICTURES[kind]
    row = make(name, *options, *([] if name.endswith("webm") else ["-c:a", "aac"]))
    _is_right(row)
    assert {column: row[column] for column in expected} == expected


def test_a_rotated_picture(make: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    make("flat.mp4", *SMALL, "-c:a", "aac")
    turned = tmp_path / "turned.mp4"
    options = ["-i", str(tmp_path / "flat.mp4"), "-c", "copy", "-metadata:s:v:0", "rotate=90"]
    made = subprocess.run(["ffmpeg", "-v", "error", "-y", *options, str(turned)], check=False, timeout=60)
    video = None if made.returncode else probe(turned).video
    if video is None or video.rotation == 0:
        options = ["-display_rotation", "90", "-i", str(tmp_path / "flat.mp4"), "-c", "copy"]  # from FFmpeg 6.1 on
        subprocess.run(["ffmpeg", "-v", "error", "-y", *options, str(turned)], check=True, timeout=60)
    (tmp_path / "turned.srt").write_text(SRT, encoding="utf-8")
    row = {"film_id": "0123456789ab", "source": str(turned), "sha256": "00", "lang": "en", "title": "turned"}
    row = _through({**row, "subtitles": [{"path": str(tmp_path / "turned.srt"), "sha256": "00"}]})
    _is_right(row)
    assert (row["width"], row["height"]) == (120, 160)
    assert row["rotation"] in (90, 270)


@pytest.mark.parametrize("fps", ["24000/1001", "24", "25", "30000/1001", "30", "50", "vfr"])
def test_every_frame_rate_gives_the_same_clips(fps: str, make: Callable[..., dict[str, Any]]) -> None:
    rate = ["-vf", "select=not(mod(n\\,7))+not(mod(n\\,3))", "-fps_mode", "vfr"] if fps == "vfr" else ["-vf", f"fps={fps}"]
    row = make(f"rate{fps.replace('/', '-')}.mkv", *SMALL, *rate, "-c:a", "flac")
    _is_right(row)
    assert row["is_vfr"] is (fps == "vfr")
    # The sound is the same, so the cuts are; 20 ms is what the original's own may differ by.
    for clip, expected in zip(row["clips"], _reference(make), strict=True):
        assert clip["start"] == pytest.approx(expected[0], abs=0.02)
        assert clip["end"] == pytest.approx(expected[1], abs=0.02)


def _reference(make: Callable[..., dict[str, Any]]) -> list[tuple[float, float]]:
    if not _REFERENCE:
        row = make("reference.mkv", *SMALL, "-c:a", "flac")
        _REFERENCE.extend((clip["start"], clip["end"]) for clip in row["clips"])
    return _REFERENCE


_REFERENCE: list[tuple[float, float]] = []
