"""Stage 15: whether evidence and result agree, and why a clip is not accepted.

Invariants: nothing is removed. A reason is appended to `reject_reasons`, where earlier stages (`too_short`,
`weak_subtitle_match`, ...) have put theirs; `accept` is computed at export: no reason and no error.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rapidfuzz.distance import Levenshtein

from cineforge_hf.errors import UsageError
from cineforge_hf.processor import Outcome, Processor, Row
from cineforge_hf.processors.check_text import FLAGS
from cineforge_hf.processors.languages import resolve_language, spoken_units


@dataclass
class Verify(Processor):
    """Compares the transcript as found with the corrected one and collects reasons for rejection.

    Args:
        min_similarity_zh: least text similarity of Chinese, 0 to 1 (FunCineForge: 0.50).
        min_similarity_en: least text similarity of English, 0 to 1 (FunCineForge: 0.65).
        reject_flags: flags of `CheckText` that reject a clip.

    Reject reasons: `empty_text`, `low_text_similarity`, and the flags.

    Example:
        >>> from cineforge_hf import Verify
        >>> rows = Verify()({"asr_text": ["我们走吧"], "text": ["我们走吧！"], "text_flags": [["too_fast"]]})
        >>> rows["text_similarity"], rows["reject_reasons"]
        ([1.0], [['too_fast']])
    """

    name: ClassVar[str] = "verify"
    requires: ClassVar[tuple[str, ...]] = ("asr_text", "text")
    optional: ClassVar[tuple[str, ...]] = ("lang", "text_flags")

    min_similarity_zh: float = 0.50
    min_similarity_en: float = 0.65
    reject_flags: Sequence[str] = tuple(flag for flag in FLAGS if flag != "empty")

    def check(self) -> None:
        """Raises `UsageError` for unknown flags and limits outside 0 to 1."""
        if unknown := sorted(set(self.reject_flags) - set(FLAGS)):
            raise UsageError(f"verify: reject_flags has {', '.join(unknown)}; choose from {', '.join(FLAGS)}")
        if not (0 <= self.min_similarity_zh <= 1 and 0 <= self.min_similarity_en <= 1):
            raise UsageError("verify: min_similarity_zh and min_similarity_en are between 0 and 1")

    def process(self, rows: list[Row]) -> Sequence[Outcome]:
        """Judges each row alone; see `Processor.process`."""
        return [self._judge(row) for row in rows]

    def _judge(self, row: Row) -> Row:
        similarity = text_similarity(row["asr_text"], row["text"])
        lang = resolve_language(row["lang"], row["text"])
        reasons = []
        if not spoken_units(row["text"]):
            reasons.append("empty_text")
        elif similarity < (self.min_similarity_zh if lang == "zh" else self.min_similarity_en):
            reasons.append("low_text_similarity")
        reasons += [flag for flag in row["text_flags"] or [] if flag in self.reject_flags]
        return {"text_similarity": similarity, "reject_reasons": reasons}


def text_similarity(first: str, second: str) -> float:
    """1 - Levenshtein distance / longer length, without spaces, punctuation and symbols; case counts.

    >>> text_similarity("你好，世界。", "你好世界"), text_similarity("abcd", "abxd"), text_similarity("", "!")
    (1.0, 0.75, 1.0)
    """
    return float(Levenshtein.normalized_similarity(_bare(first), _bare(second)))


def _bare(text: str) -> str:
    return "".join(c for c in text if unicodedata.category(c)[0] not in "PSZC")
