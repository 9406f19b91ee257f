"""What a subtitle cue says, without how it looks: markup, labels, sound descriptions and lyrics are taken away.

Invariants:
- Words are never changed: a cue without markup comes out as it went in, but for its line breaks and repeated spaces.
- A dash, a bracket or a capitalised label is dropped only where subtitle conventions use it, never inside a sentence.
- Advertisements are not guessed: what cannot be told from dialogue stays.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from cineforge_hf.processors.languages import Language, count_scripts, join_texts, text_language

# A cue is bilingual where one of its lines is Chinese and another is not; a file is where this share of its cues is.
BILINGUAL_SHARE = 0.5

_OVERRIDES = re.compile(r"\{[^{}]*\\[^{}]*\}")
_BRACES = re.compile(r"\{[^{}]*\}")
_DRAWING = re.compile(r"\{[^{}]*\\p[1-9]\d*[^{}]*\}.*?(?=\{[^{}]*\\p0[^{}]*\}|$)", re.DOTALL)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<\d[\d:.]*>")
# Zero-width and bidirectional marks, soft hyphens, byte order marks and the object replacement character.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ufffc]")
_SPACES = re.compile("[^\\S\n]+")
_NOTES = "♪♫♬♩"
_LYRICS = re.compile(rf"^\s*[-–—]?\s*[{_NOTES}].*$|^.*[{_NOTES}]\s*$")
_BRACKETED = re.compile(r"\[[^\[\]]*\]|【[^【】]*】|\([^()]*\)|（[^（）]*）")
# A dash right before a digit is a minus.
_DASH = re.compile(r"^\s*[-–—‐‑−－](?:\s+|(?![-–—\d\s]))")
# A speaker's label: two capitals or more, digits, dots and apostrophes, before a colon that no digit follows.
_NO_LABEL = r"(?!(?:OK|P\.?S\.?|FYI|NB|Q|A)[:：])"
_LABEL = re.compile(rf"^\s*(?:[-–—]\s*)?{_NO_LABEL}(?=[^:：]*[A-Z]{{2}})[A-Z][A-Z0-9 .'’#&/-]{{1,30}}[:：](?!\d)\s*")


def clean_lines(raw: str, *, ass: bool) -> list[str]:
    r"""The spoken lines of a cue.

    Args:
        raw: the cue's text, lines separated by `\N` or line feeds.
        ass: whether it is SubStation Alpha, where everything in braces is an instruction or a comment.

    Returns:
        Its lines without markup; empty where nothing is said.

    >>> clean_lines("<i>- JOHN: Wait.</i>\n- [door slams] No &amp; yes!", ass=False)
    ['Wait.', 'No & yes!']
    """
    text = _DRAWING.sub("", raw)
    text = (_BRACES if ass else _OVERRIDES).sub("", text)
    text = text.replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ")
    text = _INVISIBLE.sub("", html.unescape(_TAG.sub("", text)))
    text = _SPACES.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = _without_brackets(text)
    lines = (_clean_line(line) for line in text.split("\n"))
    return [line for line in lines if line]


def _without_brackets(text: str) -> str:
    # Brackets may span the lines of a cue and hold each other; three rounds are deeper than any subtitle goes.
    for _ in range(3):
        text = _BRACKETED.sub(lambda match: "\n" if "\n" in match.group() else " ", text)
    return text


def _clean_line(line: str) -> str:
    if _LYRICS.match(line):
        return ""
    line = _LABEL.sub("", _DASH.sub("", line))
    line = _SPACES.sub(" ", line).strip()
    return line if any(c.isalnum() for c in line) else ""


def choose_lines(cues: list[list[str]], lang: Language) -> list[str]:
    """One text per cue, in one language where the file is bilingual.

    Args:
        cues: the lines of every cue.
        lang: the language to keep.

    Returns:
        As many texts as cues; in a bilingual file an empty one where a cue has nothing in that language.
    """
    if not is_bilingual(cues):
        return [join_texts(lines) for lines in cues]
    return [join_texts(_lines_in(lines, lang)) for lines in cues]


def is_bilingual(cues: Iterable[list[str]]) -> bool:
    """Whether most cues have a Chinese line and one without Chinese characters."""
    spoken = [lines for lines in cues if lines]
    both = sum(1 for lines in spoken if {"zh", "en"} <= {_line_language(line) for line in lines})
    return both > BILINGUAL_SHARE * len(spoken)


def _lines_in(lines: list[str], lang: Language) -> list[str]:
    languages = [_line_language(line) for line in lines]
    if lang not in languages:
        # "OK" in a Chinese file's only line; where another language stands alone, nothing is kept of it.
        return lines if len(lines) == 1 and not set(languages) & {"zh"} and lang == "zh" and len(lines[0]) <= 5 else []
    # A line without letters ("1984?") belongs to the line before it.
    kept, keeping = [], False
    for line, language in zip(lines, languages, strict=True):
        keeping = language == lang if language else keeping
        if keeping:
            kept.append(line)
    return kept


def _line_language(line: str) -> Language | None:
    # In a bilingual cue an English line has no Chinese character at all; names in Latin letters stand in Chinese lines.
    return "zh" if count_scripts(line).cjk else text_language(line)
