"""The engine without a model: dialogue from subtitles beside the film or inside it.

Invariants:
- A subtitle in another language than the wanted one is never used; the error says what was found.
- Candidates are tried from the best to the worst: sidecars in the given order, then text streams of the file, and
  among them those whose name or tag says the wanted language first.
- Text without markup comes out unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pysubs2

from cineforge_hf.errors import RowError
from cineforge_hf.media.subtitles import read_subtitles
from cineforge_hf.processor import EngineInfo, Row
from cineforge_hf.processors.engines.transcribe.base import Cue, Transcript
from cineforge_hf.processors.engines.transcribe.cleaning import choose_lines, clean_lines, is_bilingual
from cineforge_hf.processors.engines.transcribe.encodings import decode_subtitles
from cineforge_hf.processors.engines.transcribe.parsing import RawCue, parse_subtitles, repair_cues
from cineforge_hf.processors.languages import Language, is_foreign, text_language

# A file belongs to a language where at least this share of its cues is in it. Films mix languages, so half would be too
# strict; a Chinese file with English names in a cue or two per scene stays under a tenth.
LANGUAGE_SHARE = 0.2

_CHINESE = "zh zho chi cmn chs cht sc tc gb big5 chinese mandarin 中文 简体 繁体 繁體 简中 繁中 简 繁 国语 國語"
_ENGLISH = "en eng english 英文 英语 英語 英"
_TAGS: dict[str, Language] = {**dict.fromkeys(_CHINESE.split(), "zh"), **dict.fromkeys(_ENGLISH.split(), "en")}
_NAMES = {"zh": "Chinese", "en": "English", "auto": "Chinese or English"}
_OTHERS = (
    "ar ara cs cze da dan de deu ger el es spa fi fin fr fra fre he heb hi hin hu hun id ind it ita ja jpn ko kor ms nl nld "
    "dut no nor pl pol pt por ro ru rus sv swe th tha tr tur uk ukr vi vie"
)
_OTHER_TAGS = frozenset(_OTHERS.split())


@dataclass(frozen=True)
class Candidate:
    """One subtitle that might be the film's.

    Args:
        name: file name or stream, as shown to the user.
        tag: language as its name or stream says, `other` for a third language, None where nothing is said.
        path: the sidecar, or the film for an embedded stream.
        stream: index of the embedded stream; None for a sidecar.
    """

    name: str
    tag: str | None
    path: Path
    stream: int | None = None


class SubtitleEngine:
    """Reads sidecar files (SRT, WebVTT, ASS, SSA) and embedded text streams; see `TranscriptionEngine`."""

    info = EngineInfo("subtitles", f"pysubs2 {pysubs2.VERSION}", "MIT")
    timed_by_sound = False

    def check(self) -> None:
        """Nothing is needed beyond the package's own dependencies."""

    def transcribe(self, row: Row, lang: str) -> Transcript:
        """The first candidate in the wanted language that has cues; see `TranscriptionEngine.transcribe`.

        Raises:
            RowError: `no_subtitles`, `subtitle_language`, `no_cues`, or why the only candidate cannot be read.
        """
        film = Path(row["source"])
        candidates = sorted(find_candidates(row), key=lambda c: _preference(c, lang))
        failures: list[RowError] = []
        for candidate in candidates:
            try:
                return _read_candidate(candidate, lang)
            except RowError as error:
                failures.append(error)
        if failures:
            raise _summary(film, failures)
        raise RowError("no_subtitles", _nothing_found(row, film, lang))


def find_candidates(row: Row) -> Iterator[Candidate]:
    """Sidecars as the row lists them, then the text streams of the film."""
    film = Path(row["source"])
    for sidecar in row["subtitles"] or []:
        path = Path(sidecar["path"])
        yield Candidate(path.name, _tag_of_name(path, film), path)
    for stream in row["subtitle_streams"] or []:
        if stream["text"]:
            label = f"subtitle stream {stream['index']}" + (f" ({stream['language']})" if stream["language"] else "")
            yield Candidate(label, _tag(stream["language"] or ""), film, stream["index"])


def _tag_of_name(path: Path, film: Path) -> str | None:
    # film.zh-Hans.srt, film.chs&eng.ass, film.en.sdh.srt: what the name has beyond the film's own. Of another name only the
    # last part counts: a film may be called "No" or "It".
    beyond = path.stem[len(film.stem) :] if path.stem.startswith(film.stem) else "".join(path.stem.rpartition(".")[1:])
    beyond = beyond if beyond.startswith((".", "_", " ", "[", "-", "(")) else ""
    tags = [tag for part in re.split(r"[.&_ \[\]+,]+", beyond.lower()) if (tag := _tag(part))]
    return tags[0] if len(set(tags)) == 1 else None


def _tag(text: str) -> str | None:
    text = text.lower().replace("_", "-")
    main = text.split("-")[0]
    if text in _OTHER_TAGS or main in _OTHER_TAGS:
        return "other"
    return _TAGS.get(text) or _TAGS.get(main)


def _preference(candidate: Candidate, lang: str) -> int:
    if lang == "auto":
        return 1 if candidate.tag == "other" else 0
    return 0 if candidate.tag == lang else 1 if candidate.tag is None else 2


def _read_candidate(candidate: Candidate, lang: str) -> Transcript:
    raw, ass = _raw_cues(candidate)
    lines = [clean_lines(cue.text, ass=ass) for cue in raw]
    spoken = [text for text in lines if text]
    if not spoken:
        raise RowError("no_cues", f"{candidate.name}: no dialogue in this subtitle; replace it or remove it")
    wanted = _wanted(spoken, lang)
    found = _found_language(candidate, spoken, wanted)
    if found is not None:
        raise RowError("subtitle_language", f"{candidate.name} is in {found}, the dialogue is wanted in {_NAMES[lang]}")
    texts = choose_lines(lines, wanted)
    cues = repair_cues([RawCue(c.start, c.end, t) for c, t in zip(raw, texts, strict=True)])
    if not cues:
        raise RowError("no_cues", f"{candidate.name}: no dialogue in this subtitle; replace it or remove it")
    name = f"{candidate.name}, {wanted} lines" if is_bilingual(lines) else candidate.name
    return Transcript([Cue(c.start, c.end, c.text) for c in cues], name)


def _raw_cues(candidate: Candidate) -> tuple[list[RawCue], bool]:
    if candidate.stream is not None:
        embedded = read_subtitles(candidate.path, candidate.stream)
        return [RawCue(cue.start, cue.end, cue.text) for cue in embedded], True
    try:
        data = candidate.path.read_bytes()
    except OSError as error:
        raise RowError("subtitle_unreadable", f"{candidate.path}: cannot be read ({error.strerror}); check the file") from error
    return parse_subtitles(decode_subtitles(data, candidate.name), candidate.name)


def _wanted(spoken: list[list[str]], lang: str) -> Language:
    if lang == "auto":
        return "zh" if _share(spoken, "zh") >= 0.5 else "en"
    return "zh" if lang == "zh" else "en"


def _found_language(candidate: Candidate, spoken: list[list[str]], wanted: Language) -> str | None:
    """What a subtitle in the wrong language is called; None for one in the wanted language."""
    if candidate.tag == "other":
        return "another language"
    in_wanted = _share(spoken, wanted) >= LANGUAGE_SHARE
    if in_wanted and not is_foreign("\n".join(line for lines in spoken for line in lines if text_language(line) == wanted)):
        return None
    other: Language = "en" if wanted == "zh" else "zh"
    text = "\n".join(line for lines in spoken for line in lines)
    return _NAMES[other] if not is_foreign(text) and _share(spoken, other) >= LANGUAGE_SHARE else "another language"


def _share(spoken: list[list[str]], language: Language) -> float:
    """Share of the cues with letters that have a line in the language."""
    lettered = [lines for lines in spoken if any(c.isalpha() for line in lines for c in line)]
    if not lettered:
        return 1.0
    return sum(any(text_language(line) == language for line in lines) for lines in lettered) / len(lettered)


def _summary(film: Path, failures: list[RowError]) -> RowError:
    if len(failures) == 1:
        return RowError(failures[0].code, f"{film.name}: {failures[0].message}")
    # What stopped the best candidate decides the code; a wrong language says less than a broken file of the right one.
    main = next((f for f in failures if f.code != "subtitle_language"), failures[0])
    return RowError(main.code, f"{film.name}: no usable subtitle: " + "; ".join(f.message for f in failures))


def _nothing_found(row: Row, film: Path, lang: str) -> str:
    pictures = [s for s in row["subtitle_streams"] or [] if not s["text"]]
    expected = f"{film.stem}.srt" if lang == "auto" else f"{film.stem}.{lang}.srt"
    why = f"its {len(pictures)} subtitle stream(s) are pictures of text, which cannot be read; " if pictures else ""
    return f"{film.name}: no subtitles; {why}put {expected} beside the film"
