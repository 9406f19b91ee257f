"""Which language a text is in, told by its script, and how pieces of text are joined in it.

The toolkit knows two languages, Chinese and English, which no text confuses: counting characters of either script is
exact where statistical language detectors guess on three words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

Language = Literal["zh", "en"]
_BY_NAME: dict[str | None, Language] = {"zh": "zh", "en": "en"}

# Japanese has about half kana, Korean nearly all hangul; Chinese has neither but in quotations.
OTHER_ASIAN_SHARE = 0.2
# English dialogue has a quarter of these words, other European languages at most one in fifty.
FUNCTION_WORD_SHARE = 0.05
ENOUGH_WORDS = 60
_ENGLISH = "the you and it of that what this for my have not are your with it's don't i'm that's"
_FUNCTION_WORDS = frozenset(_ENGLISH.split())

# Ideographs with their extensions and compatibility forms, kana and hangul; not the punctuation of U+3000.
CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U000323af"
_CJK = re.compile(f"[{CJK}]")
_LATIN = re.compile("[A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\uff21-\uff3a\uff41-\uff5a]")
_LATIN_WORD = re.compile("[A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f]+(?:['’-][A-Za-z\u00c0-\u024f]+)*")
_KANA_HANGUL = re.compile("[\u3040-\u30ff\uac00-\ud7a3]")
_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")


class Scripts(NamedTuple):
    """How many characters of each kind a text has."""

    cjk: int
    latin: int
    digits: int


def count_scripts(text: str) -> Scripts:
    """Counts Chinese, Japanese and Korean characters, Latin letters and digits.

    >>> count_scripts("我们8点 see you")
    Scripts(cjk=3, latin=6, digits=1)
    """
    return Scripts(len(_CJK.findall(text)), len(_LATIN.findall(text)), len(_DIGIT.findall(text)))


def text_language(text: str) -> Language | None:
    """The language of a text by its script; None where it has no letters.

    A Chinese sentence with an English name in it is Chinese: a character weighs as much as a word of Latin letters.

    >>> text_language("我叫 Christopher Robin"), text_language("Hello"), text_language("42!")
    ('zh', 'en', None)
    """
    characters, words = len(_CJK.findall(text)), len(_LATIN_WORD.findall(text))
    if not characters and not words:
        return None
    return "zh" if characters >= words else "en"


def resolve_language(lang: str | None, text: str) -> Language:
    """The language to treat a text as: the one that is asked for, else the text's own, else English."""
    if lang in _BY_NAME:
        return _BY_NAME[lang]
    return text_language(text) or "en"


def is_foreign(text: str) -> bool:
    """Whether a long text is in a language other than Chinese and English, although its script may be theirs.

    Told by letters of other scripts, by kana and hangul, and in Latin script by the lack of English function words, which
    make up a quarter of English dialogue and none of other languages'. False for texts too short to tell.

    >>> is_foreign("где ты был вчера"), is_foreign("我们走吧"), is_foreign("Where have you been?")
    (True, False, False)
    """
    scripts = count_scripts(text)
    letters = sum(c.isalpha() for c in text)
    if letters - scripts.cjk - scripts.latin > letters / 2:
        return True
    if scripts.cjk > scripts.latin:
        return len(_KANA_HANGUL.findall(text)) > OTHER_ASIAN_SHARE * scripts.cjk
    words = [word.lower().replace("’", "'") for word in _LATIN_WORD.findall(text)]
    return len(words) >= ENOUGH_WORDS and sum(word in _FUNCTION_WORDS for word in words) < FUNCTION_WORD_SHARE * len(words)


def spoken_units(text: str) -> int:
    """Length of what is said: one for each Chinese character, Latin word and number.

    >>> spoken_units("Mr. Smith, don't!"), spoken_units("三点半 OK"), spoken_units("it cost 3.50")
    (3, 4, 3)
    """
    return len(_CJK.findall(text)) + len(_LATIN_WORD.findall(text)) + len(_NUMBER.findall(text))


def join_texts(texts: Iterable[str]) -> str:
    """Joins pieces of one transcript: a space between words, nothing where Chinese meets anything.

    Spaces inside a piece are kept.

    >>> join_texts(["你好。", "再见。"]), join_texts(["So", "he said", "嗯"])
    ('你好。再见。', 'So he said嗯')
    """
    joined = ""
    for text in texts:
        if joined and text and not _is_wide(joined[-1]) and not _is_wide(text[0]):
            joined += " "
        joined += text
    return joined


def _is_wide(character: str) -> bool:
    # Full-width punctuation carries its own space.
    return _CJK.match(character) is not None or "\u3000" <= character <= "\u303f" or "\uff00" <= character <= "\uff60"
