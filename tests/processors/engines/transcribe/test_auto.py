"""The automatic choice among engines: order, gaps filled, languages refused, and one clear line where nothing can be had."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cineforge_hf.errors import RowError, UsageError
from cineforge_hf.processor import EngineInfo
from cineforge_hf.processors.engines.transcribe.auto import AutoEngine, uncovered
from cineforge_hf.processors.engines.transcribe.base import ENGINES, Cue, EngineSettings, Transcript, load_engine

SPEECH = [(1.0, 4.0), (5.0, 8.0), (10.0, 13.0), (15.0, 19.0)]


class Fake:
    """An engine with known cues, which notes what it was asked."""

    def __init__(self, name: str, cues: list[Cue] | RowError, by_sound: bool = True, missing: bool = False) -> None:
        self.info = EngineInfo(name, "1", "MIT")
        self.timed_by_sound = by_sound
        self.cues, self.missing, self.asked = cues, missing, [""][:0]

    def check(self) -> None:
        if self.missing:
            raise UsageError(f"{self.info.name} cannot be loaded: fetch it")

    def transcribe(self, row: Any, lang: str) -> Transcript:
        self.asked.append(lang)
        if isinstance(self.cues, RowError):
            raise self.cues
        return Transcript(self.cues, f"the {self.info.name}", self.cues if self.timed_by_sound else None)


def row(**columns: Any) -> dict[str, Any]:
    probabilities = np.full(round(20 / 0.032), 0.01, np.float32)
    for start, end in SPEECH:
        probabilities[round(start / 0.032) : round(end / 0.032)] = 0.95
    film = {"source": "film.mkv", "film_duration": 20.0, "trim_start": 0.0, "trim_end": 20.0, "audio_stream": 1}
    return {**film, "audio_streams": None, "voice": lambda: probabilities, **columns}


def auto(**engines: Fake) -> AutoEngine:
    defaults = {name: Fake(name, RowError(f"no_{name}", f"film.mkv: no {name} here")) for name in ENGINES}
    return AutoEngine(EngineSettings(), lambda name, _: {**defaults, **engines}[name])


def cues(*spans: tuple[float, float], text: str = "so it is") -> list[Cue]:
    return [Cue(start, end, text) for start, end in spans]


def test_a_source_that_covers_the_speech_is_enough() -> None:
    asr = Fake("asr", cues(*SPEECH))
    found = auto(subtitles=Fake("subtitles", cues(*SPEECH), by_sound=False), asr=asr).transcribe(row(), "en")
    assert [c.engine for c in found.cues] == ["subtitles"] * 4
    assert asr.asked == []
    assert found.words is None


def test_the_next_source_fills_what_is_left() -> None:
    first = Fake("asr", cues(*SPEECH[:2]))
    second = Fake("ocr", cues((0.9, 4.1), (10.0, 13.2), (15.0, 19.0), text="here"))
    found = auto(asr=first, ocr=second).transcribe(row(), "en")
    assert [(c.start, c.engine) for c in found.cues] == [(1.0, "asr"), (5.0, "asr"), (10.0, "ocr"), (15.0, "ocr")]
    assert found.words is not None
    assert [w.engine for w in found.words] == [c.engine for c in found.cues]
    assert "asr: the asr; ocr: the ocr" in found.source
    assert "passed over subtitles: no subtitles here" in found.source


def test_subtitles_of_another_film_are_passed_over_and_named() -> None:
    wrong = Fake("subtitles", cues((4.1, 4.9), (8.2, 9.8), (13.2, 14.8)), by_sound=False)
    found = auto(subtitles=wrong, asr=Fake("asr", cues(*SPEECH))).transcribe(row(), "en")
    assert {c.engine for c in found.cues} == {"asr"}
    assert "does not fit the speech" in found.source


def test_late_subtitles_are_moved_before_gaps_are_filled() -> None:
    late = Fake("subtitles", cues(*((s + 1.5, e + 1.5) for s, e in SPEECH)), by_sound=False)
    found = auto(subtitles=late).transcribe(row(), "en")
    assert found.alignment.offset == pytest.approx(-1.5, abs=0.1)
    assert found.cues[0].start == pytest.approx(1.0, abs=0.1)


def test_the_language_comes_from_the_sounds_tag() -> None:
    engine = Fake("ocr", cues(*SPEECH))
    tagged = [{"index": 1, "language": "chi", "title": None}, {"index": 2, "language": "eng", "title": None}]
    auto(ocr=engine).transcribe(row(audio_streams=tagged), "auto")
    assert engine.asked == ["zh"]


def test_the_language_comes_from_what_is_heard() -> None:
    class Hears(Fake):
        def detect(self, row: Any) -> str:
            return "en"

    engine = Fake("ocr", cues(*SPEECH))
    failing = Hears("asr", RowError("no_speech", "film.mkv: no words"))
    auto(ocr=engine, asr=failing).transcribe(row(), "auto")
    assert engine.asked == ["en"]


def test_nothing_to_be_had_is_one_line_with_the_remedy() -> None:
    refused = Fake("subtitles", RowError("subtitle_language", "film.mkv: film.srt is in Chinese, the dialogue is wanted in en"))
    engine = auto(subtitles=refused, asr=Fake("asr", [], missing=True))
    with pytest.raises(RowError) as caught:
        engine.transcribe(row(), "en")
    message = caught.value.message
    assert caught.value.code == "no_dialogue"
    assert "\n" not in message
    for part in ("film.srt is in Chinese", "no ocr here", "no pocketsphinx here", "asr", "put film.en.srt beside the film"):
        assert part in message


def test_uncovered_speech_is_what_lies_between_cues() -> None:
    assert uncovered([(0.0, 10.0)], cues((2.0, 3.0), (3.5, 7.0))) == [(0.0, 2.0), (7.0, 10.0)]
    assert uncovered([(0.0, 1.0)], cues((0.2, 0.9))) == []


def test_every_engine_loads_by_name_and_tells_what_it_lacks() -> None:
    for name in ENGINES:
        assert load_engine(name).info.name == name
    with pytest.raises(UsageError, match="choose auto, subtitles"):
        load_engine("whisper")
    with pytest.raises(UsageError, match=r"cineforge_hf\[funasr\]"):
        load_engine("funasr").check()
