"""Burnt-in subtitles: rendered styles with known times, films without any, and the real clips."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from rapidfuzz.distance import Levenshtein

from cineforge_hf.errors import RowError
from cineforge_hf.media import probe

pytest.importorskip("rapidocr", reason="the extra `ocr` is not installed")
ImageDraw = pytest.importorskip("PIL.ImageDraw")

from PIL import Image, ImageFont  # noqa: E402

from cineforge_hf.processors.engines.transcribe.base import Cue  # noqa: E402
from cineforge_hf.processors.engines.transcribe.ocr import BurntInEngine  # noqa: E402

FPS = 24
Lines = tuple[tuple[float, float, str], ...]
LINES = (
    (0.5, 1.75, "Where have you been?"),
    (1.75, 3.0, "I waited an hour."),
    (3.5, 4.5, "The train was late."),
    (5.0, 6.25, "Tell me the truth,"),
    (6.25, 7.5, "just this once."),
)


@dataclass(frozen=True)
class Style:
    """How subtitles look."""

    colour: tuple[int, int, int] = (255, 255, 255)
    outline: int = 2
    box: bool = False
    size: int = 24
    top: bool = False
    fade: int = 0


def _backgrounds() -> list[np.ndarray[Any, Any]]:
    """Half a second of a moving texture."""
    y, x = np.mgrid[0:360, 0:640]
    noise = np.random.default_rng(0).normal(0, 4, (360, 640))
    waves = [90 + 50 * np.sin((x + 3 * n) / 23) * np.cos((y - 2 * n) / 31) + noise for n in range(12)]
    return [np.clip(np.stack([wave, wave * 0.8, 140 - wave / 2], -1), 0, 255).astype(np.uint8) for wave in waves]


def _film(path: Path, seconds: float, lines: Lines, styles: tuple[Style, ...], logo: str = "") -> str:
    """A film with lines in the styles, by turns, over a texture that moves for three seconds and then stands."""
    backgrounds = _backgrounds()
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "28"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for number in range(round(seconds * FPS)):
            picture = Image.fromarray(backgrounds[number % 12 if number < 3 * FPS else 0])
            for i, (start, end, text) in enumerate(lines):
                first, last = round(start * FPS), round(end * FPS)
                if first <= number < last:
                    picture = _with_line(picture, text, styles[i % len(styles)], number - first, last - number)
            if logo:
                ImageDraw.Draw(picture).text((565, 318), logo, font=ImageFont.load_default(18), fill=(220, 220, 220))
            for packet in stream.encode(av.VideoFrame.from_image(picture)):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)
    return str(path)


def _with_line(picture: Image.Image, text: str, style: Style, since: int, left: int) -> Image.Image:
    font = ImageFont.load_default(style.size)
    layer = picture.copy()
    draw = ImageDraw.Draw(layer)
    width = draw.textlength(text, font=font)
    at = ((640 - width) / 2, 14 if style.top else 325 - style.size)
    if style.box:
        draw.rectangle((at[0] - 6, at[1] - 2, at[0] + width + 6, at[1] + style.size + 6), fill=(0, 0, 0))
    draw.text(at, text, font=font, fill=style.colour, stroke_width=style.outline, stroke_fill=(0, 0, 0))
    strength = min(1.0, (since + 0.5) / style.fade, (left - 0.5) / style.fade) if style.fade else 1.0
    return Image.blend(picture, layer, strength) if strength < 1 else layer


def _row(path: str) -> dict[str, Any]:
    return {"source": path, "trim_start": 0.0, "trim_end": probe(path).duration}


@pytest.fixture(scope="module")
def engine() -> BurntInEngine:
    return BurntInEngine()


def _check(cues: list[Cue], lines: Lines, tolerance: float) -> None:
    # The reader loses a space now and then.
    assert [cue.text.replace(" ", "") for cue in cues] == [text.replace(" ", "") for _, _, text in lines]
    for cue, (start, end, _) in zip(cues, lines, strict=True):
        assert abs(cue.start - start) <= tolerance
        assert abs(cue.end - end) <= tolerance


def test_styles_are_read_with_times_to_the_frame(engine: BurntInEngine, tmp_path: Path) -> None:
    styles = (Style(), Style(colour=(240, 220, 40), outline=1), Style(outline=0, box=True, size=20))
    found = engine.transcribe(_row(_film(tmp_path / "f.mp4", 8.0, LINES, styles, "CHANNEL")), "en")
    _check(found.cues, LINES, 1 / FPS + 1e-3)


def test_fades_at_the_top_are_timed_at_half_contrast(engine: BurntInEngine, tmp_path: Path) -> None:
    found = engine.transcribe(_row(_film(tmp_path / "f.mp4", 4.6, LINES[:3], (Style(top=True, fade=4),))), "en")
    _check(found.cues, LINES[:3], 3 / FPS)


def test_boxes_that_stay_while_the_text_changes(engine: BurntInEngine, tmp_path: Path) -> None:
    lines = ((0.2, 1.2, "Where is he now?"), (1.2, 2.2, "Over at the farm"))
    found = engine.transcribe(_row(_film(tmp_path / "f.mp4", 2.6, lines, (Style(outline=0, box=True, size=20),))), "en")
    _check(found.cues, lines, 1 / FPS + 1e-3)


@pytest.mark.slow
def test_a_longer_film_is_sampled_first(engine: BurntInEngine, tmp_path: Path) -> None:
    later = tuple((start + 7.5, end + 7.5, f"{text} Again.") for start, end, text in LINES)
    found = engine.transcribe(_row(_film(tmp_path / "f.mp4", 16.0, LINES + later, (Style(),), "CHANNEL")), "auto")
    _check(found.cues, LINES + later, 1 / FPS + 1e-3)


@pytest.mark.parametrize("seconds", [3.0, 12.5])
def test_a_film_with_a_logo_alone_has_none(seconds: float, engine: BurntInEngine, tmp_path: Path) -> None:
    with pytest.raises(RowError) as caught:
        engine.transcribe(_row(_film(tmp_path / "f.mp4", seconds, (), (Style(),), "CHANNEL")), "auto")
    assert caught.value.code == "no_burnt_in_subtitles"


def test_another_language_is_refused(engine: BurntInEngine, tmp_path: Path) -> None:
    with pytest.raises(RowError) as caught:
        engine.transcribe(_row(_film(tmp_path / "f.mp4", 2.0, LINES[:2], (Style(),))), "zh")
    assert caught.value.code == "subtitle_language"
    assert "English" in caught.value.message


def _clip(name: str) -> str:
    beside = Path(__file__).parents[5] / "shared" / "clips"
    path = Path(os.environ.get("CINEFORGE_CLIPS", beside)) / name
    if not path.is_file():
        pytest.skip("the real clips are not here; set CINEFORGE_CLIPS")
    return str(path)


def test_the_real_bilingual_clip(engine: BurntInEngine) -> None:
    row = _row(_clip("en_narration_1.mp4"))
    english = engine.transcribe(row, "en")
    said = " ".join(c.text for c in english.cues).lower()
    truth = "she was wrong. the truth is, their impulsive nature put every citizen in this town in danger."
    assert Levenshtein.distance(said, truth) <= 0.03 * len(truth)
    chinese = [c.text for c in engine.transcribe(row, "zh").cues]
    for line in ("事实是 他们冲动的天性", "威胁着小镇居民的生命"):
        assert min(Levenshtein.distance(line, text) for text in chinese) <= 1
    assert "zh lines" in engine.transcribe(row, "zh").source


@pytest.mark.parametrize("name", ["en_dialogue_1", "en_monologue_2", "zh_dialogue_1"])
def test_real_clips_without_subtitles_have_none(name: str, engine: BurntInEngine) -> None:
    with pytest.raises(RowError, match="no subtitles are burnt"):
        engine.transcribe(_row(_clip(f"{name}.mp4")), "auto")


def test_a_logo_beside_real_subtitles_is_no_text(engine: BurntInEngine) -> None:
    found = engine.transcribe(_row(_clip("en_monologue_1.mp4")), "en")
    assert found.cues[0].text.lower() == "every closet on a carnival cruise ship."
    assert not any("FUNNY" in c.text or "abc" in c.text for c in found.cues)
