"""The engine that reads subtitles which are part of the picture.

The band of the subtitles is found first (`ocr_band.py`), then every frame of it is watched (`ocr_tracking.py`) and read only
where something new appears; what was read becomes lines (`ocr_lines.py`) and cues.

Invariants: times are those of the frames on which lines appear and disappear; memory does not grow with the film; bilingual
lines are told apart, and a film whose subtitles are in another language than the wanted one is refused, saying so.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from cineforge_hf.errors import RowError
from cineforge_hf.media import Frame, iter_luma
from cineforge_hf.media.brightness import ahead
from cineforge_hf.processor import EngineInfo, Row
from cineforge_hf.processors.engines.transcribe.base import Cue, Transcript
from cineforge_hf.processors.engines.transcribe.cleaning import choose_lines, clean_lines, is_bilingual
from cineforge_hf.processors.engines.transcribe.ocr_reader import WIDTH, Gray, TextReader
from cineforge_hf.processors.languages import Language, text_language

if TYPE_CHECKING:
    from cineforge_hf.processors.engines.transcribe.ocr_band import Band

WHOLE_SECONDS = 12.0
"""A film this short is decoded once and its lower part held (under 60 MB); longer ones are sampled first."""
AHEAD = 32
"""Frames that the decoding thread may be ahead of the reading one."""
LANGUAGE_SHARE = 0.2
"""Share of the lines that must be in the wanted language; films mix languages, names alone stay below."""


class BurntInEngine:
    """Reads burnt-in subtitles in Chinese and English; see `TranscriptionEngine`."""

    # The times are of this very picture, not of another copy of the film: there is nothing to align.
    timed_by_sound = True

    @property
    def info(self) -> EngineInfo:
        """Name, version and licence."""
        return self._reader.info

    def check(self) -> None:
        """Raises `UsageError` where a package or its weights are missing."""
        self._reader.check()

    def transcribe(self, row: Row, lang: str) -> Transcript:
        """Reads the film's burnt-in subtitles; see `TranscriptionEngine.transcribe`.

        Raises:
            RowError: `no_burnt_in_subtitles`, `subtitle_language`, or why the picture cannot be read.
        """
        from cineforge_hf.processors.engines.transcribe.ocr_lines import screen_lines
        from cineforge_hf.processors.engines.transcribe.ocr_tracking import track_lines

        film = Path(row["source"])
        start, end = row["trim_start"], row["trim_end"]
        with closing(self._band_frames(film, start, end)) as frames:
            shown = list(track_lines(frames, self._reader))
        lines = screen_lines(shown, end - start)
        spoken = [clean_lines("\n".join(row.text for row in line.rows), ass=False) for line in lines]
        if not any(spoken):
            raise RowError("no_burnt_in_subtitles", f"{film.name}: no subtitles are burnt into its picture; put a file beside it")
        texts, source = _in_language(spoken, lang, film.name)
        cues = [
            Cue(round(start + line.start, 3), round(min(start + line.end, end), 3), text)
            for line, text in zip(lines, texts, strict=True)
            if text
        ]
        return Transcript(cues, source)

    @cached_property
    def _reader(self) -> TextReader:
        return TextReader()

    def _band_frames(self, film: Path, start: float, end: float) -> Generator[Frame, None, None]:
        """Every frame of the band with the subtitles; none where there is no such band."""
        from cineforge_hf.processors.engines.transcribe.ocr_band import ZONES, Band, find_band, sample_times

        times = sample_times(start, end)
        for zone in (Band(*shares) for shares in ZONES):
            if end - start <= WHOLE_SECONDS:
                found = yield from self._held_frames(film, start, end, zone)
                if found:
                    return
                continue
            band = find_band((_picture(film, at, zone) for at in times), self._reader.locate, zone, few=False)
            if band is not None:
                with closing(ahead(_luma(film, band, start, end), AHEAD)) as frames:
                    yield from frames
                return

    def _held_frames(self, film: Path, start: float, end: float, zone: Band) -> Generator[Frame, None, bool]:
        """The same for a short film, decoded once: frames of the zone are held until its band is known."""
        from cineforge_hf.processors.engines.transcribe.ocr_band import find_band, sample_times

        held: list[Frame] = []
        with closing(ahead(_luma(film, zone, start, end), 0)) as stream:

            def pictures() -> Generator[Gray, None, None]:
                for at in sorted(sample_times(start, end)):
                    while not held or held[-1].time < at - start:
                        frame = next(stream, None)
                        if frame is None:
                            break
                        held.append(frame)
                    if held:
                        yield held[-1].image

            band = find_band(pictures(), self._reader.locate, zone, few=True)
            if band is None:
                return False
            for frame in chain(held, stream):
                yield Frame(frame.time, _rows(frame.image, zone, band))
            return True


def _luma(film: Path, band: Band, start: float, end: float) -> Generator[Frame, None, None]:
    yield from iter_luma(film, width=WIDTH, top=band.top, bottom=band.bottom, start=start, end=end)


def _picture(film: Path, at: float, zone: Band) -> Gray:
    with closing(_luma(film, zone, at, at + 0.001)) as frames:
        return next(frames).image


def _rows(image: Gray, zone: Band, band: Band) -> Gray:
    scale = len(image) / (zone.bottom - zone.top)
    first = min(round((band.top - zone.top) * scale), len(image) - 1)
    return image[first : max(first + 1, round((band.bottom - zone.top) * scale))]


def _in_language(spoken: list[list[str]], lang: str, film: str) -> tuple[list[str], str]:
    """One text per line in the wanted language, and what to call where it came from."""
    told = [found for lines in spoken if (found := {language for line in lines if (language := text_language(line))})]
    shares = {language: sum(language in found for found in told) / max(1, len(told)) for language in ("zh", "en")}
    wanted: Language = "zh" if lang == "zh" or (lang == "auto" and shares["zh"] >= 0.5) else "en"
    if shares[wanted] < LANGUAGE_SHARE:
        other = "Chinese" if wanted == "en" else "English"
        raise RowError("subtitle_language", f"{film}: its burnt-in subtitles are in {other}, the dialogue is wanted in {lang}")
    source = "burnt-in subtitles"
    return choose_lines(spoken, wanted), f"{source}, {wanted} lines" if is_bilingual(spoken) else source
