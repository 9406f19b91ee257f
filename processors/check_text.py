"""Stage 5: what is suspicious about a transcript, by counting alone.

The ancestor's checks with its thresholds, and its language bug mended: every row is checked in its own language.
Invariants: text is never changed and nothing is removed; a flag is a word in `text_flags`. Time is linear in the text.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from cineforge_hf.errors import UsageError
from cineforge_hf.processor import Outcome, Processor, Row
from cineforge_hf.processors.languages import CJK, Scripts, count_scripts, resolve_language, spoken_units

FLAGS = (
    "empty",
    "language_mismatch",
    "multiple_repeated_substrings",
    "adjacent_repeats",
    "too_short_text_for_audio",
    "too_fast",
    "too_slow",
)

# Substrings of these lengths are counted; a phrase that a recogniser stutters has several of them.
SUBSTRING_LENGTHS = range(4, 11)
# A repeated Chinese phrase is looked for up to this many characters.
LONGEST_PHRASE = 8

_CJK_RUN = re.compile(f"[{CJK}]+")


@dataclass
class CheckText(Processor):
    """Counts characters and flags transcripts that do not look like their clip's dialogue.

    Args:
        max_foreign: letters of the other script that a text may have before it is a `language_mismatch`.
        min_repeats: occurrences that make a substring repeated, and equal neighbours that make `adjacent_repeats`.
        min_repeated_substrings: distinct repeated substrings that make `multiple_repeated_substrings`.
        long_seconds: from this length on, a clip with few characters is `too_short_text_for_audio`.
        few_cjk: how many Chinese characters are few.
        few_latin: how many Latin letters are few.
        min_rate_zh: characters per second of speech below which Chinese is `too_slow`.
        max_rate_zh: characters per second of speech above which Chinese is `too_fast`.
        min_rate_en: words per second of speech below which English is `too_slow`.
        max_rate_en: words per second of speech above which English is `too_fast`.

    Example:
        >>> from cineforge_hf import CheckText
        >>> rows = CheckText()({"asr_text": ["Good morning."], "lang": ["zh"], "duration": [2.0]})
        >>> rows["n_latin"], rows["speech_rate"], rows["text_flags"]
        ([11], [1.0], [['language_mismatch']])
    """

    name: ClassVar[str] = "check_text"
    requires: ClassVar[tuple[str, ...]] = ("asr_text",)
    optional: ClassVar[tuple[str, ...]] = ("lang", "duration", "clip_speech")

    max_foreign: int = 5
    min_repeats: int = 5
    min_repeated_substrings: int = 2
    long_seconds: float = 10.0
    few_cjk: int = 10
    few_latin: int = 20
    # Careful speech has 2 characters or 1.5 words a second, the fastest film dialogue 10 or 6.
    min_rate_zh: float = 1.0
    max_rate_zh: float = 12.0
    min_rate_en: float = 0.5
    max_rate_en: float = 7.0

    def check(self) -> None:
        """Raises `UsageError` where a threshold makes no sense."""
        if self.min_repeats < 2:
            raise UsageError(f"check_text: min_repeats is {self.min_repeats}; a repeat needs at least 2")
        if self.min_rate_zh >= self.max_rate_zh or self.min_rate_en >= self.max_rate_en:
            raise UsageError("check_text: min_rate must be below max_rate")

    def process(self, rows: list[Row]) -> Sequence[Outcome]:
        """Checks each text alone; see `Processor.process`."""
        return [self._check_row(row) for row in rows]

    def _check_row(self, row: Row) -> Row:
        text = unicodedata.normalize("NFKC", row["asr_text"])
        counts = count_scripts(text)
        rate = _speech_rate(text, row)
        flags = [] if spoken_units(text) else ["empty"]
        flags += self._language_flags(counts, row["lang"])
        if has_repeated_substrings(text, self.min_repeats, self.min_repeated_substrings):
            flags.append("multiple_repeated_substrings")
        if has_adjacent_repeats(text, self.min_repeats):
            flags.append("adjacent_repeats")
        flags += self._length_flags(text, counts, rate, row)
        return {
            "n_cjk": counts.cjk,
            "n_latin": counts.latin,
            "n_digits": counts.digits,
            "speech_rate": rate,
            "text_flags": flags,
        }

    def _language_flags(self, counts: Scripts, lang: str | None) -> list[str]:
        foreign = {"zh": counts.latin, "en": counts.cjk}.get(lang or "auto", 0)
        return ["language_mismatch"] if foreign > self.max_foreign else []

    def _length_flags(self, text: str, counts: Scripts, rate: float | None, row: Row) -> list[str]:
        lang = resolve_language(row["lang"], text)
        flags = []
        few = counts.cjk <= self.few_cjk if lang == "zh" else counts.latin <= self.few_latin
        if few and (row["duration"] or 0.0) >= self.long_seconds:
            flags.append("too_short_text_for_audio")
        slow, fast = (self.min_rate_zh, self.max_rate_zh) if lang == "zh" else (self.min_rate_en, self.max_rate_en)
        if rate is not None and rate > fast:
            flags.append("too_fast")
        if rate is not None and 0 < rate < slow:
            flags.append("too_slow")
        return flags


def has_repeated_substrings(text: str, min_repeats: int, min_distinct: int) -> bool:
    """Whether several distinct substrings of 4 to 10 characters occur often, overlaps counted, spaces left out."""
    text = "".join(text.split())
    distinct = 0
    for length in SUBSTRING_LENGTHS:
        counts = Counter(text[i : i + length] for i in range(len(text) - length + 1))
        distinct += sum(1 for count in counts.values() if count >= min_repeats)
        if distinct >= min_distinct:
            return True
    return False


def has_adjacent_repeats(text: str, min_repeats: int) -> bool:
    """Whether a word, or a phrase of Chinese characters, stands that many times in a row.

    >>> has_adjacent_repeats("no no, no! No no", 5), has_adjacent_repeats("快走，快走快走快走快走", 5)
    (True, True)
    """
    words = [stripped for word in text.lower().split() if (stripped := _letters(word))]
    run = 1
    for last, word in itertools.pairwise(words):
        run = run + 1 if word == last else 1
        if run >= min_repeats:
            return True
    characters = "".join(_CJK_RUN.findall(text))
    return any(_repeats(characters, length, min_repeats) for length in range(1, LONGEST_PHRASE + 1))


def _repeats(characters: str, length: int, min_repeats: int) -> bool:
    # A phrase of `length` repeated n times: (n - 1) * length characters in a row equal those `length` further on.
    equal = 0
    for a, b in zip(characters, characters[length:], strict=False):
        equal = equal + 1 if a == b else 0
        if equal >= (min_repeats - 1) * length:
            return True
    return False


def _letters(word: str) -> str:
    return "".join(c for c in word if c.isalnum())


def _speech_rate(text: str, row: Row) -> float | None:
    spoken = sum(span["end"] - span["start"] for span in row["clip_speech"] or [])
    seconds = spoken or row["duration"]
    return spoken_units(text) / seconds if seconds else None
